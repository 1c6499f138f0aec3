"""Streams, end to end: what the client got, what the upstream saw, what was recorded."""

from __future__ import annotations

import asyncio
from pathlib import Path

import orjson
import pytest

from aiogateway.testing.upstream import (
    END,
    Cut,
    Hang,
    Pause,
    Reply,
    Reset,
    Script,
    Send,
    Stall,
    chunk,
    head,
    stream,
    unary,
)
from aiogateway.types import Lane, Outcome, Usage
from tests.stage import DONE, GOOD, SEEN, event, stage, usage_event

SSE = (("content-type", "text/event-stream"), ("transfer-encoding", "chunked"), ("x-request-id", "r1"))


async def test_a_stream_passes_and_both_connections_stay() -> None:
    async with stage(stream(GOOD, headers=(("x-request-id", "r1"),))) as live:
        client = await live.connect()
        for _ in range(3):
            await live.post(client=client)
            assert await client.answer() == (200, SEEN)
            assert client.headers["x-request-id"] == "r1"
            assert client.headers["cache-control"] == "no-cache"
            assert client.headers["x-accel-buffering"] == "no"
        assert len(live.up.connections) == 1
        record = await live.recorded(3)
        assert (record.outcome, record.lane, record.usage) == (Outcome.OK, Lane.FRAMED, Usage(input=3, output=2))


async def test_pipelined_calls_are_answered_in_order() -> None:
    async with stage(stream(GOOD)) as live:
        client = await live.connect()
        for _ in range(3):
            await live.post(client=client)
        for _ in range(3):
            assert await client.answer() == (200, SEEN)


async def test_a_client_that_asked_for_usage_gets_it_and_its_bytes_go_on_untouched() -> None:
    async with stage(stream(GOOD)) as live:
        raw = b'{ "model":"m" , "stream":true,"n" : 1, "stream_options":{"include_usage": true},"x":1.0}'
        assert await live.ask(raw=raw) == (200, GOOD)
        assert live.seen().body == raw
        assert (await live.recorded()).lane is Lane.VERBATIM


async def test_usage_is_asked_for_without_touching_the_rest_of_the_body() -> None:
    async with stage(stream(GOOD)) as live:
        raw = b'{ "stream":true, "model":"m", "temperature": 1.0, "big": 123456789012345678901234567890}'
        assert await live.ask(raw=raw) == (200, SEEN)
        assert live.seen().body == b'{"stream_options":{"include_usage":true},' + raw[1:]


async def test_a_host_that_refuses_stream_options_is_asked_once_more_without_and_remembered() -> None:
    refusal = unary(b'{"error":{"message":"Unknown parameter: stream_options"}}', status=400)
    plain = event("a") + event("", "stop") + DONE
    async with stage(refusal, stream(plain)) as live:
        assert await live.ask() == (200, plain)
        assert await live.ask() == (200, plain)
        assert [b"stream_options" in request.body for request in live.up.requests] == [True, False, False]
        assert len((await live.recorded(2)).attempts) == 1


async def test_the_wire_may_be_cut_at_every_byte() -> None:
    wire = head(200, SSE).data + b"".join(chunk(GOOD[i : i + 37]).data for i in range(0, len(GOOD), 37)) + END.data
    script: list[Script] = [(Send(wire[:i]), Pause(0.0005), Send(wire[i:])) for i in range(1, len(wire))]
    async with stage(*script) as live:
        client = await live.connect()
        for i in range(1, len(wire)):
            await live.post(client=client)
            assert await client.answer() == (200, SEEN), i
        assert len(live.up.connections) == 1


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
async def test_byte_by_byte_with_any_line_end(line_end: bytes) -> None:
    body = GOOD.replace(b"\n", line_end)
    wire = (head(200, SSE), *(chunk(body[i : i + 1]) for i in range(len(body))), END)
    async with stage(wire) as live:
        assert await live.ask() == (200, SEEN.replace(b"\n", line_end))
        assert (await live.recorded()).usage == Usage(input=3, output=2)


async def test_the_commit_waits_for_the_first_whole_event() -> None:
    first = GOOD[:20]
    async with stage(
        (head(200, SSE), chunk(b": keep-alive\n\n"), chunk(first), Stall(), chunk(GOOD[20:]), END)
    ) as live:
        client = await live.post()
        await live.up.requested()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await client.reader.readexactly(1)
        live.up.resume()
        assert await client.answer() == (200, b": keep-alive\n\n" + SEEN)


