"""One count of all bodies a worker holds: beyond the bound a call is refused, not the process killed."""

from __future__ import annotations

from ..errors import Overloaded


class Buffers:
    """Bytes held now, at most `limit`."""

    __slots__ = ("held", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0

    def hold(self, size: int) -> None:
        """Raises Overloaded when `size` more bytes don't fit."""
        if self.held + size > self.limit:
            raise Overloaded("the gateway holds as many bytes as it may; try again shortly")
        self.held += size

    def free(self, size: int) -> None:
        self.held -= size
