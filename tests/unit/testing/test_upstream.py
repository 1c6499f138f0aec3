from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Iterable

import pytest
import trustme

from aiogateway.testing import (
    Cut,
    FakeUpstream,
    Hang,
    Pause,
    Reset,
    SeenRequest,
    Send,
    Stall,
    Step,
    garbage,
    head,
    stream,
    unary,
)

GET = b"GET /a?b=%20c HTTP/1.1\r\nHost: x\r\nX-Two: 1\r\nx-two: 2\r\n\r\n"


@contextlib.asynccontextmanager
async def connect(
    up: FakeUpstream, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    name = "127.0.0.1" if tls else None
    reader, writer = await asyncio.open_connection("127.0.0.1", up.port, ssl=tls, server_hostname=name)
    try:
        async with asyncio.timeout(5):
            yield reader, writer
    finally:
        writer.transport.abort()


async def exchange(up: FakeUpstream, request: bytes = GET) -> bytes:
    async with connect(up) as (reader, writer):
        writer.write(request)
        return await reader.read()


async def test_a_unary_reply_and_what_was_asked() -> None:
    async with FakeUpstream((*unary(b"{}", status=418, headers=(("x-a", "b"),)), Cut())) as up:
        answer = await exchange(up)
        assert up.url == f"http://127.0.0.1:{up.port}"
    first, _, rest = answer.partition(b"\r\n")
    assert first == b"HTTP/1.1 418 I'm a Teapot"
    assert rest == b"content-type: application/json\r\ncontent-length: 2\r\nx-a: b\r\n\r\n{}"
    (seen,) = up.requests
    assert (seen.method, seen.path, seen.body, seen.connection) == ("GET", "/a?b=%20c", b"", 0)
    assert seen.headers == (("host", "x"), ("x-two", "1"), ("x-two", "2"))
    assert (seen.header("x-two"), seen.header("x-three")) == ("1", None)


async def test_a_stream_is_chunked_and_may_lack_its_end() -> None:
    async with FakeUpstream((*stream(b"one", b"two"), Cut()), (*stream(b"one", end=False), Cut())) as up:
        whole, half = await exchange(up), await exchange(up)
    assert whole.endswith(b"\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")
    assert half.endswith(b"\r\n\r\n3\r\none\r\n")


async def test_replies_come_in_order_and_the_last_one_stays_on_one_connection() -> None:
    async with FakeUpstream(unary(b"1"), unary(b"2")) as up, connect(up) as (reader, writer):
        for body in (b"1", b"2", b"2"):
            writer.write(GET)
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK")
            assert await reader.readexactly(1) == body
        assert [seen.connection for seen in up.requests] == [0, 0, 0]
        assert len(up.connections) == up.open == 1


async def test_a_reply_may_depend_on_the_request() -> None:
    def echo(request: SeenRequest) -> Iterable[Step]:
        return (*unary(request.body), Cut())

    length = b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"
    chunked = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nab\r\n1\r\nc\r\n0\r\nx-t: 1\r\n\r\n"
    async with FakeUpstream(echo) as up:
        assert (await exchange(up, length)).endswith(b"\r\n\r\nabc")
        assert (await exchange(up, chunked)).endswith(b"\r\n\r\nabc")


async def test_cut_ends_and_reset_resets() -> None:
    async with FakeUpstream((head(), Send(b"x"), Cut()), (Reset(),)) as up:
        assert (await exchange(up)).endswith(b"\r\n\r\nx")
        with pytest.raises(ConnectionResetError):
            await exchange(up)
        await up.requested(2)
        assert [seen.left for seen in up.connections] == [None, None]  # it was us, both times


async def test_the_peers_leaving_is_seen_while_we_are_silent() -> None:
    async with FakeUpstream((head(), Hang())) as up:
        async with connect(up) as (reader, writer):
            writer.write(GET)
            await reader.readuntil(b"\r\n\r\n")
            assert up.connections[0].left is None
            writer.close()
            await up.left()
        seen = up.connections[0]
        assert seen.left is not None
        assert seen.left >= up.requests[0].at >= seen.opened


async def test_the_peers_leaving_is_seen_while_we_write() -> None:
    flood: tuple[Step, ...] = (head(), *[Send(b"x" * 65536)] * 10_000)
    async with FakeUpstream(flood) as up:
        async with connect(up) as (reader, writer):
            writer.write(GET)
            await reader.readexactly(100_000)
        await up.left()
        assert 100_000 <= up.connections[0].sent < 10_000 * 65536


async def test_stall_waits_for_the_test() -> None:
    async with FakeUpstream((head(), Stall(), Send(b"go"), Cut())) as up, connect(up) as (reader, writer):
        writer.write(GET)
        await reader.readuntil(b"\r\n\r\n")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.05)
        up.resume()
        assert await reader.read() == b"go"


async def test_pause_takes_its_time_unless_the_peer_leaves() -> None:
    loop = asyncio.get_running_loop()
    async with FakeUpstream((Pause(0.05), *unary(b""), Cut()), (Pause(60), Cut())) as up:
        begun = loop.time()
        await exchange(up)
        assert loop.time() - begun >= 0.05
        async with connect(up) as (_, writer):
            writer.write(GET)
            await up.requested(2)
        await up.left()


async def test_garbage_is_no_http_and_repeats() -> None:
    assert garbage() == garbage()
    assert garbage(seed=1) != garbage()
    async with FakeUpstream((garbage(32), Cut())) as up:
        answer = await exchange(up)
    assert answer == garbage(32).data
    assert not answer.startswith(b"HTTP")


async def test_an_answer_before_the_body() -> None:
    async with FakeUpstream(unary(b"no", status=413), read_bodies=False) as up, connect(up) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nContent-Length: 1000000\r\n\r\nabc")
        assert await reader.readuntil(b"no")
        assert up.requests[0].body == b""


async def test_tls() -> None:
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    async with FakeUpstream((*stream(b"safe"), Hang()), tls=server) as up:
        assert up.url.startswith("https://127.0.0.1:")
        async with connect(up, client) as (reader, writer):
            writer.write(GET)
            assert await reader.readuntil(b"safe")
        await up.left()


async def test_waiting_has_a_limit() -> None:
    async with FakeUpstream((Hang(),)) as up:
        with pytest.raises(TimeoutError):
            await up.requested(limit=0.05)
        with pytest.raises(TimeoutError):
            await up.left(limit=0.05)


async def test_a_script_that_fails_is_not_overlooked() -> None:
    def broken(request: SeenRequest) -> Iterable[Step]:
        raise LookupError(request.path)

    with pytest.raises(LookupError, match="/a"):
        async with FakeUpstream(broken) as up:
            assert await exchange(up) == b""


async def test_nothing_is_left_behind() -> None:
    async with FakeUpstream((Hang(),)) as up:
        reader, writer = await asyncio.open_connection("127.0.0.1", up.port)
        writer.write(GET)
        await up.requested()
    assert up.open == 0
    assert await asyncio.wait_for(_drain(reader), 5) == b""
    writer.close()
    with pytest.raises(OSError, match=r"refused|failed"):
        await asyncio.open_connection("127.0.0.1", up.port)


async def _drain(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""


def test_a_script_needs_a_reply() -> None:
    with pytest.raises(ValueError, match="at least one"):
        FakeUpstream()
