"""Turn examples into batches."""
