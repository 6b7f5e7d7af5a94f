"""The workers of a run and their liveness: cluster, rendezvous, heartbeat."""
