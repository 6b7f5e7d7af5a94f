"""The embedded data set of drawn leaves."""
