"""The config object: what a caller or the settings say about the target of a call. Pure, no I/O."""
