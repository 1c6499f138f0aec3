from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from aiogateway.errors import GatewayError, Overloaded, SettingsError
from aiogateway.server.health import DRAINING, STARTING, Health
from aiogateway.server.runner import Runner
from aiogateway.server.sink import ClientSink
from aiogateway.settings import Settings

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class FakeRoutes:
    """Answers by `script`, or with OK."""

    def __init__(self, script: Callable[[web.BaseRequest, ClientSink], Awaitable[None]] | None = None) -> None:
        self.script = script
        self.began = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.stopped: list[GatewayError] = []
        self.on_stop: Callable[[], None] = lambda: None

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.began.set()
        sink = ClientSink(request)
        try:
            if self.script is not None:
                await self.script(request, sink)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        if not sink.started:
            sink.start(200, [], length=2)
            sink.write(b"ok")
            sink.end()
        return sink.finish()

    def stop(self, error: GatewayError) -> None:
        self.stopped.append(error)
        self.on_stop()


class Scene:
    def __init__(self, routes: FakeRoutes, **settings: Any) -> None:
        self.routes = routes
        self.health = Health(version="1", docs="d")
        fake: Any = routes
        self.runner = Runner(Settings(port=0, **settings), fake, self.health)
        self.writers: list[asyncio.StreamWriter] = []

    async def connect(self, data: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.runner.port)
        self.writers.append(writer)
        writer.write(data)
        return reader, writer


@asynccontextmanager
async def running(routes: FakeRoutes | None = None, **settings: Any) -> AsyncIterator[Scene]:
    scene = Scene(routes or FakeRoutes(), **settings)
    await scene.runner.start()
    try:
        async with asyncio.timeout(10):
            yield scene
    finally:
        for writer in scene.writers:
            writer.transport.abort()
        await scene.runner.stop(0)


async def test_it_is_ready_once_it_listens() -> None:
    scene = Scene(FakeRoutes())
    assert scene.health.reasons == (STARTING,)
    await scene.runner.start()
    assert scene.health.ready
    assert scene.runner.port > 0
    await scene.runner.stop(0)
    assert scene.health.reasons == (DRAINING,)


async def test_a_port_that_is_taken_is_an_error_of_the_settings() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        runner = Runner(Settings(port=port), FakeRoutes(), Health(version="1", docs="d"))  # type: ignore[arg-type]
        with pytest.raises(SettingsError, match=f"can't listen on 127.0.0.1:{port}") as caught:
            await runner.start()
        assert caught.value.path == "port"
        await runner.stop(0)


async def test_answers_of_our_own_framing_and_connections_that_stay() -> None:
    async with running() as scene:
        reader, writer = await scene.connect(GET + GET)
        assert await reader.readexactly(2 * len(OK)) == OK * 2
        writer.write(GET)
        assert await reader.readexactly(len(OK)) == OK


async def test_an_answer_that_must_close_closes() -> None:
    async def script(request: web.BaseRequest, sink: ClientSink) -> None:
        sink.start(200, [])
        sink.write(b"all")
        sink.end()

    async with running(FakeRoutes(script)) as scene:
        reader, _ = await scene.connect(b"GET / HTTP/1.0\r\n\r\n")
        assert (await reader.read()).endswith(b"\r\n\r\nall")


async def test_back_pressure_of_a_client_that_does_not_read() -> None:
    paused = asyncio.Event()

    async def script(request: web.BaseRequest, sink: ClientSink) -> None:
        sink.start(200, [])
        while not sink.paused:
            sink.write(b"x" * 65536)
            sink.flush()
            await asyncio.sleep(0)
        assert sink.backlog > 0
        paused.set()
        await sink.drained()
        assert not request.protocol.writing_paused
        sink.end()

    async with running(FakeRoutes(script)) as scene:
        reader, _ = await scene.connect(GET)
        await paused.wait()
        while not (await reader.read(1 << 20)).endswith(b"0\r\n\r\n"):
            pass


async def test_a_handler_whose_client_leaves_is_cancelled() -> None:
    async def script(request: web.BaseRequest, sink: ClientSink) -> None:
        await asyncio.Event().wait()

    routes = FakeRoutes(script)
    async with running(routes) as scene:
        _, writer = await scene.connect(GET)
        await routes.began.wait()
        writer.transport.abort()
        await routes.cancelled.wait()


async def test_bytes_that_are_no_http_are_neither_logged_nor_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    async with running() as scene:
        reader, _ = await scene.connect(b"GET / HTTP/1.1\r\ncanary\x01-key: a\r\n\r\n")
        answer = await reader.read()
        assert answer.split()[1] == b"400"
        assert b"the request is not valid HTTP" in answer
        assert b"canary" not in answer
    assert "canary" not in caplog.text
    assert not [record for record in caplog.records if record.levelname in ("ERROR", "WARNING")]


