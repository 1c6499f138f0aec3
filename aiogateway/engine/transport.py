"""The upstream's end: one HTTP/1.1 connection, and the pool of idle ones.

llhttp (by httptools) owns head and framing; `Upstream` owns whose bytes they are and whether the connection may be
used again. Nothing here knows what the bytes mean: `Exchange` does.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

import httptools

from ..errors import ConnectFailed, StreamBroken, UpstreamError
from .dial import Dialer, Place

if TYPE_CHECKING:
    import aiohttp

HEAD_LIMIT = 1 << 16  # bytes of an answer's head; llhttp itself has no limit
IDLE_PER_PLACE = 256
IDLE_SECONDS = 30.0
MAX_PLACES = 10_000  # hosts come from requests too


class StaleConnection(ConnectFailed):
    """A pooled connection died before the first byte of an answer: the request may be sent once more on a fresh one."""


class Receiver(Protocol):
    """Who gets what an upstream says."""

    def on_head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None: ...

    def on_read(self, data: bytes, over: bool, error: UpstreamError | None) -> None:
        """Once per read: its payload, and whether the answer ended with it (cleanly if `error` is None)."""


class Upstream(asyncio.Protocol):
    """One connection to a place. Serves one exchange at a time; goes back to the pool only after a clean end."""

    __slots__ = (
        "_complete",
        "_conn",
        "_framed",
        "_got",
        "_headers",
        "_keep",
        "_method",
        "_parser",
        "_paused",
        "_pieces",
        "_pool",
        "_room",
        "_status",
        "_surplus",
        "_uploading",
        "_whole",
        "on_body",
        "place",
        "receiver",
        "reused",
        "since",
        "transport",
    )

    def __init__(self, pool: Pool, place: Place, conn: aiohttp.connector.Connection) -> None:
        self._pool = pool
        self._conn = conn
        self.place = place
        self.receiver: Receiver | None = None
        self.reused = False
        self.since = 0.0
        self._paused = False
        self._uploading = False
        self._room: asyncio.Future[None] | None = None
        self._pieces: list[bytes] = []
        self.on_body = self._pieces.append  # llhttp calls list.append itself: no Python frame per HTTP chunk
        self._parser = httptools.HttpResponseParser(self)
        if conn.transport is None:
            raise ConnectFailed("the provider closed the connection at once")
        self.transport: asyncio.Transport = conn.transport
        self.transport.set_protocol(self)  # the connector dialled; from here on the bytes are ours

    # -- the exchange's side

    def send(self, receiver: Receiver, method: str, head: bytes, body: bytes = b"", *, uploading: bool = False) -> None:
        """Begins a request. With `uploading` the body follows by `write` and ends with `uploaded`."""
        self.receiver = receiver
        self._method = method
        self._uploading = uploading
        self._headers: list[tuple[bytes, bytes]] = []
        self._status = self._got = self._whole = 0
        self._complete = self._surplus = self._framed = self._keep = False
        if len(body) < 1 << 16:
            self.transport.write(head + body)
        else:
            self.transport.writelines((head, body))

    def write(self, data: bytes) -> None:
        if not self.transport.is_closing():  # uvloop raises on writing to a closed transport
            self.transport.write(data)

    @property
    def full(self) -> bool:
        """Whether the provider takes an upload more slowly than it comes."""
        return self._room is not None

    async def drained(self) -> None:
        """Returns once the provider has taken enough of an upload, or is gone."""
        if self._room is not None:
            await self._room

    def uploaded(self) -> None:
        self._uploading = False

    def pause(self) -> None:
        if not self._paused and not self.transport.is_closing():
            self._paused = True
            self.transport.pause_reading()

    def resume(self) -> None:
        if self._paused and not self.transport.is_closing():
            self._paused = False
            self.transport.resume_reading()

    def drop(self) -> None:
        """Nobody listens any more: the provider must notice at once."""
        self.receiver = None
        self.transport.abort()

    # -- httptools callbacks: they only note things down; data_received acts on them once per read

    def on_message_begin(self) -> None:
        self._surplus = self._complete
        if not self._complete:
            self._headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._complete:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200 or self._complete:  # 1xx: an interim answer, the real one follows
            return
        self._status = status
        self._keep = self._parser.should_keep_alive()
        # 304 and the answer to HEAD may name a length and have no body: llhttp would wait for one
        bodiless = self._method == "HEAD" or status == 304
        self._framed = bodiless or status == 204 or _is_framed(self._headers)
        if self.receiver is not None:
            self.receiver.on_head(status, self._headers)
        if bodiless:
            self._complete, self._keep = True, False

    def on_message_complete(self) -> None:
        if self._status and not self._complete:  # ours, not a surplus one
            self._complete = True
            self._whole = len(self._pieces)

    # -- asyncio.Protocol

    def data_received(self, data: bytes) -> None:
        receiver = self.receiver
        if receiver is None:  # nobody asked: it must never become the next caller's answer
            self.transport.abort()
            return
        error: UpstreamError | None = None
        if not self._status:
            self._got += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            error = StreamBroken("the provider's answer is not valid HTTP")
        if not self._status and self._got > HEAD_LIMIT:
            error = StreamBroken(f"the head of the provider's answer is over {HEAD_LIMIT} bytes")
        pieces = self._pieces
        if self._surplus:
            del pieces[self._whole :]  # an unasked-for second answer in the same read is not part of ours
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        if not self._complete and error is None:
            if data or self._status:
                receiver.on_read(data, False, None)
            return
        self.receiver = None
        if self._complete and error is not None and not _is_counted(self._headers):
            error = None  # what follows a last chunk is not the answer's; what follows a length shows it too short
        self._release(reusable=error is None and self._keep and not self._surplus)
        receiver.on_read(data, True, error)

    def _release(self, *, reusable: bool) -> None:
        # an answer that came before our request was out: the rest of it would be read as the next request
        if reusable and not self._uploading and not self.transport.get_write_buffer_size():
            self.resume()  # a paused idle socket would not notice its peer leaving
            self._pool.give(self)
        else:
            self.transport.abort()

    def pause_writing(self) -> None:
        if self._room is None:
            self._room = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self.resume_writing()
        if self._conn.protocol is not None:
            # the connector's own protocol must hear it too, or connector.close() waits for ever
            self._conn.protocol.connection_lost(exc)
            self._conn.close()
        receiver, self.receiver = self.receiver, None
        if receiver is None:
            self._pool.forget(self)
        elif self._status and not self._framed and exc is None:
            receiver.on_read(b"", True, None)  # no length and no chunks: EOF is the end
        elif self.reused and not self._got:
            receiver.on_read(b"", True, StaleConnection("the provider closed the connection"))
        elif self._status:
            broken = StreamBroken("the provider closed the connection before its answer was complete")
            receiver.on_read(b"", True, broken)
        else:
            receiver.on_read(b"", True, ConnectFailed("the provider closed the connection without an answer"))


def _is_counted(headers: list[tuple[bytes, bytes]]) -> bool:
    return any(name == b"content-length" for name, _ in headers)


def _is_framed(headers: list[tuple[bytes, bytes]]) -> bool:
    for name, value in headers:
        if name == b"content-length" or (name == b"transfer-encoding" and b"chunked" in value.lower()):
            return True
    return False


class Pool:
    """Idle connections by place, newest first, bounded in number and age."""

    def __init__(self, dialer: Dialer, *, idle_seconds: float = IDLE_SECONDS) -> None:
        self._loop = asyncio.get_running_loop()
        self._dialer = dialer
        self._idle_seconds = idle_seconds
        self._places: dict[tuple[str, bool], Place] = {}
        self._idle: dict[Place, list[Upstream]] = {}
        self._sweeper = self._loop.call_later(idle_seconds / 2, self._sweep)

    def find(self, origin: str, *, guarded: bool) -> Place:
        """The place for ``https://host:port``; the same object every time, while it is in use."""
        key = (origin, guarded)
        place = self._places.get(key)
        if place is None:
            if len(self._places) >= MAX_PLACES:
                self._places.pop(next(iter(self._places)))
            place = self._places[key] = Place(origin, guarded=guarded)
        return place

    def take(self, place: Place) -> Upstream | None:
        """An idle connection that was alive when last heard of."""
        idle = self._idle.get(place)
        while idle:
            upstream = idle.pop()
            if not upstream.transport.is_closing():
                upstream.reused = True
                return upstream
        return None

    async def dial(self, place: Place, timeout: float) -> Upstream:
        conn = await self._dialer.dial(place, timeout)
        return Upstream(self, place, conn)

    def give(self, upstream: Upstream) -> None:
        idle = self._idle.setdefault(upstream.place, [])
        if len(idle) >= IDLE_PER_PLACE:
            upstream.transport.close()
            return
        upstream.since = self._loop.time()
        idle.append(upstream)

    def forget(self, upstream: Upstream) -> None:
        idle = self._idle.get(upstream.place)
        if idle and upstream in idle:
            idle.remove(upstream)

    def count_idle(self) -> int:
        return sum(len(idle) for idle in self._idle.values())

    def _sweep(self) -> None:
        limit = self._loop.time() - self._idle_seconds
        for place, idle in list(self._idle.items()):
            for upstream in [u for u in idle if u.since < limit]:
                idle.remove(upstream)
                upstream.transport.close()
            if not idle:
                del self._idle[place]
        self._sweeper = self._loop.call_later(self._idle_seconds / 2, self._sweep)

    async def close(self) -> None:
        self._sweeper.cancel()
        for idle in self._idle.values():
            for upstream in idle:
                upstream.transport.close()
        self._idle.clear()
        await self._dialer.close()
