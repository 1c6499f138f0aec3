"""HTTP towards clients: routes, the door, keys, and the sink that answers are written to."""
