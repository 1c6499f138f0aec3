"""A provider made of a script: a real HTTP/1.1 server on loopback that answers, and misbehaves, on command.

::

    async with FakeUpstream((*stream(b"data: 1\\n\\n", end=False), Reset()), unary(b"{}")) as up:
        ...  # the first request gets one event and a reset, every later one an empty object
        await up.left()
        assert up.requests[0].path == "/v1/chat/completions"

Every reply is a tuple of steps. What happens is kept: requests, connections, and when the peer closed them.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import random
import socket
import ssl
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self, cast

from ..types import Headers

LINE_LIMIT = 1 << 20  # bytes of a request head
PATIENCE = 5.0  # seconds a test waits for something to happen before it fails


@dataclass(frozen=True, slots=True)
class Send:
    """Writes `data` and waits until the kernel took it."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Pause:
    """Silence for `seconds`."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Stall:
    """Silence until the test calls `FakeUpstream.resume`."""


@dataclass(frozen=True, slots=True)
class Hang:
    """Silence until the peer leaves."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Closes the connection (FIN) once all is sent."""


@dataclass(frozen=True, slots=True)
class Reset:
    """Resets the connection (RST); what the peer has not read yet may be lost."""


Step = Send | Pause | Stall | Hang | Cut | Reset
Reply = tuple[Step, ...]
END = Send(b"0\r\n\r\n")
"""The last chunk of a chunked body."""


def head(status: int = 200, headers: Headers = ()) -> Send:
    """A status line and headers."""
    phrase = http.client.responses.get(status, "Unknown")
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in headers)]
    return Send("\r\n".join([*lines, "", ""]).encode("latin-1"))


def chunk(data: bytes) -> Send:
    """One chunk of a chunked body."""
    return Send(b"%x\r\n%s\r\n" % (len(data), data))


def unary(
    body: bytes, *, status: int = 200, media_type: str = "application/json", headers: Headers = ()
) -> tuple[Send, ...]:
    """A whole answer of known length, in one write."""
    first = head(status, (("content-type", media_type), ("content-length", str(len(body))), *headers))
    return (Send(first.data + body),)


def stream(
    *events: bytes, end: bool = True, status: int = 200, media_type: str = "text/event-stream", headers: Headers = ()
) -> tuple[Send, ...]:
    """A chunked answer, one chunk an event; `end` adds the last chunk."""
    first = head(status, (("content-type", media_type), ("transfer-encoding", "chunked"), *headers))
    return (first, *map(chunk, events), *((END,) if end else ()))


def garbage(size: int = 256, seed: int = 0) -> Send:
    """Bytes that are no HTTP; the same for the same `seed`."""
    return Send(random.Random(seed).randbytes(size))  # noqa: S311  repeatable noise, not a secret


@dataclass(frozen=True, slots=True)
class SeenRequest:
    """A request as it arrived. `path` holds the raw query, header names are lower case, `at` is the loop's time."""

    method: str
    path: str
    headers: Headers
    body: bytes
    connection: int
    at: float

    def header(self, name: str) -> str | None:
        """The first header of this lower-case name."""
        return next((value for key, value in self.headers if key == name), None)


@dataclass(slots=True)
class SeenConnection:
    """One connection. `left` is when its peer closed or reset it, `closed` when it was gone; loop time, None before."""

    number: int
    opened: float
    transport: asyncio.Transport
    left: float | None = None
    closed: float | None = None
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    written: int = 0

    @property
    def sent(self) -> int:
        """Bytes of answers that the kernel took."""
        return self.written - self.transport.get_write_buffer_size()


Script = Reply | Callable[[SeenRequest], Iterable[Step]]


