"""Sources of examples: folders, import files, TFDS."""
