"""The report of a run: its contents, how they are computed, and the page."""
