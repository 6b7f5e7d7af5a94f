"""Tests; the name says what of, and a file that mirrors no module tells a story of its own."""
