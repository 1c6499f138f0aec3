"""Answers that break off or are no HTTP: never half an answer passed off as a whole one, and nobody else is harmed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from aiogateway.testing.upstream import (
    END,
    Cut,
    Hang,
    Pause,
    Reply,
    Reset,
    Send,
    Step,
    chunk,
    garbage,
    head,
    stream,
    unary,
)
from aiogateway.types import Lane, Outcome, Usage
from tests.stage import GOOD, SEEN, event, stage, usage_event
from tests.views import both, expect_failure, expect_truncation, read_error, read_in_band

BODY = (
    b'{"id":"c","choices":[{"index":0,"message":{"content":"hi"}}],"usage":{"prompt_tokens":3,"completion_tokens":2}}'
)
JSON = ("content-type", "application/json")
SSE = ("content-type", "text/event-stream")
CHUNKED = ("transfer-encoding", "chunked")
ENDINGS = pytest.mark.parametrize("ending", [Cut(), Reset()], ids=["fin", "rst"])


def length(size: int) -> tuple[str, str]:
    return ("content-length", str(size))


# -- cut short


CUT_SHORT = {
    "head only": (head(200, (JSON, length(len(BODY)))),),
    "half": (head(200, (JSON, length(len(BODY)))), Send(BODY[:40])),
    "length too long": (head(200, (JSON, length(len(BODY) + 1))), Send(BODY)),
    "half chunked": (head(200, (JSON, CHUNKED)), chunk(BODY[:40])),
    "no last chunk": (head(200, (JSON, CHUNKED)), chunk(BODY)),
    "mid-chunk": (head(200, (JSON, CHUNKED)), Send(chunk(BODY).data[:50])),
    "an error's body": (head(500, (JSON, length(100))), Send(b'{"error":')),
}


@ENDINGS
async def test_a_unary_answer_that_is_cut_is_an_error(ending: Step) -> None:
    async with stage(*[(*steps, Pause(0.02), ending) for steps in CUT_SHORT.values()]) as live:
        for count, fault in enumerate(CUT_SHORT, 1):
            status, body = await live.ask(stream=False)
            assert (status, read_error(body)["code"]) == (502, "stream_truncated"), fault
            await expect_failure(live, 502, "stream_truncated", count=count)
            assert len(live.up.requests) == count, fault


@ENDINGS
async def test_a_large_unary_answer_that_is_cut_is_cut_for_the_client_too(ending: Step, tmp_path: Path) -> None:
    """It was committed at the bound, so the status can't be taken back; but it must not look whole."""
    script = (head(200, (JSON, length(90_000))), Send(b"x" * 50_000), Pause(0.02), Send(b"y" * 9), Pause(0.02), ending)
    async with stage(script, tmp=tmp_path, unary_buffer=40_000) as live:
        client = await live.post(stream=False)
        assert await client.head() == 200
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await client.body()
        record = await expect_truncation(live, "stream_truncated")
        assert (record.lane, record.sent) == (Lane.UNARY, 50_009)
        assert record.attempts[0].closed_by == "upstream"


async def test_a_large_unary_answer_streams_on(tmp_path: Path) -> None:
    body = b"[%b]" % (b"1," * 100_000)
    counted = (head(200, (JSON, length(len(body)))), Send(body[:70_000]), Pause(0.02), Send(body[70_000:]))
    chunked = (head(200, (JSON, CHUNKED)), chunk(body[:70_000]), Pause(0.02), chunk(body[70_000:]), END)
    async with stage(counted, chunked, tmp=tmp_path, unary_buffer=40_000) as live:
        for _ in range(2):
            assert await live.ask(stream=False) == (200, body)
        assert len(live.up.connections) == 1
        assert (await live.recorded(2)).outcome is Outcome.OK


@ENDINGS
@both
async def test_half_a_head_is_no_answer(stream: bool, ending: Step) -> None:
    async with stage((Send(b"HTTP/1.1 200 OK\r\ncontent-ty"), Pause(0.02), ending)) as live:
        status, body = await live.ask(stream=stream)
        assert (status, read_error(body)["code"]) == (502, "connect_failed")
        await expect_failure(live, 502, "connect_failed")
        assert len(live.up.requests) == 1


@ENDINGS
async def test_a_stream_that_ends_inside_its_first_event_is_an_ordinary_error(ending: Step) -> None:
    begun = [(), *[(chunk(data),) for data in (b": hello\n\n", event("a")[:-1], b": hello\n\n" + event("a")[:9])]]
    async with stage(*[(head(200, (SSE, CHUNKED)), *body, Pause(0.02), ending) for body in begun]) as live:
        for count, body in enumerate(begun, 1):
            status, got = await live.ask()
            assert (status, read_error(got)["code"]) == (502, "stream_truncated"), body
            await expect_failure(live, 502, "stream_truncated", count=count)


