"""A client that leaves, whenever it does: its provider is closed within a second, nothing is kept, a 499 recorded."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from aiogateway.testing.upstream import Hang, Script, Send, chunk, head, stream, unary
from aiogateway.types import Lane, Outcome, Record
from tests.process import until
from tests.stage import Client, Stage, event, stage

ANSWER = b'{"object":"chat.completion","choices":[]}'
LENGTH = (("content-type", "application/json"), ("content-length", "100000000"))
MIB = 1 << 20

BEFORE: Script = (Hang(),)
HEAD_ONLY: Script = (head(200, (("content-type", "text/event-stream"), ("transfer-encoding", "chunked"))), Hang())
COMMENTS: Script = (*stream(b": wait\n\n", end=False), Hang())
HALF_EVENT: Script = (*stream(event("a")[:9], end=False), Hang())
AFTER: Script = (*stream(event("a"), end=False), Hang())
FLOODING: Script = (*stream(event("a"), end=False), *[chunk(event("x" * 60_000))] * 400, Hang())
HALF_BODY: Script = (head(200, LENGTH), Send(ANSWER), Hang())
LARGE: Script = (head(200, LENGTH), *[Send(bytes(MIB))] * 40, Hang())


async def gone(live: Stage, client: Client, how: str) -> Record:
    """The client leaves; its provider must notice within a second. Returns the record."""
    if how == "fin":
        client.writer.close()
    else:
        client.leave()
    await live.up.left(limit=1)
    record = await live.recorded()
    assert (record.status, record.outcome) == (499, Outcome.CLIENT_LEFT)
    assert [(a.outcome, a.closed_by) for a in record.attempts] == [(Outcome.CLIENT_LEFT, "client")]
    assert live.gateway.pool.count_idle() == 0
    return record


@pytest.mark.parametrize("how", ["fin", "rst"])
@pytest.mark.parametrize("script", [BEFORE, HEAD_ONLY, COMMENTS, HALF_EVENT], ids=["silent", "head", "ping", "half"])
async def test_before_the_first_token(script: Script, how: str) -> None:
    async with stage(script) as live:
        client = await live.post()
        await live.up.requested()
        record = await gone(live, client, how)
        assert (record.first_token, record.sent, record.lane) == (None, 0, None)


@pytest.mark.parametrize("how", ["fin", "rst"])
@pytest.mark.parametrize("checked", [False, True], ids=["framed", "checked"])
async def test_after_the_first_token(checked: bool, how: str, tmp_path: Path) -> None:
    async with stage(AFTER, tmp=tmp_path, check_streams=checked) as live:
        client = await live.post()
        await client.head()
        assert await client.chunk() == event("a")
        record = await gone(live, client, how)
        assert record.first_token is not None
        assert record.sent == len(event("a"))


@pytest.mark.parametrize("kind", ["stream", "passthrough", "large"])
async def test_while_it_holds_the_provider_back(kind: str, tmp_path: Path) -> None:
    async with stage(FLOODING if kind == "stream" else LARGE, tmp=tmp_path, unary_buffer=MIB) as live:
        path = "/v1/files/f/content" if kind == "passthrough" else "/v1/chat/completions"
        client = await live.post(client=await live.connect(little=True), stream=kind == "stream", path=path)
        await client.head()
        await asyncio.sleep(0.2)
        await gone(live, client, "rst")


@pytest.mark.parametrize("how", ["fin", "rst"])
@pytest.mark.parametrize("script", [BEFORE, HALF_BODY], ids=["silent", "half"])
async def test_while_it_waits_for_a_whole_answer(script: Script, how: str) -> None:
    async with stage(script) as live:
        client = await live.post(stream=False)
        await live.up.requested()
        await gone(live, client, how)


@pytest.mark.parametrize("how", ["fin", "rst"])
@pytest.mark.parametrize("script", [BEFORE, HALF_BODY], ids=["silent", "half"])
async def test_in_a_passthrough(script: Script, how: str) -> None:
    async with stage(script) as live:
        client = await live.connect()
        client.send("GET", "/v1/files", live.target())
        await live.up.requested()
        if script is HALF_BODY:
            await client.head()
        record = await gone(live, client, how)
        assert record.lane is (Lane.PASSTHROUGH if script is HALF_BODY else None)


async def test_while_it_sends_its_question() -> None:
    async with stage(unary(ANSWER)) as live:
        client = await live.connect()
        client.send(
            "POST", "/v1/chat/completions", {**live.target(), "Content-Length": "1000", "Expect": "100-continue"}
        )
        await client.reader.readuntil(b"\r\n\r\n")
        client.writer.write(b'{"model":')
        await asyncio.sleep(0.05)
        client.leave()
        record = await live.recorded()
        assert (record.status, record.outcome, record.attempts) == (499, Outcome.CLIENT_LEFT, ())
        assert live.up.connections == []


@pytest.mark.parametrize("how", ["fin", "rst"])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
async def test_while_it_uploads_a_file(chunked: bool, how: str) -> None:
    framing = {"Content-Length": "", "Transfer-Encoding": "chunked"} if chunked else {"Content-Length": "1000"}
    async with stage((Hang(),), read_bodies=False) as live:
        client = await live.connect()
        client.send("POST", "/v1/files", {**live.target(), **framing, "Expect": "100-continue"})
        await client.reader.readuntil(b"\r\n\r\n")
        client.writer.write(b"5\r\n12345\r\n" if chunked else b"12345")
        await live.up.requested()
        await gone(live, client, how)


async def test_the_next_client_is_served_as_if_nothing_had_been() -> None:
    async with stage(AFTER, unary(ANSWER)) as live:
        client = await live.post()
        await client.head()
        client.leave()
        await live.up.left(limit=1)
        assert await live.ask(stream=False) == (200, ANSWER)
        assert (await live.recorded(2)).outcome is Outcome.OK
        metrics, _ = live.gateway.metrics.render()
        assert b"aiogateway_open_streams 0.0" in metrics
        assert b"aiogateway_running_calls 0.0" in metrics


async def test_a_hundred_that_leave_leave_nothing_behind() -> None:
    async with stage(AFTER) as live:
        before = len(asyncio.all_tasks())
        clients = [await live.post() for _ in range(100)]
        for client in clients:
            await client.head()
        for client in clients:
            client.leave()
        await live.up.left(100, limit=2)
        await live.recorded(100)
        assert {record.status for record in live.records} == {499}
        await until(lambda: len(asyncio.all_tasks()) <= before + 1)
        assert not live.gateway.tools.live
