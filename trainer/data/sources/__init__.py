"""Where examples come from: folders, lists of files, TFDS."""
