"""A whole gateway between a scripted upstream and a strict raw client, on real sockets, for the feature tests."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import orjson
from aiohttp.abc import AbstractResolver

from aiogateway import app
from aiogateway.settings import load_settings
from aiogateway.testing import FakeUpstream
from aiogateway.testing.upstream import Script, SeenRequest
from aiogateway.types import Record
from aiogateway.wire.sse import frame

DONE = b"data: [DONE]\n\n"


def event(text: str = "hi", finish: str | None = None, index: int = 0, **extra: Any) -> bytes:
    """A chat completion chunk, as OpenAI sends it."""
    choice = {"index": index, "delta": {"content": text}, "finish_reason": finish}
    return frame(orjson.dumps({"id": "c", "object": "chat.completion.chunk", "choices": [choice], **extra}))


def usage_event(prompt: int = 3, completion: int = 2) -> bytes:
    counts = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return frame(orjson.dumps({"id": "c", "choices": [], "usage": counts}))


GOOD = event("a") + event("b") + event("", "stop") + usage_event() + DONE
"""A whole stream, with the usage event that a client sees only if it asked."""
SEEN = event("a") + event("b") + event("", "stop") + DONE
"""The same without it."""


def leaf(up: FakeUpstream, **fields: Any) -> dict[str, Any]:
    """A target of a config: `up` as an OpenAI-compatible host."""
    return {"provider": "openai", "api_key": "sk-own", "custom_host": f"{up.url}/v1", **fields}


def branch(mode: str, *targets: dict[str, Any], strategy: Mapping[str, Any] | None = None, **fields: Any) -> Any:
    """A config, or a part of one, that chooses among `targets`."""
    return {"strategy": {"mode": mode, **(strategy or {})}, "targets": list(targets), **fields}


class Client:
    """One connection to the gateway; reads strictly, so that wrong framing fails."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.status = 0
        self.headers: dict[str, str] = {}

    def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"", version: str = "1.1") -> None:
        given = {"Host": "localhost", **headers}
        if body or method == "POST":
            given.setdefault("Content-Length", str(len(body)))
        head = "".join(f"{name}: {value}\r\n" for name, value in given.items() if value)
        self.writer.write(f"{method} {path} HTTP/{version}\r\n{head}\r\n".encode("latin-1") + body)

    async def head(self) -> int:
        """Reads a head; no header may come twice."""
        raw = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        self.status = int(raw[0].split()[1])
        self.headers = {}
        for line in raw[1:]:
            if line:
                name, value = line.split(": ", 1)
                assert name.lower() not in self.headers, f"twice: {name}"
                self.headers[name.lower()] = value
        return self.status

    async def chunk(self) -> bytes:
        size = int((await self.reader.readuntil(b"\r\n"))[:-2], 16)
        data = await self.reader.readexactly(size)
        assert await self.reader.readexactly(2) == b"\r\n"
        return data

    async def body(self) -> bytes:
        """The rest of the answer, by its own framing. Raises IncompleteReadError when it is cut."""
        if self.status in (204, 304):
            return b""
        if "content-length" in self.headers:
            assert "transfer-encoding" not in self.headers
            return await self.reader.readexactly(int(self.headers["content-length"]))
        if self.headers.get("transfer-encoding") == "chunked":
            pieces = []
            while piece := await self.chunk():
                pieces.append(piece)
            return b"".join(pieces)
        return await self.reader.read()

    async def answer(self) -> tuple[int, bytes]:
        await self.head()
        return self.status, await self.body()

    def leave(self) -> None:
        """The client goes without a word."""
        self.writer.transport.abort()


class Stage:
    """`records` are as put: one per call that ended, in order."""

    def __init__(self, up: FakeUpstream, gateway: app.Gateway, records: list[Record], recorded: asyncio.Event) -> None:
        self.up = up
        self.gateway = gateway
        self.records = records
        self._recorded = recorded
        self._clients: list[Client] = []

    def target(self, **headers: str) -> dict[str, str]:
        """Headers that name the upstream as an OpenAI-compatible host."""
        return {
            "x-portkey-provider": "openai",
            "x-portkey-custom-host": f"{self.up.url}/v1",
            "Authorization": "Bearer sk-caller",
            **headers,
        }

    async def connect(self, *, port: int = 0, little: bool = False) -> Client:
        """To the gateway, or to another one on `port`. `little`: the client's kernel buffers next to nothing."""
        sock = socket.socket()
        sock.setblocking(False)
        if little:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port or self.gateway.port))
        client = Client(*await asyncio.open_connection(sock=sock, limit=4096 if little else 1 << 16))
        self._clients.append(client)
        return client

    async def post(
        self, *, stream: bool = True, path: str = "/v1/chat/completions", headers: Mapping[str, str] | None = None,
        version: str = "1.1", raw: bytes | None = None, client: Client | None = None,
        config: Mapping[str, Any] | None = None, **body: Any,
    ) -> Client:  # fmt: skip
        """Sends a call and returns without waiting for its answer. `config` takes the place of the target's headers."""
        client = client or await self.connect()
        if config is not None:
            given = {"x-portkey-provider": "", "x-portkey-custom-host": ""}
            headers = {**given, "x-portkey-config": orjson.dumps(config).decode(), **(headers or {})}
        if raw is None:
            raw = orjson.dumps({"model": "m", "messages": [], "stream": stream, **body})
        client.send("POST", path, {**self.target(), **(headers or {})}, raw, version)
        return client

    async def ask(self, **call: Any) -> tuple[int, bytes]:
        """One call, its status and body."""
        client = await self.post(**call)
        return await client.answer()

    async def recorded(self, count: int = 1) -> Record:
        """Waits for the `count`-th record."""
        async with asyncio.timeout(5):
            while len(self.records) < count:
                self._recorded.clear()
                await self._recorded.wait()
        return self.records[count - 1]

    def sent_body(self, index: int = -1) -> dict[str, Any]:
        """The JSON body the upstream received."""
        body: dict[str, Any] = orjson.loads(self.seen(index).body)
        return body

    def seen(self, index: int = -1) -> SeenRequest:
        return self.up.requests[index]

    def close_clients(self) -> None:
        for client in self._clients:
            client.leave()


@contextlib.asynccontextmanager
async def stage(
    *script: Script,
    tls: ssl.SSLContext | None = None,
    resolver: AbstractResolver | None = None,
    read_bodies: bool = True,
    environ: Mapping[str, str] | None = None,
    tmp: Path | None = None,
    **settings: Any,
) -> AsyncIterator[Stage]:
    """An upstream that plays `script` behind a gateway with `settings`. Ends by checking that nothing leaked."""
    variables = {"HOME": "/nonexistent", "AIOGATEWAY_PORT": "0", **(environ or {})}
    file = None
    if settings:
        assert tmp is not None, "settings need a tmp_path"
        file = tmp / "settings.json"
        file.write_bytes(orjson.dumps(settings))
    async with FakeUpstream(*script, tls=tls, read_bodies=read_bodies) as up:
        gateway = app.Gateway(load_settings({}, variables, file), resolver=resolver)
        records: list[Record] = []
        recorded = asyncio.Event()
        put = gateway.pipeline.books.put

        def note(record: Record) -> None:
            records.append(record)
            recorded.set()
            put(record)

        gateway.pipeline.books.put = note  # type: ignore[method-assign]
        await gateway.start()
        live = Stage(up, gateway, records, recorded)
        try:
            yield live
        finally:
            live.close_clients()
            await gateway.stop(1.0)
        assert not gateway.tools.live, "an exchange leaked"
        assert gateway.tools.buffers.held == 0, "held bytes leaked"
