"""What `graft doctor` looks at, one subject a file; each check returns findings."""
