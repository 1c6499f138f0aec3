"""The measuring rig: what a proxied call costs beside nginx and beside no proxy at all (README.md)."""