async def test_a_stream_without_an_event_is_an_ordinary_error() -> None:
    begun = [(), (b": hello\n\n",), (b"data:\n\n",), (event("a")[:30],)]
    async with stage(*[stream(*events) for events in begun]) as live:
        for count, events in enumerate(begun, 1):
            status, body = await live.ask()
            assert (status, read_error(body)["code"]) == (502, "stream_truncated"), events
            await expect_failure(live, 502, "stream_truncated", count=count)


@ENDINGS
@pytest.mark.parametrize("lane", ["framed", "verbatim", "checked"])
async def test_a_stream_that_is_cut_keeps_the_usage_it_told(lane: str, ending: Step, tmp_path: Path) -> None:
    """Some servers count in every chunk; what was told before the cut is accounted."""
    counted = event("b", usage={"prompt_tokens": 7, "completion_tokens": 1, "total_tokens": 8})
    sent = event("a") + counted
    options: dict[str, Any] = {"stream_options": {"include_usage": True}} if lane == "verbatim" else {}
    script = (*stream(sent, end=False), Pause(0.02), ending)
    async with stage(script, tmp=tmp_path, check_streams=lane == "checked") as live:
        client = await live.post(**options)
        status, body = await client.answer()
        assert (status, read_in_band(body, sent)["code"]) == (200, "stream_truncated")
        record = await expect_truncation(live, "stream_truncated")
        assert record.usage == record.attempts[0].usage == Usage(input=7, output=1)
        assert record.lane is Lane(lane)
        assert record.attempts[0].closed_by == "upstream"


@pytest.mark.parametrize("ending", [END, Cut()], ids=["last chunk", "fin"])
async def test_a_clean_end_of_the_wire_without_a_finish_is_a_truncation(ending: Send | Cut) -> None:
    """A provider's own proxy may end the HTTP message properly although the model's answer broke off."""
    sent = event("a") + event("b")
    wire = (head(200, (SSE,)), Send(sent)) if ending == Cut() else stream(sent, end=False)
    async with stage((*wire, ending)) as live:
        status, body = await live.ask()
        assert (status, read_in_band(body, sent)["code"]) == (200, "stream_truncated")
        await expect_truncation(live, "stream_truncated")


# -- lengths and framing


async def test_a_stream_of_known_length_passes() -> None:
    async with stage((head(200, (SSE, length(len(GOOD)))), Send(GOOD))) as live:
        client = await live.post()
        assert await client.answer() == (200, SEEN)
        assert client.headers["transfer-encoding"] == "chunked"
        await live.post(client=client)
        assert await client.answer() == (200, SEEN)
        assert len(live.up.connections) == 1


