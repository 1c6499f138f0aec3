"""The five deadlines of an attempt (DESIGN: connect, first_token, idle, client_stall, total) but for connect, which the
dialler keeps.

A timeout per chunk would cost 4 to 7 µs and a timer per attempt 4; the relay's counter costs 0.03 µs. So one timer for
all attempts of a worker looks at those that are due, and compares their counters.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Protocol

from ..contracts import Sink
from ..errors import ClientStalled, FirstTokenTimeout, GatewayError, IdleTimeout, TotalTimeout
from ..types import Deadlines

PERIOD = 0.05  # seconds between two sweeps: how late a deadline may be noticed
TICKS = 4  # looks per deadline: a silence is noticed between 1 and 1.25 times its limit
MAX_TICK = 0.25  # a finished stream that the provider keeps open is ended after one or two; a look costs 1 µs


class Watched(Protocol):
    """What a watch looks at: an exchange."""

    beats: int

    def fail(self, error: GatewayError) -> None: ...


class Sweeper:
    """Looks at the watches that are due. Costs nothing while there is none."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._watches: set[Watch] = set()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, watch: Watch) -> None:
        self._watches.add(watch)
        if self._timer is None:
            self._timer = self.loop.call_later(PERIOD, self._sweep)

    def discard(self, watch: Watch) -> None:
        self._watches.discard(watch)

    def _sweep(self) -> None:
        now = self.loop.time()
        self._timer = self.loop.call_later(PERIOD, self._sweep) if self._watches else None
        for watch in [watch for watch in self._watches if watch.due <= now]:
            watch.look(now)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Watch:
    """Fails `exchange` when a deadline passes. `until` is the loop time at which the whole call is over."""

    __slots__ = (
        "_backlog",
        "_deadlines",
        "_exchange",
        "_first",
        "_moved",
        "_on_stall",
        "_seen",
        "_settle",
        "_sink",
        "_sweeper",
        "_tick",
        "_until",
        "due",
    )

    def __init__(self, sweeper: Sweeper, exchange: Watched, deadlines: Deadlines, until: float) -> None:
        self._sweeper = sweeper
        self._exchange = exchange
        self._deadlines = deadlines
        self._until = until
        self._first: float | None = None  # the limit while nothing counts as an answer yet
        self._sink: Sink | None = None
        self._settle: Callable[[], bool] | None = None
        self._on_stall: Callable[[GatewayError], None] | None = None
        self._tick = 0.0
        self._seen = self._backlog = 0
        self._moved = 0.0
        self.due = math.inf  # loop time of the next look

    def await_total(self) -> None:
        """While an upload is under way: only the whole call's deadline holds."""
        self._await(math.inf)

    def await_first(self, *, stream: bool) -> None:
        """From the request until something counts as an answer."""
        self._await(self._deadlines.first_token if stream else self._deadlines.unary)

    def _await(self, limit: float) -> None:
        self._first = limit
        self.due = min(self._sweeper.loop.time() + limit, self._until)
        self._sweeper.add(self)

    def await_idle(self) -> None:
        """From the first byte of the answer; nothing is relayed yet."""
        limits = self._deadlines
        self._first = None
        self._tick = min(limits.idle / TICKS, limits.client_stall / TICKS, MAX_TICK)
        self._moved = self._sweeper.loop.time()
        self._seen = self._exchange.beats
        self.due = min(self._moved + self._tick, self._until)
        self._sweeper.add(self)

    def await_relay(
        self, sink: Sink, settle: Callable[[], bool] | None, on_stall: Callable[[GatewayError], None]
    ) -> None:
        """While bytes are relayed. `settle` may end a complete stream; `on_stall` cuts a client that takes nothing."""
        self._sink = sink
        self._settle = settle
        self._on_stall = on_stall
        self.await_idle()

    def look(self, now: float) -> None:
        """Called by the sweeper when `due` has come."""
        self.due = min(now + self._tick, self._until)
        exchange, sink = self._exchange, self._sink
        if now >= self._until:
            self._until = math.inf  # said once; from here on only the client's own standstill counts
            self.due = now + self._tick
            exchange.fail(TotalTimeout(f"the call took longer than {self._deadlines.total:g} s"))
        elif self._first is not None:
            self.due = self._until
            exchange.fail(FirstTokenTimeout(f"no answer from the provider within {self._first:g} s"))
        elif sink is not None and sink.paused:
            self._look_at_client(sink, now)
        elif exchange.beats != self._seen:
            self._seen, self._moved = exchange.beats, now
        elif self._settle is not None and self._settle():
            self.stop()
        elif now - self._moved >= self._deadlines.idle:
            exchange.fail(IdleTimeout(f"the provider sent nothing for {self._deadlines.idle:g} s"))

    def _look_at_client(self, sink: Sink, now: float) -> None:
        """A slow client makes the provider wait, so its silence is not counted; only the client's own standstill is."""
        backlog = sink.backlog
        if backlog != self._backlog or self._exchange.beats != self._seen:
            self._backlog, self._seen, self._moved = backlog, self._exchange.beats, now
        elif now - self._moved >= self._deadlines.client_stall and self._on_stall is not None:
            self._on_stall(ClientStalled(f"the client took nothing for {self._deadlines.client_stall:g} s"))

    def stop(self) -> None:
        """No more looks. Lets go of the relay, or each call would be a cycle that waits for the collector."""
        self._sweeper.discard(self)
        self._sink = self._settle = self._on_stall = None
