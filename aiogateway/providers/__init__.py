"""Providers: values that say what to send where. They never open a socket."""
