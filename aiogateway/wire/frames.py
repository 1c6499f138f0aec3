"""What all splitters share: keeping the bytes of an unfinished frame, in bounded memory and linear time."""

from __future__ import annotations

import abc

from aiogateway.contracts import MAX_EVENT
from aiogateway.errors import StreamBroken


class FrameSplitter(abc.ABC):
    """Bytes to whole frames; a subclass says where frames end (`find_ends`).

    The frames are the same however the bytes were cut. Bytes are looked at once: a frame that arrives byte by byte
    costs no more than one that arrives whole.
    """

    __slots__ = ("_held", "_seen", "max_event")

    lookback = 0
    """How many bytes at the end of what was searched must be searched again once more is there."""

    def __init__(self, max_event: int = MAX_EVENT) -> None:
        self.max_event = max_event
        self._held = bytearray()
        self._seen = 0

    @abc.abstractmethod
    def find_ends(self, data: bytes | bytearray, start: int) -> list[int]:
        """The positions after each whole frame in `data`, whose frames can't end before `start`."""

    def feed(self, data: bytes) -> list[bytes]:
        """The frames completed by `data`, each with its own terminator.

        Raises StreamBroken once a frame, whole or not, is larger than `max_event`. Frames before it are returned first:
        the error then comes with the next call.
        """
        held = self._held
        if not held:
            frames, end = self._cut(data, self.find_ends(data, 0))
            if end < len(data):
                held += data[end:] if end else data
        else:
            self._check_size()
            held += data
            ends = self.find_ends(held, self._seen)
            if ends:
                frames, end = self._cut(bytes(held), ends)
                del held[:end]
            else:
                frames = []
        self._seen = max(0, len(held) - self.lookback)
        if not frames:
            self._check_size()
        return frames

    def rest(self) -> bytes:
        """What follows the last whole frame; empty when the stream ended between two frames."""
        return bytes(self._held)

    def _cut(self, data: bytes, ends: list[int]) -> tuple[list[bytes], int]:
        frames = []
        start = 0
        for end in ends:
            if end - start > self.max_event:
                break
            frames.append(data[start:end])
            start = end
        return frames, start

    def _check_size(self) -> None:
        if len(self._held) > self.max_event:
            raise StreamBroken(f"the provider sent an event of more than {self.max_event} bytes")
