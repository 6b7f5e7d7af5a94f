"""The page that a run leaves behind: what it shows, how it is found out, how it is drawn."""
