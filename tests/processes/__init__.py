"""Real processes: started, gated, killed, and gathered in gangs."""
