"""The embedded data set: leaves, drawn."""