@both
async def test_without_a_length_the_close_is_the_end(stream: bool) -> None:
    kind, body = (SSE, GOOD) if stream else (JSON, BODY)
    for start in (b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 200 OK\r\n"):
        wire = start + f"content-type: {kind[1]}\r\n\r\n".encode() + body
        async with stage((Send(wire), Cut())) as live:
            assert await live.ask(stream=stream) == (200, SEEN if stream else BODY)
            assert (await live.recorded()).outcome is Outcome.OK


async def test_without_a_length_a_reset_is_no_end() -> None:
    async with stage((head(200, (JSON,)), Send(BODY), Pause(0.02), Reset())) as live:
        status, body = await live.ask(stream=False)
        assert (status, read_error(body)["code"]) == (502, "stream_truncated")
        await expect_failure(live, 502, "stream_truncated")


MALFORMED = {
    "duplicate length": b"content-length: 5\r\ncontent-length: 5\r\n\r\nhello",
    "two lengths": b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello",
    "length list": b"content-length: 5, 5\r\n\r\nhello",
    "negative length": b"content-length: -5\r\n\r\nhello",
    "length overflow": b"content-length: 18446744073709551621\r\n\r\nhello",
    "length and chunks": b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "chunks and length": b"transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "bad chunk size": b"transfer-encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
    "chunk overflow": b"transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    "chunk longer than told": b"transfer-encoding: chunked\r\n\r\n3\r\nhello\r\n0\r\n\r\n",
    "bad header": b"a b: c\r\ncontent-length: 5\r\n\r\nhello",
}


NO_ANSWER = {
    "noise": garbage(300).data,
    "html": b"\r\n\r\n<html>hello</html>",
    "ssh": b"SSH-2.0-OpenSSH_9.6\r\n",
    "http/2": b"HTTP/2 200\r\n\r\n",
    "upgrade": b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
    "endless header": b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000,
    "endless headers": b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 12_000,
}


@both
async def test_an_answer_that_is_not_valid_http(stream: bool) -> None:
    kind = SSE if stream else JSON
    start = f"HTTP/1.1 200 OK\r\ncontent-type: {kind[1]}\r\n".encode()
    faults = {**{name: start + rest for name, rest in MALFORMED.items()}, **NO_ANSWER}
    async with stage(*[(Send(wire), Hang()) for wire in faults.values()]) as live:
        for count, fault in enumerate(faults, 1):
            status, body = await live.ask(stream=stream)
            assert (status, read_error(body)["code"]) == (502, "stream_truncated"), fault
            await expect_failure(live, 502, "stream_truncated", count=count)
            await live.up.left(count, limit=1)


async def test_framing_that_breaks_in_mid_stream_is_said_in_band() -> None:
    sent = event("a")
    async with stage((*stream(sent, end=False), Pause(0.02), Send(b"zz\r\n" + event("b")), Hang())) as live:
        status, body = await live.ask()
        assert (status, read_in_band(body, sent)["code"]) == (200, "stream_truncated")
        await expect_truncation(live, "stream_truncated")
        await live.up.left(limit=1)


async def test_interim_answers_are_none() -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"
    async with stage((Send(interim), Pause(0.02), *stream(GOOD))) as live:
        client = await live.post()
        assert await client.answer() == (200, SEEN)
        assert "link" not in client.headers


# -- more than was promised


async def test_a_length_that_is_too_short_does_not_cut_the_answer_in_silence() -> None:
    async with stage((Send(head(200, (JSON, length(len(BODY) - 9))).data + BODY), Hang())) as live:
        status, body = await live.ask(stream=False)
        assert (status, read_error(body)["code"]) == (502, "stream_truncated")
        await expect_failure(live, 502, "stream_truncated")
        await live.up.left(limit=1)


async def test_a_stream_whose_length_is_too_short_is_truncated() -> None:
    sent = event("a") + event("b")
    start = head(200, (SSE, length(len(sent)))).data + event("a")
    async with stage((Send(start), Pause(0.02), Send(GOOD.removeprefix(event("a"))), Hang())) as live:
        status, body = await live.ask()
        assert (status, read_in_band(body, sent)["code"]) == (200, "stream_truncated")
        await expect_truncation(live, "stream_truncated")
        await live.up.left(limit=1)


STREAM = stream(GOOD)
UNARY = (head(200, (JSON, CHUNKED)), chunk(BODY), END)
EVIL = unary(b'{"evil":true}')[0].data


SURPLUS = (EVIL, EVIL[:12], b"\x00surplus", b"\r\n\r\n" + EVIL, b"0\r\n\r\n")


@pytest.mark.parametrize("when", ["at once", "later"])
@both
async def test_surplus_bytes_poison_nobody(when: str, stream: bool) -> None:
    good, answer = (STREAM, SEEN) if stream else (UNARY, BODY)
    wire = b"".join(step.data for step in good)
    script: list[Reply] = []
    for surplus in SURPLUS:
        late = (Send(wire + surplus),) if when == "at once" else (Send(wire), Pause(0.02), Send(surplus))
        script += [(*late, Hang()), good]
    async with stage(*script) as live:
        for surplus in SURPLUS:  # each is followed by a call that must not see it
            assert await live.ask(stream=stream) == (200, answer), surplus
            async with asyncio.timeout(1):
                await live.up.connections[-1].gone.wait()
            assert await live.ask(stream=stream) == (200, answer), surplus
        # one connection each for the faulty answers: only a good one's is used again
        assert [request.connection for request in live.up.requests] == [n // 2 + n % 2 for n in range(2 * len(SURPLUS))]
        record = await live.recorded(2 * len(SURPLUS))
        assert record.outcome is Outcome.OK
        assert len(live.records) == 2 * len(SURPLUS)


@both
async def test_an_answer_that_says_close_is_the_last_of_its_connection(stream: bool) -> None:
    kind, body = (SSE, GOOD) if stream else (JSON, BODY)
    wire = (head(200, (kind, CHUNKED, ("connection", "close"), ("x-more", "1"))), chunk(body), END, Hang())
    async with stage(wire) as live:
        client = await live.connect()
        for _ in range(2):
            await live.post(client=client, stream=stream)
            assert await client.answer() == (200, SEEN if stream else BODY)
            assert "connection" not in client.headers
            assert client.headers["x-more"] == "1"
        assert len(live.up.connections) == 2


@both
async def test_an_answer_before_the_request_is_out_is_the_answer(stream: bool) -> None:
    """413 after the head alone: the rest of the body is not sent into a later request."""
    refusal = b'{"error":{"message":"too large","code":"too_large"}}'
    async with stage((*unary(refusal, status=413), Hang()), read_bodies=False) as live:
        for count in (1, 2):
            client = await live.post(stream=stream, filler="x" * 8_000_000)
            assert await client.answer() == (413, refusal)
            await expect_failure(live, 413, "upstream_status", count=count)
            assert live.gateway.pool.count_idle() == 0
        assert [request.connection for request in live.up.requests] == [0, 1]


async def test_usage_alone_is_not_the_end_of_a_stream() -> None:
    """What counts is a finish reason: usage may come in any chunk."""
    sent = event("a")
    async with stage((*stream(sent + usage_event(), end=False), Pause(0.02), Cut())) as live:
        status, body = await live.ask()
        assert (status, read_in_band(body, sent)["code"]) == (200, "stream_truncated")
        record = await expect_truncation(live, "stream_truncated")
        assert record.usage == Usage(input=3, output=2)
