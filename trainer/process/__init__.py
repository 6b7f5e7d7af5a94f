"""One process on one machine: errors and exit codes, console, signals, locks."""
