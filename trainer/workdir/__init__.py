"""What a run leaves behind and others read of it: state, status, goodput, lease."""
