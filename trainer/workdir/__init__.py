"""The files of a run: state, status, goodput, lease."""
