"""One module a command of `graft`."""
