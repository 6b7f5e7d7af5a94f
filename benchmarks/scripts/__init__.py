"""What the comparisons run, each a process of its own that prints JSON lines."""
