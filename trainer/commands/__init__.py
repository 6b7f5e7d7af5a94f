"""One module for each command of `graft`."""
