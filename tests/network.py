"""The network between gateway and provider, as tests need it: names, certificates, a CONNECT proxy. All on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import trustme
from aiohttp.abc import AbstractResolver, ResolveResult

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


class Names(AbstractResolver):
    """Every name is this machine, but ``missing.*``, which is none, and ``silent.*``, which is never answered."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked.append(host)
        if host.startswith("missing."):
            raise OSError(None, "NXDOMAIN from 127.0.0.1")
        if host.startswith("silent."):
            await asyncio.Event().wait()
        here = ResolveResult(hostname=host, host="127.0.0.1", port=port, family=family, proto=0, flags=0)
        return [here]

    async def close(self) -> None:
        return None


class Authority:
    """A certificate authority; `file` is what a gateway that trusts it reads."""

    def __init__(self, folder: Path, name: str = "ca.pem") -> None:
        self._ca = trustme.CA()
        self.file = folder / name
        self._ca.cert_pem.write_to_path(str(self.file))

    def serve_as(self, host: str, *, until: datetime | None = None) -> ssl.SSLContext:
        """What a server needs to be `host`."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert(host, not_after=until).configure_cert(context)
        return context


class Tunnel:
    """A company's way out. Notes what it is asked to connect to and what passes; names are this machine.

    `reply` is what it says to a CONNECT, None for a proxy that never answers.
    """

    def __init__(self, *, reply: bytes | None = ESTABLISHED) -> None:
        self.port = 0
        self.heads: list[str] = []
        self.sent = b""
        self._reply = reply
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def targets(self) -> list[str]:
        return [head.split()[1] for head in self.heads]

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._connect(reader, writer)
        finally:
            writer.transport.abort()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode("latin-1"))
        if self._reply is None:
            await reader.read()
            return
        writer.write(self._reply)
        await writer.drain()
        if self._reply is not ESTABLISHED:
            return
        port = int(self.targets[-1].rpartition(":")[2])
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            await asyncio.gather(self._pump(reader, far_writer, note=True), self._pump(far_reader, writer))
        finally:
            far_writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, note: bool = False) -> None:
        while data := await reader.read(1 << 16):
            if note:
                self.sent += data
            writer.write(data)
            await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def silent_port() -> AsyncIterator[int]:
    """A port where connections are taken and nothing is ever said."""
    gone = asyncio.Event()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await gone.wait()
        writer.transport.abort()

    server = await asyncio.start_server(wait, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        gone.set()
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def plain_port(heard: list[bytes]) -> AsyncIterator[int]:
    """A port that answers whatever it hears in plain HTTP."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(1 << 16))
        writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@contextlib.contextmanager
def full_port() -> Iterator[int]:
    """A port whose queue of connections is full: a further one gets no answer at all."""
    with socket.socket() as listener, contextlib.ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(address)
        yield address[1]


@contextlib.contextmanager
def closed_port() -> Iterator[int]:
    """A port where nobody listens."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]
