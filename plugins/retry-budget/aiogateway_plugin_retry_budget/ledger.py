"""Calls and retries of the last ten seconds, by provider."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

WINDOW = 10
"""Seconds that count. They are counted whole, and the one that has begun comes on top."""


@dataclass(slots=True)
class Second:
    """What happened within one second of the clock."""

    number: int
    calls: int = 0
    retries: int = 0


class Window:
    """One provider's calls and retries of the last `WINDOW` seconds; at most `WINDOW` + 1 seconds are kept."""

    __slots__ = ("_seconds", "calls", "retries")

    def __init__(self) -> None:
        self._seconds: deque[Second] = deque()
        self.calls = 0
        self.retries = 0

    def move(self, now: float) -> None:
        """Forgets what is too old."""
        while self._seconds and self._seconds[0].number < int(now) - WINDOW:
            old = self._seconds.popleft()
            self.calls -= old.calls
            self.retries -= old.retries

    def add_call(self, now: float) -> None:
        self._at(now).calls += 1
        self.calls += 1

    def add_retry(self, now: float) -> None:
        self._at(now).retries += 1
        self.retries += 1

    def _at(self, now: float) -> Second:
        self.move(now)
        if not self._seconds or self._seconds[-1].number != int(now):
            self._seconds.append(Second(int(now)))
        return self._seconds[-1]


class Ledger:
    """The windows. `clock` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._windows: dict[str, Window] = {}  # providers are registered, not named by callers: there are few

    def deposit(self, provider: str) -> None:
        """A call goes to `provider`."""
        self._open(provider).add_call(self._clock())

    def withdraw(self, provider: str, allowance: Callable[[int, float], float]) -> bool:
        """Takes one retry at `provider`, unless that were more than `allowance(calls, seconds)`."""
        now = self._clock()
        window = self._open(provider)
        window.move(now)
        if window.retries + 1 > allowance(window.calls, WINDOW):
            return False
        window.add_retry(now)
        return True

    def count(self, provider: str) -> tuple[int, int]:
        """The calls and the retries that count now."""
        window = self._open(provider)
        window.move(self._clock())
        return window.calls, window.retries

    def _open(self, provider: str) -> Window:
        window = self._windows.get(provider)
        if window is None:
            window = self._windows[provider] = Window()
        return window
