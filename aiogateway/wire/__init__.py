"""Bytes to frames and back; no I/O, no idea of what a frame means."""
