"""Starts workers elsewhere than in this process; nothing in here imports TensorFlow."""
