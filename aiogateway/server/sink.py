"""The client's end of an answer, on aiohttp: `contracts.Sink`.

We write head, chunk framing and end ourselves, so that head, first events and (for a short answer) the end leave in
one system call: uvloop >= 0.22 sends at every write(). What is used of aiohttp is public: `request.transport`,
`.protocol`, `.writer.drain()`, `StreamResponse.prepare/write_eof/keep_alive`; the tests of this file fail when that
changes.
"""

from __future__ import annotations

import array
import asyncio
import sys
from http import HTTPStatus

from aiohttp import HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter

from ..types import RawHeaders

if sys.platform != "win32":
    import fcntl
    import termios

STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}".encode() for status in HTTPStatus}
COPY_BELOW = 4096  # smaller chunks are joined with their framing; larger ones go out by one writev, uncopied


class Written(web.StreamResponse):
    """Tells aiohttp that the answer has been written, and whether its connection may stay."""

    def __init__(self, status: int, *, keep: bool) -> None:
        super().__init__(status=status)
        self._keep = keep

    @property
    def keep_alive(self) -> bool:
        return self._keep

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        return None


class ClientSink:
    """One answer to one request. `extra` headers come from the door (CORS); `closing` says that we are going away."""

    __slots__ = (
        "_chunked",
        "_cork",
        "_keep",
        "_mute",
        "_protocol",
        "_request",
        "_status",
        "_transport",
        "ended",
        "extra",
        "started",
    )

    def __init__(self, request: web.BaseRequest, *, extra: RawHeaders = (), closing: bool = False) -> None:
        self._request = request
        self._transport = request.transport
        self._protocol = request.protocol
        self.extra = extra
        self._keep = request.keep_alive and not closing
        self._cork: list[bytes] = []
        self._chunked = self._mute = False
        self._status = 0
        self.started = self.ended = False

    @property
    def paused(self) -> bool:
        return self._protocol.writing_paused

    @property
    def backlog(self) -> int:
        """With what the kernel holds, which is megabytes, and asks us for more only once a good part of it is gone."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return 0
        return transport.get_write_buffer_size() + _count_unacknowledged(transport)

    def start(self, status: int, headers: RawHeaders, *, length: int | None = None) -> None:
        """Queues the head. Raises ConnectionResetError when the client has gone."""
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError("the client has gone")
        self.started, self._status = True, status
        request = self._request
        modern = request.version >= HttpVersion11
        if not request.content.is_eof():  # an answer before the end of the upload: the rest would be the next request
            self._keep = False
        lines = [STATUS_LINES.get(status) or b"HTTP/1.1 %d Status" % status]
        lines += [name + b": " + value for name, value in headers]
        lines += [name + b": " + value for name, value in self.extra]
        bodiless = status in (204, 304)
        self._mute = bodiless or request.method == "HEAD"
        if length is not None:
            if status != 204:
                lines.append(b"content-length: %d" % length)
        elif modern and not bodiless:
            self._chunked = True
            lines.append(b"transfer-encoding: chunked")
        elif not bodiless:
            self._keep = False  # only the close tells an HTTP/1.0 client that the body is over
        if self._keep is not modern:
            lines.append(b"connection: keep-alive" if self._keep else b"connection: close")
        lines.append(b"\r\n")
        self._cork.append(b"\r\n".join(lines))

    def write(self, data: bytes) -> None:
        """Queues body bytes; never an empty chunk, which would be the end."""
        if not data or self._mute:
            return
        if not self._chunked:
            self._cork.append(data)
        elif len(data) < COPY_BELOW:
            self._cork.append(b"%x\r\n%b\r\n" % (len(data), data))
        else:
            self._cork += (b"%x\r\n" % len(data), data, b"\r\n")

    def flush(self) -> None:
        cork, transport = self._cork, self._transport
        if not cork:
            return
        self._cork = []
        if transport is None or transport.is_closing():  # uvloop raises on writing to a closed transport
            return
        if len(cork) == 1:
            transport.write(cork[0])
        else:
            transport.writelines(cork)

    def send(self, data: bytes) -> bool:
        """Sends body bytes with what is queued; whether the client is now slower than we are."""
        transport = self._transport
        if transport is None or not data or not self._chunked or self._cork or len(data) >= COPY_BELOW or self._mute:
            self.write(data)
            self.flush()
            return self.paused
        if transport.is_closing():
            return False
        transport.write(b"%x\r\n%b\r\n" % (len(data), data))
        # asked for only when something is left: it lies in yet another object, which is cold for each of 1,000 streams
        return transport.get_write_buffer_size() > 0 and self._protocol.writing_paused

    async def drained(self) -> None:
        await self._request.writer.drain()

    def end(self) -> None:
        if self.ended:
            return
        self.ended = True
        if self._chunked and not self._mute:
            self._cork.append(b"0\r\n\r\n")
        self.flush()

    def abort(self) -> None:
        self.ended, self._keep = True, False
        self._cork = []
        if self._transport is not None:
            self._transport.abort()

    def finish(self) -> web.StreamResponse:
        """What the handler returns."""
        return Written(self._status or 499, keep=self._keep)


def _count_unacknowledged(transport: asyncio.Transport) -> int:
    """Bytes in the kernel that the client's kernel has not taken (tcp(7), SIOCOUTQ); 0 where that can't be known."""
    sock = transport.get_extra_info("socket")
    if sys.platform == "win32" or sock is None:
        return 0
    count = array.array("i", [0])
    try:
        fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, count)
    except (OSError, ValueError):  # the latter for a socket that is closed
        return 0
    return count[0]
