"""What was read once and may be asked for again: bounded by weight, and let go of when nobody asks."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Shelf(Generic[K, V]):
    """Values by key: the least recently used goes first, and whatever was not used for `idle` seconds.

    `limit` bounds the sum of the weights. Unused values are looked for when the shelf is used, once a `period`.
    """

    def __init__(self, limit: int, idle: float, clock: Callable[[], float], *, period: float = 0.0) -> None:
        self._limit = limit
        self._idle = idle
        self._clock = clock
        self._period = period
        self._next_sweep = clock() + period
        self._held: OrderedDict[K, _Entry[V]] = OrderedDict()
        self.size = 0

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: K) -> V | None:
        now = self._clock()
        if now >= self._next_sweep:
            self._sweep(now)
        entry = self._held.get(key)
        if entry is None:
            return None
        self._held.move_to_end(key)
        entry.used = now
        return entry.value

    def put(self, key: K, value: V, weight: int) -> None:
        """Takes a value for a key that is not there; one that is too heavy for the whole shelf is not kept."""
        if weight > self._limit:
            return
        self._held[key] = _Entry(value, weight, self._clock())
        self.size += weight
        while self.size > self._limit:
            self._drop()

    def _sweep(self, now: float) -> None:
        """The longest unused are at the front, so this looks at one entry more than it drops."""
        self._next_sweep = now + self._period
        while self._held and next(iter(self._held.values())).used <= now - self._idle:
            self._drop()

    def _drop(self) -> None:
        _, dropped = self._held.popitem(last=False)
        self.size -= dropped.weight


class _Entry(Generic[V]):
    __slots__ = ("used", "value", "weight")

    def __init__(self, value: V, weight: int, used: float) -> None:
        self.value = value
        self.weight = weight
        self.used = used