class FakeUpstream:
    """The server; see the module. The last reply of the script serves every further request.

    `read_bodies=False` answers right after a request's head and reads nothing of its body.
    """

    def __init__(self, *script: Script, tls: ssl.SSLContext | None = None, read_bodies: bool = True) -> None:
        if not script:
            raise ValueError("a script needs at least one reply")
        self.requests: list[SeenRequest] = []
        self.connections: list[SeenConnection] = []
        self.port = 0
        self._script = script
        self._tls = tls
        self._read_bodies = read_bodies
        self._resumed = asyncio.Event()
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """The base URL, without a slash at its end."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def open(self) -> int:
        """Connections that are open now."""
        return sum(connection.closed is None for connection in self.connections)

    def resume(self) -> None:
        """Ends every `Stall`, those to come included."""
        self._resumed.set()

    async def requested(self, count: int = 1, *, limit: float = PATIENCE) -> None:
        """Waits for the `count`-th request; TimeoutError after `limit` seconds."""
        await self._until(lambda: len(self.requests) >= count, limit)

    async def left(self, count: int = 1, *, limit: float = PATIENCE) -> None:
        """Waits until the peers of `count` connections have left; TimeoutError after `limit` seconds."""
        await self._until(lambda: sum(seen.left is not None for seen in self.connections) >= count, limit)

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Watched(self), "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Drops all connections. A script that failed raises here, unless the test has already."""
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        for connection in self.connections:
            if connection.closed is None:
                connection.transport.abort()
        await self._server.wait_closed()
        await self._until(lambda: self.open == 0, PATIENCE)
        broken = [result for result in results if isinstance(result, Exception)]
        if broken and error is None:
            raise broken[0]

    async def _until(self, done: Callable[[], bool], limit: float) -> None:
        async with asyncio.timeout(limit):
            while not done():
                self._changed.clear()
                await self._changed.wait()

    def note(self) -> None:
        """Something happened: wakes those who wait for it."""
        self._changed.set()

    def accept(self, seen: SeenConnection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves a connection in a task of its own."""
        self._tasks.add(asyncio.get_running_loop().create_task(self._serve(seen, reader, writer)))

    async def _serve(self, seen: SeenConnection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            # `seen` says how a peer left; that alone is no fault of the script
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                while (request := await self._read(seen, reader)) is not None:
                    self.requests.append(request)
                    self.note()
                    await self._reply(request, seen, writer)
                    if not self._read_bodies:
                        break
        finally:
            writer.close()

    async def _reply(self, request: SeenRequest, seen: SeenConnection, writer: asyncio.StreamWriter) -> None:
        entry = self._script[min(len(self.requests), len(self._script)) - 1]
        for step in entry(request) if callable(entry) else entry:
            await self._take(step, seen, writer)
            if seen.gone.is_set() or writer.is_closing():
                raise ConnectionResetError

    async def _take(self, step: Step, seen: SeenConnection, writer: asyncio.StreamWriter) -> None:
        match step:
            case Send(data):
                seen.written += len(data)
                writer.write(data)
                await writer.drain()
            case Pause(seconds):
                await _first(seen.gone, limit=seconds)
            case Stall():
                await _first(seen.gone, self._resumed)
            case Hang():
                await seen.gone.wait()
            case Cut():
                writer.close()
            case Reset():
                linger = struct.pack("ii", 1, 0)  # on, for no time: close() resets
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                writer.transport.abort()

    async def _read(self, seen: SeenConnection, reader: asyncio.StreamReader) -> SeenRequest | None:
        try:
            raw = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return None
        first, *lines = raw.decode("latin-1").rstrip("\r\n").split("\r\n")
        method, path, _ = first.split(" ", 2)
        headers = tuple((name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines))
        at = asyncio.get_running_loop().time()
        body = await _read_body(dict(headers), reader) if self._read_bodies else b""
        return SeenRequest(method, path, headers, body, seen.number, at)


class _Watched(asyncio.StreamReaderProtocol):
    """Notes when the peer leaves: a stream's reader only tells those who read."""

    def __init__(self, upstream: FakeUpstream) -> None:
        super().__init__(asyncio.StreamReader(limit=LINE_LIMIT), self._begin)
        self._upstream = upstream
        self._seen: SeenConnection | None = None

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream = self._upstream
        transport = cast(asyncio.Transport, writer.transport)  # uvloop's is no subclass
        self._seen = SeenConnection(len(upstream.connections), asyncio.get_running_loop().time(), transport)
        upstream.connections.append(self._seen)
        upstream.accept(self._seen, reader, writer)

    def eof_received(self) -> bool | None:
        self._peer_left()
        return super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None:  # ours to close is None, the peer's reset is not
            self._peer_left()
        if self._seen is not None:
            self._seen.closed = asyncio.get_running_loop().time()
            self._seen.gone.set()
            self._upstream.note()
        super().connection_lost(exc)

    def _peer_left(self) -> None:
        if self._seen is not None and self._seen.left is None:
            self._seen.left = asyncio.get_running_loop().time()
            self._seen.gone.set()
            self._upstream.note()


async def _first(*events: asyncio.Event, limit: float | None = None) -> None:
    """Waits for the first of `events`, at most `limit` seconds."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


async def _read_body(headers: dict[str, str], reader: asyncio.StreamReader) -> bytes:
    if "chunked" not in headers.get("transfer-encoding", "").lower():
        return await reader.readexactly(int(headers.get("content-length", "0")))
    pieces: list[bytes] = []
    while size := int((await reader.readuntil()).partition(b";")[0], 16):
        pieces.append(await reader.readexactly(size))
        await reader.readexactly(2)
    while (await reader.readline()).strip():  # trailers
        pass
    return b"".join(pieces)
