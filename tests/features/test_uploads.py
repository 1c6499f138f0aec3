"""What a client sends as a body: how much, how fast, how packed. Refused early, bounded, never held for ever."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from pathlib import Path

import orjson
import pytest

from aiogateway.testing.upstream import unary
from aiogateway.types import Outcome
from tests.process import serve, until
from tests.stage import Client, stage

ANSWER = b'{"object":"chat.completion","choices":[]}'
CHUNKED = {"Content-Length": "", "Transfer-Encoding": "chunked"}
CHAT = "/v1/chat/completions"
MIB = 1 << 20


async def test_a_body_over_the_limit_is_refused_by_its_length_before_any_of_it_is_read(tmp_path: Path) -> None:
    async with stage(unary(ANSWER), tmp=tmp_path, max_body=1000) as live:
        client = await live.connect()
        client.send("POST", CHAT, {**live.target(), "Content-Length": str(100 * MIB)})
        status, body = await client.answer()
        assert (status, orjson.loads(body)["error"]["code"]) == (413, "body_too_large")
        assert client.headers["connection"] == "close"
        assert live.up.connections == []
        record = await live.recorded()
        assert (record.status, record.outcome, record.attempts) == (413, Outcome.REFUSED, ())


async def test_a_chunked_body_is_refused_once_it_passes_the_limit(tmp_path: Path) -> None:
    async with stage(unary(ANSWER), tmp=tmp_path, max_body=1000) as live:
        client = await live.connect()
        client.send("POST", CHAT, {**live.target(), **CHUNKED})
        client.writer.write(b"3e9\r\n" + b"x" * 1001)
        assert (await client.answer())[0] == 413
        assert client.headers["connection"] == "close"
        assert live.up.connections == []


async def test_a_body_at_the_limit_is_served(tmp_path: Path) -> None:
    async with stage(unary(ANSWER), tmp=tmp_path, max_body=1000) as live:
        raw = b'{"model":"m"}'.ljust(1000)
        assert await live.ask(raw=raw) == (200, ANSWER)
        assert live.seen().body == raw


async def test_100_megabytes_cost_no_memory_and_hold_up_nobody(tmp_path: Path) -> None:
    async with serve(tmp_path, max_body=MIB) as served:
        before = served.memory("VmHWM")
        for headers in ({"Content-Length": str(100 * MIB)}, CHUNKED):
            client = await served.connect()
            client.send("POST", CHAT, {"x-portkey-provider": "mock", **headers})
            upload = asyncio.create_task(_flood(client, chunked=headers is CHUNKED))
            assert (await client.answer())[0] == 413
            other = await served.connect()
            other.send("GET", "/healthz", {})
            assert (await other.answer())[0] == 200
            async with asyncio.timeout(15):
                await upload
        assert served.memory("VmHWM") - before < 10 * MIB


async def _flood(client: Client, *, chunked: bool) -> None:
    piece = bytes(MIB)
    try:
        for _ in range(100):
            client.writer.writelines((b"100000\r\n", piece, b"\r\n") if chunked else (piece,))
            await client.writer.drain()
    except ConnectionError:  # the gateway has closed: what it is there for
        return


async def test_all_bodies_together_are_bounded(tmp_path: Path) -> None:
    async with stage(unary(ANSWER), tmp=tmp_path, max_buffered=3000) as live:
        first = await live.connect()
        first.send("POST", CHAT, {**live.target(), **CHUNKED, "Expect": "100-continue"})
        await _continued(first)
        first.writer.write(b"7d0\r\n" + b'{"model":"m"}'.ljust(2000) + b"\r\n")
        await until(lambda: live.gateway.tools.buffers.held > 0)
        status, body = await live.ask(raw=b'{"model":"m"}'.ljust(2000))
        assert (status, orjson.loads(body)["error"]["code"]) == (503, "overloaded")
        first.writer.write(b"0\r\n\r\n")
        assert await first.answer() == (200, ANSWER)
        assert (await live.ask(raw=b'{"model":"m"}'.ljust(2000)))[0] == 200, "what was held is free again"


# ---------------------------------------------------------------- waiting for leave to send


async def test_a_client_that_waits_for_leave_to_send_gets_it() -> None:
    async with stage(unary(ANSWER)) as live:
        client = await live.connect()
        raw = b'{"model":"m"}'
        client.send("POST", CHAT, {**live.target(), "Expect": "100-continue", "Content-Length": str(len(raw))})
        await _continued(client)
        assert live.up.connections == []
        client.writer.write(raw)
        assert await client.answer() == (200, ANSWER)
        assert live.seen().body == raw
        assert live.seen().header("expect") is None


@pytest.mark.parametrize("headers", [{"x-portkey-provider": "nobody"}, {"Content-Length": str(100 * MIB)}])
async def test_a_client_that_waits_is_refused_instead_when_it_would_be_in_vain(
    headers: dict[str, str], tmp_path: Path
) -> None:
    async with stage(unary(ANSWER), tmp=tmp_path, max_body=1000) as live:
        client = await live.connect()
        expect = {"Expect": "100-continue", "Content-Length": "500"}
        client.send("POST", CHAT, {**live.target(), **expect, **headers})
        assert (await client.answer())[0] in (400, 413)
        assert client.headers["connection"] == "close"


async def test_a_body_that_comes_with_the_question_needs_no_leave() -> None:
    async with stage(unary(ANSWER)) as live:
        assert await live.ask(stream=False, headers={"Expect": "100-continue"}) == (200, ANSWER)


async def _continued(client: Client) -> None:
    assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"


# ---------------------------------------------------------------- slow ones


@pytest.mark.parametrize("sent", [b"", b'{"mod'], ids=["nothing", "a part"])
async def test_a_body_that_stops_coming_is_a_408(sent: bytes, tmp_path: Path) -> None:
    async with stage(unary(ANSWER), tmp=tmp_path, body_timeout=0.1) as live:
        client = await live.connect()
        client.send("POST", CHAT, {**live.target(), "Content-Length": "100"})
        client.writer.write(sent)
        status, body = await client.answer()
        assert (status, orjson.loads(body)["error"]["code"]) == (408, "request_timeout")
        assert client.headers["connection"] == "close"
        assert live.up.connections == []
        assert (await live.recorded()).status == 408


async def test_a_slow_body_that_goes_on_coming_is_served(tmp_path: Path) -> None:
    raw = b'{"model":"m"}'
    async with stage(unary(ANSWER), tmp=tmp_path, body_timeout=0.3) as live:
        client = await live.connect()
        client.send("POST", CHAT, {**live.target(), "Content-Length": str(len(raw))})
        for i in range(len(raw)):
            client.writer.write(raw[i : i + 1])
            await asyncio.sleep(0.03)
        assert await client.answer() == (200, ANSWER)


# ---------------------------------------------------------------- packed ones


@pytest.mark.parametrize("coding", ["gzip", "deflate", "GZIP"])
async def test_a_compressed_request_is_read_and_sent_on_plain(coding: str) -> None:
    raw = orjson.dumps({"model": "m", "messages": []})
    packed = zlib.compress(raw) if coding == "deflate" else gzip.compress(raw)
    async with stage(unary(ANSWER)) as live:
        assert await live.ask(raw=packed, headers={"Content-Encoding": coding}) == (200, ANSWER)
        assert live.seen().body == raw
        assert live.seen().header("content-encoding") is None


@pytest.mark.parametrize("case", ["not gzip", "cut", "unknown"])
async def test_what_can_not_be_unpacked_is_a_400(case: str) -> None:
    packed = gzip.compress(b'{"model":"m"}')
    raw = {"not gzip": b'{"model":"m"}', "cut": packed[:-9], "unknown": packed}[case]
    async with stage(unary(ANSWER)) as live:
        status, body = await live.ask(raw=raw, headers={"Content-Encoding": "zip" if case == "unknown" else "gzip"})
        assert (status, orjson.loads(body)["error"]["param"]) == (400, "content-encoding")
        assert b"provider" not in body
        assert live.up.connections == []


@pytest.mark.parametrize("size", [2000, 64 * MIB], ids=["a little over", "a bomb"])
async def test_a_request_that_unpacks_to_more_than_the_limit_is_refused(size: int, tmp_path: Path) -> None:
    async with stage(unary(ANSWER), tmp=tmp_path, max_body=1000) as live:
        packed = gzip.compress(b'{"model":"m"}'.ljust(size))
        assert (await live.ask(raw=packed[:1000], headers={"Content-Encoding": "gzip"}))[0] in (400, 413)
        if len(packed) <= 1000:
            assert (await live.ask(raw=packed, headers={"Content-Encoding": "gzip"}))[0] == 413
        assert live.up.connections == []
