"""Real servers, emulators and proxies on loopback, and a browser."""
