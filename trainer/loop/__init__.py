"""The run from top to bottom: train, resume, progress, finish."""
