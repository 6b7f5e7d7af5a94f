"""Groups of rows, each a file: `ABOUT` says how, `rows(setting)` measures."""
