"""What a run writes for TensorBoard."""
