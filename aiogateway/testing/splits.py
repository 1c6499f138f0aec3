"""Where a byte stream can be cut."""

from __future__ import annotations

from collections.abc import Iterator


def split_points(data: bytes) -> Iterator[tuple[bytes, ...]]:
    """Every way the kit cuts `data`: whole, in two at each position, and one byte at a time."""
    yield (data,)
    for position in range(1, len(data)):
        yield data[:position], data[position:]
    if len(data) > 2:  # two bytes have only the one cut above
        yield tuple(data[position : position + 1] for position in range(len(data)))
