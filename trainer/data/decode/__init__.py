"""Encoded images to pixels, in graph."""
