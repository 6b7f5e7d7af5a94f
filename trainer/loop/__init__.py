"""Run training: train, resume, progress, finish."""
