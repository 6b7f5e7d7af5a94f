"""What a run is made of: build, step, evaluate, checkpoints, features, export."""
