"""The checks of `graft doctor`, one subject a file; each check returns findings."""
