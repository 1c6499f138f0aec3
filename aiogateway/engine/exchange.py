"""One attempt's answer, from its head to its end.

Collects until the attempt can be judged: the whole body of a unary answer, the first whole event of a stream, the head
of a passthrough. Nothing has reached the client by then. After `attach` every read goes straight to the relay.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from ..contracts import Dialect, Splitter
from ..errors import GatewayError, Overloaded, StreamBroken, UpstreamError
from ..wire.encoding import Inflater
from .buffers import Buffers

log = logging.getLogger(__name__)

PEEKS = 8  # reads that are searched from the start before the search becomes incremental
PEEK_LIMIT = 1 << 18  # bytes a stream may say before its first whole event


class Source(Protocol):
    """Where an exchange's bytes come from: a connection, or a provider in this process."""

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def drop(self) -> None: ...


class Outlet(Protocol):
    """Where they go after the commit."""

    def on_data(self, data: bytes, last: bool = False) -> None: ...

    def on_end(self, error: UpstreamError | None) -> None: ...


class Exchange:
    """`ready` resolves when the attempt can be judged, or raises what it failed with.

    `dialect` is what the provider speaks when a stream was asked for, None for anything that is not a stream; `whole`
    is False for a passthrough, which is ready at its head. At most `limit` bytes are collected.
    """

    __slots__ = (
        "_begun",
        "_buffers",
        "_dialect",
        "_held",
        "_inflater",
        "_limit",
        "_outlet",
        "_peeked",
        "_peeks",
        "_splitter",
        "_whole",
        "beats",
        "error",
        "first",
        "headers",
        "interrupted",
        "on_first",
        "opener",
        "over",
        "parts",
        "ready",
        "size",
        "source",
        "status",
        "streaming",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        buffers: Buffers,
        *,
        dialect: Dialect | None,
        limit: int,
        whole: bool = True,
    ) -> None:
        self.ready: asyncio.Future[None] = loop.create_future()
        self.source: Source | None = None
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.parts: list[bytes] = []
        self.size = 0
        self.beats = 0
        self.first = b""
        self.streaming = False
        self.over = False
        self.error: GatewayError | None = None
        self.on_first: Callable[[], None] | None = None
        self.opener: asyncio.Task[None] | None = None  # while it waits for a token or a connection, not for `ready`
        self.interrupted = False
        self._buffers = buffers
        self._held = 0
        self._begun = False
        self._dialect = dialect
        self._limit = limit
        self._whole = whole
        self._peeked = self._peeks = 0
        self._splitter: Splitter | None = None
        self._inflater: Inflater | None = None
        self._outlet: Outlet | None = None

    @property
    def dialect(self) -> str:
        """What the provider speaks, for the log."""
        return self._dialect.name if self._dialect is not None else ""

    # -- from the source

    def on_head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self.status = status
        self.headers = headers
        if not self._whole:
            self._settle(None)
            return
        media_type = encoding = b""
        for name, value in headers:
            if name == b"content-type":
                media_type = value
            elif name == b"content-encoding":
                encoding = value.strip().lower()
        if self._dialect is not None and status < 300:
            self.streaming = media_type.lower().startswith(self._dialect.media_type.encode())
        if encoding and encoding != b"identity":
            self._inflater = Inflater(encoding.decode("latin-1"))

    def on_read(self, data: bytes, over: bool, error: UpstreamError | None) -> None:
        """Once per read, after the head, or with `over` before it."""
        self.beats += 1
        if self._outlet is not None and not over and self._inflater is None:
            self._outlet.on_data(data)
            return
        if over:
            self.over, self.source = True, None  # the connection may already serve another call: forget it
        if self._inflater is not None:
            data, error = self._inflate(data, over, error)
        if error is not None:
            self.error = error
        outlet = self._outlet
        if outlet is not None:
            if data:
                outlet.on_data(data, self.over)
            if self.over:
                outlet.on_end(error)
            return
        self._collect(data)

    def _collect(self, data: bytes) -> None:
        """Before the commit."""
        if data:
            self.parts.append(data)
            self.size += len(data)
            self._hold(len(data))
        if not self.streaming and not self.over and not self._begun and self.on_first is not None:
            self._begun = True  # a unary answer's deadline ends at its head
            self.on_first()
        if self.ready.done():
            if self.size > self._limit and self.source is not None:
                self.source.pause()  # attach() lets it go on
            return
        self._judge(bool(data))

    def _hold(self, size: int) -> None:
        try:
            self._buffers.hold(size)
            self._held += size
        except Overloaded as error:
            self._cut()
            self.error = error

    def _free(self) -> None:
        self._buffers.free(self._held)
        self._held = 0

    def _inflate(self, data: bytes, over: bool, error: UpstreamError | None) -> tuple[bytes, UpstreamError | None]:
        assert self._inflater is not None
        try:
            data = self._inflater.feed(data)
            if over and error is None:
                data += self._inflater.end()
        except UpstreamError as broken:
            self._inflater = None
            self._cut()
            return b"", broken
        return data, error

    def _judge(self, fresh: bool) -> None:
        """May the caller decide now? Called after each read until it may."""
        if self.error is not None:
            self._settle(self.error)
        elif self.streaming and fresh and self._peek_safely():
            self._settle(None)
        elif self.over:
            self._settle(None if self.status else StreamBroken("the provider ended without an answer"))
        elif self.size > (PEEK_LIMIT if self.streaming else self._limit):
            if self.source is not None:
                self.source.pause()
            self._settle(None)

    def _settle(self, error: GatewayError | None) -> None:
        if self.ready.done():
            return
        if self.on_first is not None and not self.over:
            self.on_first()
        if error is None:
            self.ready.set_result(None)
        else:
            self.ready.set_exception(error)
            self.ready.exception()  # read here too: a caller that left in the same instant never will

    def _peek_safely(self) -> bool:
        try:
            return self._peek()
        except Exception:  # a dialect may be a plugin's; in data_received it would take the connection down unheard
            log.exception("dialect %s failed on the first event", self.dialect)
            self._cut()
            self._settle(UpstreamError("the dialect's plugin failed on the provider's first event"))
            return False

    def _peek(self) -> bool:
        """Finds the first frame that is an answer. Comments and keep-alives are none: they commit us to nothing."""
        assert self._dialect is not None
        if self._splitter is not None:
            return self._find_answer(self._splitter.feed(self.parts[-1]))
        if len(self.parts) > 1:
            self.parts = [b"".join(self.parts)]
        data = self.parts[0]
        while end := self._dialect.frame_end(data, self._peeked):
            frame, self._peeked = data[self._peeked : end], end
            if self._find_answer([frame]):
                return True
            data = self.parts[0]
        self._peeks += 1
        if self._peeks > PEEKS:  # it comes in crumbs: from here on no byte is looked at twice
            self._splitter = self._dialect.splitter(2 * PEEK_LIMIT)
            self._splitter.feed(data[self._peeked :])  # the frame that is not complete yet
        return False

    def _find_answer(self, frames: list[bytes]) -> bool:
        assert self._dialect is not None
        for frame in frames:
            if not self._dialect.is_keepalive(frame):
                self.first = frame
                return True
        if frames and self.size > PEEK_LIMIT // 4:  # nothing but comments so far: the newest are enough
            self._trim()
        return False

    def _trim(self) -> None:
        """Keeps only the frame that is not complete yet."""
        if self._splitter is not None:
            self.parts = [self._splitter.rest()]
        else:
            self.parts = [self.parts[0][self._peeked :]]
            self._peeked = 0
        self.size = len(self.parts[0])
        self._buffers.free(self._held - self.size)
        self._held = self.size

    # -- from the engine

    def fail(self, error: GatewayError) -> None:
        """We give up on this upstream: the same path as if it had given up on us."""
        if self.over and self._outlet is None and self.ready.done():
            return
        self._cut()
        self.error = error
        self.over = True
        if self.opener is not None:
            self.interrupted = True
            self.opener.cancel()
        if self._outlet is not None:
            self._outlet.on_end(error)  # type: ignore[arg-type]
        else:
            self._settle(error)

    def _cut(self) -> None:
        source, self.source = self.source, None
        self.over = True
        if source is not None:
            source.drop()

    def close(self) -> None:
        """Whatever happened, no upstream keeps generating for nobody."""
        source, self.source = self.source, None
        self._outlet = self.on_first = self.opener = None
        self._free()
        if source is not None:
            source.drop()

    def attach(self, outlet: Outlet) -> None:
        """COMMIT: what was collected, and everything that follows, goes to `outlet`."""
        self._outlet = outlet
        self._free()
        parts, self.parts = self.parts, []
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        if self.source is not None:
            self.source.resume()  # before the data: a full client pauses it again
        if data:
            outlet.on_data(data, self.over)
        if self.over:
            outlet.on_end(self.error)  # type: ignore[arg-type]

    def read_interruption(self) -> GatewayError | None:
        """Called by the opener when it is cancelled: the failure that did it, unless the client has left as well."""
        task = asyncio.current_task()
        if self.interrupted and task is not None and task.uncancel() == 0:
            return self.error
        return None

    def body(self) -> bytes:
        """What was collected."""
        return self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)
