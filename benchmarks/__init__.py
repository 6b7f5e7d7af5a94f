"""Graft beside the seed's script and other peers: whole processes, in turn, as ratios."""