async def test_a_header_that_is_too_long_is_called_that() -> None:
    async with running(max_config_header=1024) as scene:
        reader, _ = await scene.connect(GET[:-2] + b"x-portkey-config: " + b"x" * 9000 + b"\r\n\r\n")
        answer = await reader.read()
        assert answer.split()[1] == b"400"
        assert b"a header is too long" in answer
        assert b"xxx" not in answer


async def test_a_chunk_that_breaks_ends_the_body() -> None:
    seen: list[type[BaseException]] = []

    async def script(request: web.BaseRequest, sink: ClientSink) -> None:
        try:
            while await request.content.readany():
                pass
        except Exception as error:
            seen.append(type(error))

    async with running(FakeRoutes(script)) as scene:
        head = b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        reader, writer = await scene.connect(head + b"2\r\nab\r\n")
        await scene.routes.began.wait()
        writer.write(b"zz\r\n")
        await reader.read(1)
    assert len(seen) == 1


async def test_a_head_that_does_not_come_is_not_waited_for() -> None:
    async with running(head_timeout=0.05) as scene:
        reader, _ = await scene.connect(GET[:-2])
        assert (await reader.read()).startswith(b"HTTP/1.1 408 ")
        reader, _ = await scene.connect()
        assert (await reader.read()).startswith(b"HTTP/1.1 408 ")


async def test_a_head_that_came_ends_its_deadline() -> None:
    release = asyncio.Event()

    async def script(request: web.BaseRequest, sink: ClientSink) -> None:
        await release.wait()

    async with running(FakeRoutes(script), head_timeout=0.05) as scene:
        reader, _ = await scene.connect(GET)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await reader.read(1)
        release.set()
        assert await reader.readexactly(len(OK)) == OK
        assert scene.runner._server is not None
        assert not scene.runner._server._waiting


async def test_connections_that_leave_leave_no_timer() -> None:
    async with running() as scene:
        _, writer = await scene.connect()
        server = scene.runner._server
        assert server is not None
        while not server._waiting:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        writer.transport.abort()
        while server._waiting:  # noqa: ASYNC110
            await asyncio.sleep(0.001)


# --- the end ---


@pytest.mark.parametrize("drain", [0.0, 5.0])
async def test_an_idle_server_stops_at_once(drain: float) -> None:
    async with running() as scene:
        async with asyncio.timeout(1):
            await scene.runner.stop(drain)
        assert scene.routes.stopped == []
        with pytest.raises(ConnectionRefusedError):
            await scene.connect()


async def test_a_drain_waits_for_calls_and_still_serves() -> None:
    release = asyncio.Event()

    async def script(request: web.BaseRequest, sink: ClientSink) -> None:
        if request.path == "/slow":
            await release.wait()

    async with running(FakeRoutes(script)) as scene:
        slow, _ = await scene.connect(GET.replace(b"GET /", b"GET /slow"))
        await scene.routes.began.wait()
        stopping = asyncio.create_task(scene.runner.stop(5))
        await asyncio.sleep(0)
        assert scene.health.reasons == (DRAINING,)
        reader, _ = await scene.connect(GET)
        assert await reader.readexactly(len(OK)) == OK
        assert not stopping.done()
        release.set()
        assert await slow.readexactly(len(OK)) == OK
        await stopping
        assert scene.routes.stopped == []


@pytest.mark.parametrize("how", ["too long", "forced", "no drain"])
async def test_what_the_drain_does_not_end_ends_with_an_error(how: str, caplog: pytest.LogCaptureFixture) -> None:
    release = asyncio.Event()

    async def script(request: web.BaseRequest, sink: ClientSink) -> None:
        await release.wait()

    routes = FakeRoutes(script)
    routes.on_stop = release.set
    async with running(routes) as scene:
        reader, _ = await scene.connect(GET)
        await routes.began.wait()
        drain = {"too long": 0.05, "forced": 30.0, "no drain": 0.0}[how]
        stopping = asyncio.create_task(scene.runner.stop(drain))
        await asyncio.sleep(0)
        if how == "forced":
            scene.runner.force()
        async with asyncio.timeout(2):
            await stopping
        assert [type(error) for error in routes.stopped] == [Overloaded]
        assert await reader.readexactly(len(OK)) == OK  # what it says on its way out arrives
    assert "cutting 1 calls" in caplog.text


async def test_stop_before_start() -> None:
    scene = Scene(FakeRoutes())
    await scene.runner.stop(5)
    assert DRAINING in scene.health.reasons
