"""Graft: fine-tune an image classifier on TensorFlow, from a laptop to a cluster."""

__version__ = "0.1.0"
