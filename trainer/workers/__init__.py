"""Who trains, and whether they are alive: cluster, rendezvous, heartbeat."""
