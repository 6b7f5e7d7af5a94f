"""Workers on this machine: `graft launch` and `graft rehearse`."""
