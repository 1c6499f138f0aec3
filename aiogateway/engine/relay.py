"""After the commit: from the exchange to the client, callback to callback.

No task wakes per chunk. The handler's task waits in `run` and wakes at the end, and whenever the client is slower than
the provider: then the provider's transport is paused, TCP stops the provider, and nothing queues up here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from ..contracts import Sink
from ..errors import GatewayError, StreamBroken, UpstreamError
from .exchange import Exchange
from .lanes import Verdict

log = logging.getLogger(__name__)


Epilogue = Callable[[], bytes]
"""What follows the end of a stream: a comment."""


class Conduit(Protocol):
    """What stands between: a lane, or nothing for bodies that pass as they are."""

    @property
    def verdict(self) -> Verdict: ...

    def feed(self, data: bytes) -> bytes: ...

    def end(self, error: GatewayError | None) -> bytes: ...

    def settled(self) -> bool: ...


class Relay:
    """One answer on its way to one client. Without a conduit an error can't be said in-band: the client is cut."""

    __slots__ = ("_conduit", "_epilogue", "_exchange", "_loop", "_sink", "_turn", "cut", "error", "over", "sent")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        exchange: Exchange,
        sink: Sink,
        conduit: Conduit | None,
        epilogue: Epilogue | None = None,
    ) -> None:
        self._loop = loop
        self._exchange = exchange
        self._sink = sink
        self._conduit = conduit
        self._epilogue = epilogue
        self._turn: asyncio.Future[None] | None = None
        self.cut = False  # we cut the client off, for `error`
        self.error: GatewayError | None = None
        self.over = False
        self.sent = 0

    # -- Outlet: called by the exchange, in the provider's data_received

    def on_data(self, data: bytes, last: bool = False) -> None:
        """`last`: the end follows at once, and is to go out in the same system call."""
        if self.over:
            return
        if self._conduit is not None:
            try:
                data = self._conduit.feed(data)
            except UpstreamError as broken:
                self._exchange.fail(broken)
                return
            except Exception:  # a dialect may be a plugin's; in data_received it would take the connection down unheard
                log.exception("dialect %s failed on a provider's stream", self._exchange.dialect)
                self._exchange.fail(UpstreamError("the dialect's plugin failed on the provider's stream"))
                return
        if not data:
            return
        self.sent += len(data)
        if last:
            self._sink.write(data)
        elif self._sink.send(data) and self._exchange.source is not None:
            self._exchange.source.pause()
            self._wake()

    def on_end(self, error: UpstreamError | None) -> None:
        """The provider is done, or we are done with it: say so, in the same loop iteration as the last bytes."""
        if self.over:
            return
        self.over = True
        self.error = error
        closing: bytes | None = b""
        if self._conduit is not None:
            try:
                closing = self._conduit.end(error)
            except Exception:
                log.exception("dialect %s failed at the end of a provider's stream", self._exchange.dialect)
                self.error = UpstreamError("the dialect's plugin failed at the end of the provider's stream")
                closing = None
        elif error is not None:
            closing = None
        if closing is None:
            self.cut = True
            self._sink.abort()  # what can't say that it is broken must not look whole
        else:
            unsaid = self._conduit is not None and self._conduit.verdict.unsaid
            if self._epilogue is not None and not unsaid:
                closing += self._epilogue()
            self.sent += len(closing)
            if closing:
                self._sink.write(closing)
            if unsaid:
                self._sink.flush()  # the client's answer goes on
            else:
                self._sink.end()
        self._wake()

    def _wake(self) -> None:
        if self._turn is not None and not self._turn.done():
            self._turn.set_result(None)

    # -- the watch

    def settle(self) -> bool:
        """Ends a stream that is complete although the provider keeps it open."""
        if self._conduit is None:
            return False
        try:
            if not self._conduit.settled():
                return False
        except Exception:  # a dialect may be a plugin's, and one sweep looks at everybody's streams
            log.exception("dialect %s failed on a silent stream", self._exchange.dialect)
            return False
        self._exchange.fail(StreamBroken("the provider kept a finished stream open"))
        return True

    def stall(self, error: GatewayError) -> None:
        """The client takes nothing: both ends are cut."""
        self.over = self.cut = True
        self.error = error
        self._exchange.close()
        self._sink.abort()
        self._wake()

    # -- the handler

    async def run(self) -> None:
        """Returns when the answer has been written, and taken but for what the client's socket buffers."""
        sink, exchange = self._sink, self._exchange
        try:
            while not self.over:
                self._turn = self._loop.create_future()
                if not sink.paused:
                    await self._turn
                if sink.paused:
                    await sink.drained()
                if exchange.source is not None:
                    exchange.source.resume()
            if sink.paused:
                await sink.drained()
        except (asyncio.CancelledError, ConnectionError):
            if not self.cut:  # else it is the echo of our own cut
                raise
