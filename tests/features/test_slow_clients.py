"""Clients that are slow on purpose or by bad luck: to ask, to read, or to leave. They cost nobody else anything."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from aiogateway.testing.upstream import END, Hang, Script, Send, Stall, chunk, head, stream, unary
from aiogateway.types import Outcome
from tests.process import serve, until
from tests.stage import DONE, GOOD, SEEN, Stage, event, stage

MIB = 1 << 20
ANSWER = b'{"object":"chat.completion","choices":[]}'
LENGTH = (("content-type", "application/octet-stream"), ("content-length", str(24 * MIB)))
FLOOD = event("x" * 60_000)
ENDLESS: Script = (*stream(event("a"), end=False), *[chunk(FLOOD)] * 1000, Hang())


# ---------------------------------------------------------------- slow to ask


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: localhost\r\n", b"\r\n" * 9])
async def test_a_head_that_does_not_come_in_time_closes_the_connection(sent: bytes, tmp_path: Path) -> None:
    async with stage(unary(ANSWER), tmp=tmp_path, head_timeout=0.1) as live:
        client = await live.connect()
        client.writer.write(sent)
        async with asyncio.timeout(1):
            assert await client.head() == 408
            assert await client.reader.read() == b""


async def test_a_head_that_drips_in_is_not_given_more_time(tmp_path: Path) -> None:
    async with stage(unary(ANSWER), tmp=tmp_path, head_timeout=0.2) as live:
        client = await live.connect()
        ended = asyncio.ensure_future(client.reader.read())
        client.writer.write(b"GET / HTTP/1.1\r\n")
        async with asyncio.timeout(1):
            while not ended.done():
                client.writer.write(b"a: b\r\n")
                await asyncio.wait((ended,), timeout=0.02)
        assert ended.result().startswith(b"HTTP/1.1 408 ")


async def test_the_limit_on_heads_is_none_on_answers(tmp_path: Path) -> None:
    async with stage(
        (*stream(event("a", "stop"), end=False), Stall(), chunk(DONE), END), tmp=tmp_path, head_timeout=0.1
    ) as live:
        client = await live.post()
        await client.head()
        await asyncio.sleep(0.2)
        live.up.resume()
        assert (await client.body()).endswith(DONE)


async def test_an_idle_connection_is_closed_after_keepalive(tmp_path: Path) -> None:
    async with stage(unary(ANSWER), tmp=tmp_path, keepalive=0.1) as live:
        client = await live.connect()
        assert await live.ask(client=client, stream=False) == (200, ANSWER)
        client.writer.write(b"POST /v1/chat/comp")  # and a head begun does not keep it open
        async with asyncio.timeout(1):
            assert await client.reader.read() == b""


async def test_hundreds_of_idle_and_slow_connections_hold_up_nobody(tmp_path: Path) -> None:
    async with stage(unary(ANSWER), tmp=tmp_path, head_timeout=60) as live:
        good = await live.connect()
        crowd = [await live.connect() for _ in range(300)]
        for i, client in enumerate(crowd):
            if i % 2:
                client.writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: lo")
        loop = asyncio.get_running_loop()
        start = loop.time()
        for _ in range(20):
            for client in crowd[1::20]:
                client.writer.write(b"x")
            assert await live.ask(client=good, stream=False) == (200, ANSWER)
        assert loop.time() - start < 2


# ---------------------------------------------------------------- slow to read


async def settle(live: Stage) -> int:
    """The bytes the upstream got rid of, once that number stands still."""
    sent = -1
    async with asyncio.timeout(5):
        while sent != (sent := live.up.connections[-1].sent) or sent < MIB // 4:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    return sent


async def test_a_client_that_reads_nothing_stops_the_provider() -> None:
    async with stage(ENDLESS) as live:
        client = await live.post(client=await live.connect(little=True))
        await client.head()
        assert await settle(live) < 16 * MIB  # what the kernels buffer, of 60 MB
        assert live.up.connections[-1].left is None


@pytest.mark.parametrize("kind", ["stream", "passthrough", "large"])
async def test_a_client_that_stopped_reading_and_goes_on_gets_everything(kind: str, tmp_path: Path) -> None:
    body = b"".join(event(f"{i} ".ljust(60_000)) for i in range(400))
    whole = body + event("", "stop") + DONE
    length = (("content-type", "application/json"), ("content-length", str(len(whole))))
    pieces = [whole[i : i + 60_000] for i in range(0, len(whole), 60_000)]
    script = stream(*pieces) if kind == "stream" else (head(200, length), *map(Send, pieces))
    async with stage(script, tmp=tmp_path, unary_buffer=MIB) as live:
        path = "/v1/files/f/content" if kind == "passthrough" else "/v1/chat/completions"
        client = await live.post(client=await live.connect(little=True), stream=kind == "stream", path=path)
        await client.head()
        assert await settle(live) < len(whole)
        assert await client.body() == whole
        assert (await live.recorded()).outcome is Outcome.OK


@pytest.mark.parametrize("kind", ["stream", "passthrough", "large", "whole"])
async def test_a_client_that_takes_nothing_for_too_long_is_cut_and_so_is_the_provider(
    kind: str, tmp_path: Path
) -> None:
    script: Script = ENDLESS
    if kind != "stream":
        script = (head(200, LENGTH), *[Send(bytes(MIB))] * 24, Hang())
    bound = 128 * MIB if kind == "whole" else MIB
    async with stage(script, tmp=tmp_path, deadlines={"client_stall": 0.3}, unary_buffer=bound) as live:
        path = "/v1/files/f/content" if kind == "passthrough" else "/v1/chat/completions"
        client = await live.post(client=await live.connect(little=True), stream=kind == "stream", path=path)
        await client.head()
        record = await live.recorded()
        assert (record.outcome, record.status, record.error) == (Outcome.CLIENT_STALLED, 499, "client_stalled")
        assert record.attempts[0].closed_by == "gateway"
        if kind != "whole":  # whose provider has long ended
            await live.up.left(limit=1)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await client.body()


async def test_a_client_that_reads_slowly_but_reads_is_left_alone(tmp_path: Path) -> None:
    body = b"".join(event(f"{i} ".ljust(60_000)) for i in range(100)) + event("", "stop") + DONE
    async with stage(stream(body), tmp=tmp_path, deadlines={"client_stall": 0.3, "idle": 0.3}) as live:
        client = await live.post(client=await live.connect(little=True))
        await client.head()
        got = 0
        for _ in range(40):  # 1.2 s, 4 times the limits
            got += len(await client.reader.read(20_000))
            await asyncio.sleep(0.03)
        assert 0 < got < len(body)
        while piece := await client.reader.read(MIB):
            got += len(piece)
            if got > len(body):
                break
        assert got > len(body)
        assert (await live.recorded()).outcome is Outcome.OK


async def test_a_stuck_reader_costs_less_than_half_a_megabyte(tmp_path: Path) -> None:
    readers = 24
    async with stage(ENDLESS) as live, serve(tmp_path) as served:
        for _ in range(3):  # what a process needs only once
            await _ask_stuck(live, served.port)
        await until(lambda: len(live.up.requests) == 3)
        await asyncio.sleep(0.5)
        before = served.memory()
        for _ in range(readers):
            await _ask_stuck(live, served.port)
        await until(lambda: len(live.up.requests) == readers + 3)
        await asyncio.sleep(0.5)
        assert (served.memory() - before) / readers < MIB / 2


async def _ask_stuck(live: Stage, port: int) -> None:
    client = await live.connect(port=port, little=True)
    client.send("POST", "/v1/chat/completions", live.target(), b'{"model":"m","stream":true}')
    await client.head()


async def test_a_later_head_that_dribbles_in_is_closed_too(tmp_path: Path) -> None:
    async with stage(stream(GOOD), tmp=tmp_path, head_timeout=0.2) as live:
        client = await live.post()
        assert (await client.answer())[0] == 200
        client.writer.write(b"POST /v1/chat/comp")
        async with asyncio.timeout(2):
            assert (await client.reader.read()).startswith(b"HTTP/1.1 408 ")


async def test_an_idle_connection_is_no_slow_head(tmp_path: Path) -> None:
    async with stage(stream(GOOD), tmp=tmp_path, head_timeout=0.1) as live:
        client = await live.post()
        assert (await client.answer())[0] == 200
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await client.reader.read(1)
        await live.post(client=client)
        assert await client.answer() == (200, SEEN)
