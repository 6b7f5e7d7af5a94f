"""Runs as users make them, through several packages."""
