"""The five deadlines of an attempt (DESIGN: connect, first_token, idle, client_stall, total) but for connect, which the
dialler keeps.

One timer per attempt. A timeout per chunk would cost 4 to 7 µs; the relay's counter costs 0.03 µs and the watch
compares it a few times per deadline.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from ..contracts import Sink
from ..errors import ClientStalled, FirstTokenTimeout, GatewayError, IdleTimeout, TotalTimeout
from ..types import Deadlines

TICKS = 4  # looks per deadline: a silence is noticed between 1 and 1.25 times its limit
MAX_TICK = 1.0  # also how soon a finished stream that the provider keeps open is ended


class Watched(Protocol):
    """What a watch looks at: an exchange."""

    beats: int

    def fail(self, error: GatewayError) -> None: ...


class Watch:
    """Fails `exchange` when a deadline passes. `until` is the loop time at which the whole call is over."""

    __slots__ = (
        "_backlog",
        "_deadlines",
        "_exchange",
        "_loop",
        "_moved",
        "_on_stall",
        "_seen",
        "_settle",
        "_sink",
        "_tick",
        "_timer",
        "_until",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, exchange: Watched, deadlines: Deadlines, until: float) -> None:
        self._loop = loop
        self._exchange = exchange
        self._deadlines = deadlines
        self._until = until
        self._timer: asyncio.TimerHandle | None = None
        self._sink: Sink | None = None
        self._settle: Callable[[], bool] | None = None
        self._on_stall: Callable[[GatewayError], None] | None = None
        self._tick = 0.0
        self._seen = self._backlog = 0
        self._moved = 0.0

    def await_first(self, *, stream: bool) -> None:
        """From the request until something counts as an answer."""
        limit = self._deadlines.first_token if stream else self._deadlines.unary
        left = self._until - self._loop.time()
        if left <= limit:
            error: GatewayError = TotalTimeout(f"the call took longer than {self._deadlines.total:g} s")
        else:
            error = FirstTokenTimeout(f"no answer from the provider within {limit:g} s")
        self._set(self._loop.call_later(max(min(limit, left), 0), self._exchange.fail, error))

    def await_total(self) -> None:
        """While an upload is under way: only the whole call's deadline holds."""
        error = TotalTimeout(f"the call took longer than {self._deadlines.total:g} s")
        self._set(self._loop.call_later(max(self._until - self._loop.time(), 0), self._exchange.fail, error))

    def await_idle(self) -> None:
        """From the first byte of the answer; nothing is relayed yet."""
        self._begin()

    def await_relay(
        self, sink: Sink, settle: Callable[[], bool] | None, on_stall: Callable[[GatewayError], None]
    ) -> None:
        """While bytes are relayed. `settle` may end a complete stream; `on_stall` cuts a client that takes nothing."""
        self._sink = sink
        self._settle = settle
        self._on_stall = on_stall
        self._begin()

    def _begin(self) -> None:
        limits = self._deadlines
        self._tick = min(limits.idle / TICKS, limits.client_stall / TICKS, MAX_TICK)
        self._moved = self._loop.time()
        self._seen = self._exchange.beats
        self._next()

    def _next(self) -> None:
        self._set(self._loop.call_later(self._tick, self._look))

    def _look(self) -> None:
        now = self._loop.time()
        exchange, sink = self._exchange, self._sink
        if now >= self._until:
            exchange.fail(TotalTimeout(f"the call took longer than {self._deadlines.total:g} s"))
        elif sink is not None and sink.paused:
            self._look_at_client(sink, now)
        elif exchange.beats != self._seen:
            self._seen, self._moved = exchange.beats, now
        elif self._settle is not None and self._settle():
            return
        elif now - self._moved >= self._deadlines.idle:
            exchange.fail(IdleTimeout(f"the provider sent nothing for {self._deadlines.idle:g} s"))
        if self._timer is not None:  # stop() was not called by what happened above
            self._next()

    def _look_at_client(self, sink: Sink, now: float) -> None:
        """A slow client makes the provider wait, so its silence is not counted; only the client's own standstill is."""
        backlog = sink.backlog
        if backlog != self._backlog or self._exchange.beats != self._seen:
            self._backlog, self._seen, self._moved = backlog, self._exchange.beats, now
        elif now - self._moved >= self._deadlines.client_stall and self._on_stall is not None:
            self._on_stall(ClientStalled(f"the client took nothing for {self._deadlines.client_stall:g} s"))

    def _set(self, timer: asyncio.TimerHandle) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = timer

    def stop(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