@pytest.mark.parametrize("ending", [(Cut(),), (Reset(),)], ids=["fin", "rst"])
@pytest.mark.parametrize("half", [b"", b"fff\r\n" + event("c")[:30], b"1"], ids=["event", "mid-event", "mid-size"])
async def test_a_cut_says_so_in_band_and_invents_nothing(ending: tuple[Cut | Reset, ...], half: bytes) -> None:
    sent = event("a") + event("b")
    async with stage((*stream(sent, end=False), Pause(0.03), Send(half), Pause(0.03), *ending)) as live:
        client = await live.post()
        status, body = await client.answer()
        assert status == 200
        assert body.startswith(sent)
        rest = body[len(sent) :]
        assert rest.count(b"\n\n") == 1
        assert orjson.loads(rest.partition(b"{")[1] + rest.partition(b"{")[2])["error"]["code"] == "stream_truncated"
        assert b"[DONE]" not in body
        assert b'"finish_reason":"' not in body
        record = await live.recorded()
        assert (record.outcome, record.error, record.attempts[0].error) == (
            Outcome.TRUNCATED,
            "stream_truncated",
            "stream_truncated",
        )
        await live.post(client=client)
        assert (await client.answer())[0] == 200  # the client's connection lives on
        assert len(live.up.connections) == 2  # the upstream's does not


@pytest.mark.parametrize("last", [b"", usage_event(), b"data: [DONE]"], ids=["finish", "usage", "done unterminated"])
async def test_a_forgotten_terminator_is_added(last: bytes) -> None:
    sent = event("a") + event("", "stop")
    async with stage((*stream(sent + last, end=False), Cut())) as live:
        assert await live.ask() == (200, sent + DONE)
        assert (await live.recorded()).outcome is Outcome.OK


async def test_a_finished_stream_that_stays_open_is_not_waited_for(tmp_path: Path) -> None:
    sent = event("a") + event("", "stop")
    async with stage((*stream(sent, end=False), Hang()), tmp=tmp_path, deadlines={"idle": 0.4}) as live:
        assert await live.ask() == (200, sent + DONE)
        assert (await live.recorded()).outcome is Outcome.OK
        await live.up.left()


async def test_n_choices_end_when_all_have_finished() -> None:
    one = event("a") + event("b", index=1) + event("", "stop")
    both = one + event("", "stop", index=1)
    async with stage((*stream(one, end=False), Cut()), (*stream(both, end=False), Cut())) as live:
        status, body = await live.ask(n=2)
        assert status == 200
        assert b"stream_truncated" in body
        assert await live.ask(n=2) == (200, both + DONE)


@pytest.mark.parametrize(
    ("code", "status"), [(429, 429), ("rate_limit_exceeded", 429), ("overloaded", 529), ("odd", 502)]
)
async def test_an_error_as_the_first_event_is_an_ordinary_error(code: object, status: int) -> None:
    error = b"data: " + orjson.dumps({"error": {"message": "slow down", "code": code}}) + b"\n\n"
    async with stage(stream(error, DONE)) as live:
        got, body = await live.ask()
        assert got == status
        assert orjson.loads(body)["error"]["message"] == "slow down"
        assert (await live.recorded()).outcome is Outcome.FAILED


async def test_an_error_after_content_is_passed_on_and_is_no_success() -> None:
    error = b'data: {"error":{"message":"boom","code":"server_error"}}\n\n'
    async with stage(stream(event("a"), error)) as live:
        assert await live.ask() == (200, event("a") + error)
        record = await live.recorded()
        assert record.outcome is Outcome.TRUNCATED


@pytest.mark.parametrize("when", ["before", "after", "paused"])
async def test_a_client_that_leaves_frees_the_upstream(when: str) -> None:
    flood = [chunk(event("x" * 60_000))] * 400
    script: dict[str, Reply] = {
        "before": (Hang(),),
        "after": (*stream(event("a"), end=False), Hang()),
        "paused": (*stream(event("a"), end=False), *flood, Hang()),
    }
    async with stage(script[when]) as live:
        client = await live.post()
        await live.up.requested()
        if when != "before":
            await client.head()
            await client.chunk()
        client.leave()
        await live.up.left(limit=1)
        record = await live.recorded()
        assert (record.status, record.outcome) == (499, Outcome.CLIENT_LEFT)
        assert record.attempts[0].closed_by == "client"


async def test_an_unknown_query_goes_on_byte_for_byte() -> None:
    async with stage(stream(GOOD)) as live:
        assert await live.ask(path="/v1/chat/completions?beta=true&x=%2F+a") == (200, SEEN)
        assert live.seen().path == "/v1/chat/completions?beta=true&x=%2F+a"
