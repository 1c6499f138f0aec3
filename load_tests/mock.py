"""The upstream of every measurement: a raw asyncio protocol on uvloop, cheap enough to share its core with the readers.

`python -m load_tests.mock [CERTIFICATE]` prints `{"port": ..., "tls_port": ...}` once it listens. POST on any path
answers as answers.py says; `GET /cuts` lists when (CLOCK_MONOTONIC seconds) peers left in the middle of a stream,
`DELETE /cuts` forgets them.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
import time
from typing import cast

import httptools
import orjson
import uvloop

from load_tests.answers import (
    STREAM_HEAD,
    UNARY,
    Answer,
    make_block,
    make_end,
    make_reply,
    read_request,
    split_chunk,
)
from load_tests.processes import raise_file_limit
from load_tests.wheel import Wheel

BLOCK = 64
"""Unpaced chunks per write."""
CUTS_KEPT = 100_000


class Upstream:
    """What all connections share."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._wheels: dict[int, Wheel] = {}
        self.cuts: list[float] = []

    def wheel(self, rate: int) -> Wheel:
        """The one wheel of `rate` chunks per second."""
        if rate not in self._wheels:
            self._wheels[rate] = Wheel(self._loop, rate)
        return self._wheels[rate]


class Exchange(asyncio.Protocol):
    """One connection; answers one request at a time, as proxies send them."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._pieces: list[bytes] = []
        self.on_body = self._pieces.append
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._asked = False
        self._answer = Answer("unary")
        self._left = 0
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by class

    def on_url(self, url: bytes) -> None:
        self._url = url

    def on_message_complete(self) -> None:
        self._asked = True

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.abort()
            return
        if self._asked:
            self._asked = False
            body = b"".join(self._pieces)
            self._pieces.clear()
            self._reply(self._parser.get_method(), body)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._left:
            if len(self._upstream.cuts) < CUTS_KEPT:
                self._upstream.cuts.append(time.monotonic())
            self._left = 0
            if self._answer.rate:
                self._upstream.wheel(self._answer.rate).discard(self)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        if self._answer.kind == "burst":
            self._pump([])

    def _reply(self, method: bytes, body: bytes) -> None:
        if method != b"POST":
            if method == b"DELETE":
                self._upstream.cuts.clear()
            self._transport.write(make_reply("200 OK", orjson.dumps(self._upstream.cuts)))
            return
        try:
            self._answer = answer = read_request(body)
        except ValueError as error:
            refusal = orjson.dumps({"error": {"message": str(error), "type": "invalid_request_error"}})
            self._transport.write(make_reply("400 Bad Request", refusal))
            return
        # A paced stream's end has a turn of its own, so that its chunks come at the rate asked for.
        self._left = answer.chunks + (answer.kind == "paced")
        if answer.kind == "unary":
            self._transport.write(UNARY)
        elif answer.kind == "burst":
            self._pump([STREAM_HEAD])
        else:
            self._start, self._end = split_chunk(answer.usage)
            self._upstream.wheel(answer.rate).add(self)
            self.emit(STREAM_HEAD)

    def _pump(self, pieces: list[bytes]) -> None:
        while self._left and not self._paused:
            chunks = min(BLOCK, self._left)
            self._left -= chunks
            pieces.append(make_block(chunks, self._answer.usage))
            if not self._left:
                pieces.append(make_end(self._answer.usage))
            self._transport.writelines(pieces)
            pieces = []

    def emit(self, head: bytes = b"") -> None:
        """Send the next chunk of a paced stream, or its end, unless the peer is full."""
        if self._paused:
            return
        self._left -= 1
        if self._left:
            self._transport.write(b"%b%b%016x%b" % (head, self._start, time.monotonic_ns(), self._end))
        else:
            self._upstream.wheel(self._answer.rate).discard(self)
            self._transport.write(make_end(self._answer.usage))


async def serve(certificate: str | None) -> None:
    """Listen on loopback until killed, with TLS on a second port if there is a certificate (PEM: key and chain)."""
    loop = asyncio.get_running_loop()
    upstream = Upstream(loop)
    ports: dict[str, int] = {}
    plain = await loop.create_server(lambda: Exchange(upstream), "127.0.0.1", 0, backlog=4096)
    ports["port"] = plain.sockets[0].getsockname()[1]
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        secure = await loop.create_server(lambda: Exchange(upstream), "127.0.0.1", 0, ssl=context, backlog=4096)
        ports["tls_port"] = secure.sockets[0].getsockname()[1]
    print(orjson.dumps(ports).decode(), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    raise_file_limit()
    uvloop.run(serve(sys.argv[1] if len(sys.argv) > 1 else None))
