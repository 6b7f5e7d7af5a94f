"""Run workers on this machine: `graft launch` and `graft rehearse`."""
