"""One timer for all paced streams of one rate, because 1,000 timers would cost more than the chunks they send."""

from __future__ import annotations

import asyncio
from typing import Protocol

TICK = 0.001


class Paced(Protocol):
    """What sits in a wheel."""

    def emit(self) -> None:
        """Send the next chunk."""


class Wheel:
    """Calls every member once per period. Members are spread evenly over the period's milliseconds.

    A wheel that falls more than a period behind forgets the lost turns instead of sending bursts: an upstream
    that can't keep its pace offers less, and the table shows it as missing throughput.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, rate: int) -> None:
        self._loop = loop
        self._slots: list[dict[Paced, None]] = [{} for _ in range(max(1, round(1 / TICK / rate)))]
        self._members: dict[Paced, dict[Paced, None]] = {}
        self._next_slot = 0
        self._at = 0
        self._due = 0.0
        self._turning = False

    def add(self, member: Paced) -> None:
        """Give `member` a turn per period, from the next one on."""
        slot = self._slots[self._next_slot]
        self._next_slot = (self._next_slot + 1) % len(self._slots)
        slot[member] = None
        self._members[member] = slot
        if not self._turning:
            self._turning = True
            self._due = self._loop.time() + TICK
            self._loop.call_at(self._due, self._turn)

    def discard(self, member: Paced) -> None:
        """No more turns for `member`; nothing happens if it has none."""
        slot = self._members.pop(member, None)
        if slot is not None:
            del slot[member]

    def _turn(self) -> None:
        late = self._loop.time() - self._due
        slots = len(self._slots)
        turns = int(late / TICK) + 1
        if turns > slots:
            self._due += (turns - slots) * TICK
            turns = slots
        for _ in range(turns):
            for member in list(self._slots[self._at]):
                member.emit()
            self._at = (self._at + 1) % slots
        self._due += turns * TICK
        if self._members:
            self._loop.call_at(self._due, self._turn)
        else:
            self._turning = False
