"""When a target is tried again, and after which wait: the built-in policy, and the fence around a plugin's."""
