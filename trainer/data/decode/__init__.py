"""Decode images in graph."""
