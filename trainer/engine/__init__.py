"""The parts of a run: build, step, evaluate, checkpoints, features, export."""
