"""Moves calls: opens, waits for the first event, commits, relays, records. Knows no web server and no plugin."""
