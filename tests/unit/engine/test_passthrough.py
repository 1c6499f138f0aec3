from __future__ import annotations

import asyncio
from typing import Any

import pytest

from aiogateway.engine.passthrough import Passed, pass_on
from aiogateway.engine.pipeline import Pipeline
from aiogateway.errors import RequestTimeout, Unsupported
from aiogateway.types import Attempt, Call, Credential, Deadlines, Lane, Origin, Outcome, Record, Secret, Target
from tests.unit.engine.fakes import FakeSink, make_call
from tests.unit.engine.kit import Books, Scripted, Wires, hang, make_pipeline, make_target, say

OK = b"HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\n\x1f\x8bxx"
STREAM = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nsome\r\n"


class FakeUpload:
    """A client's body in pieces; an exception among them is raised, an Event is waited for."""

    def __init__(self, *pieces: Any, length: int | None = -1) -> None:
        self.pieces = list(pieces)
        known = sum(len(piece) for piece in pieces if isinstance(piece, bytes))
        self.length = known if length == -1 else length
        self.touched = False

    async def read(self) -> bytes:
        await asyncio.sleep(0)
        if not self.pieces:
            return b""
        if isinstance(self.pieces[0], asyncio.Event):
            await self.pieces[0].wait()
            self.pieces.pop(0)
        piece = self.pieces.pop(0)
        if isinstance(piece, BaseException):
            raise piece
        self.touched = True
        return bytes(piece)

    async def read_all(self) -> bytes:
        return b"".join(self.pieces)


async def run(
    pipeline: Pipeline, sink: FakeSink, upload: FakeUpload, *, method: str = "POST", target: Target | None = None,
    path: str = "/v1/files/a%2Fb?x=%20y", headers: Any = (("x-a", "1"),),
) -> Record:  # fmt: skip
    async def resolve() -> Passed:
        return Passed(method, path, headers, target or make_target("openai"))

    assert isinstance(pipeline.books, Books)
    try:
        await pass_on(pipeline, make_call(endpoint=None), sink, resolve, upload)
    finally:
        assert not pipeline.tools.live
        assert pipeline.tools.buffers.held == 0
        assert not pipeline.tools.sweeper._watches
    return pipeline.books.record


async def settle_down() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_bytes_pass_both_ways_as_they_are() -> None:
    wires = Wires(OK)
    sink = FakeSink()
    credential = Credential(Secret("sk-1"), Origin.REQUEST, "authorization")
    target = make_target("openai", credential=credential, deadlines=Deadlines(connect=3))
    record = await run(make_pipeline(pool=wires), sink, FakeUpload(), method="GET", target=target)
    head, _, body = wires.sent[0].partition(b"\r\n\r\n")
    assert head.split(b"\r\n") == [
        b"GET /v1/files/a%2Fb?x=%20y HTTP/1.1", b"host: up.example", b"x-a: 1", b"authorization: Bearer sk-1"
    ]  # fmt: skip
    assert body == b""
    assert wires.dialled[0][1] == 3
    assert (sink.status, sink.written, sink.length) == (200, b"\x1f\x8bxx", 4)
    assert sink.headers[b"content-encoding"] == b"gzip"
    assert sink.headers[b"x-portkey-provider"] == b"openai"
    assert b"content-length" not in sink.headers
    assert (record.outcome, record.lane, record.sent, record.status) == (Outcome.OK, Lane.PASSTHROUGH, 4, 200)
    attempt = record.attempts[0]
    assert (attempt.outcome, attempt.status, attempt.closed_by) == (Outcome.OK, 200, "upstream")
    assert wires.given == wires.upstreams


async def test_observers_are_told_of_the_commit() -> None:
    said: list[str] = []

    class Watching:
        def attempt(self, attempt: Attempt) -> None:
            said.append(f"attempt {attempt.provider}")

        def commit(self, call: Call) -> None:
            said.append(f"commit {call.status} {call.lane}")

        def end(self, record: Record) -> None:
            said.append(f"end {record.outcome}")

    pipeline = make_pipeline(pool=Wires(OK), observers=(lambda call: Watching(),))
    await run(pipeline, FakeSink(), FakeUpload(), method="GET")
    assert said == ["attempt openai", "commit 200 passthrough", "end ok"]


async def test_an_error_status_passes_too() -> None:
    sink = FakeSink()
    record = await run(
        make_pipeline(pool=Wires(b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\nno")), sink, FakeUpload()
    )
    assert (sink.status, sink.written, record.outcome, record.status) == (404, b"no", Outcome.OK, 404)


@pytest.mark.parametrize(
    ("length", "framing", "body"),
    [
        (7, b"content-length: 7", b"abcdefg"),
        (None, b"transfer-encoding: chunked", b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n"),
    ],
)
async def test_an_upload_keeps_its_framing(length: int | None, framing: bytes, body: bytes) -> None:
    wires = Wires()
    sink = FakeSink()
    running = asyncio.create_task(run(make_pipeline(pool=wires), sink, FakeUpload(b"abc", b"defg", length=length)))
    await settle_down()
    head, _, sent = wires.sent[0].partition(b"\r\n\r\n")
    assert framing in head.split(b"\r\n")
    assert sent == body
    wires.upstreams[0].data_received(OK)
    assert (await running).outcome is Outcome.OK
    assert wires.given == wires.upstreams


async def test_an_answer_before_the_end_of_the_upload() -> None:
    wires = Wires(OK)
    sink = FakeSink()
    upload = FakeUpload(b"abc", asyncio.Event(), b"more", length=7)
    record = await run(make_pipeline(pool=wires), sink, upload)
    assert (record.outcome, sink.written) == (Outcome.OK, b"\x1f\x8bxx")
    assert wires.transports[0].aborted  # the rest would be read as the next request
    assert not wires.given
    await settle_down()
    assert upload.pieces[-1] == b"more"  # nobody reads on


async def test_an_upload_waits_for_a_provider_that_is_slow() -> None:
    wires = Wires()
    upload = FakeUpload(b"a" * 10, b"b" * 10)
    running = asyncio.create_task(run(make_pipeline(pool=wires), FakeSink(), upload))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(wires.upstreams) == 1
    wires.upstreams[0].pause_writing()
    await settle_down()
    assert len(upload.pieces) == 1
    wires.upstreams[0].resume_writing()
    await settle_down()
    assert not upload.pieces
    wires.upstreams[0].data_received(OK)
    await running


@pytest.mark.parametrize(
    ("error", "status", "outcome", "closed_by"),
    [
        (RequestTimeout("nothing of the body came for 1 s"), 408, Outcome.FAILED, "gateway"),
        (KeyError("odd"), 502, Outcome.FAILED, "upstream"),
    ],
)
async def test_an_upload_that_breaks_off_is_not_taken_for_the_whole(
    error: Exception, status: int, outcome: Outcome, closed_by: str
) -> None:
    wires = Wires()
    sink = FakeSink()
    record = await run(make_pipeline(pool=wires), sink, FakeUpload(b"abc", error, length=None))
    assert wires.transports[0].aborted
    assert not wires.sent[0].endswith(b"0\r\n\r\n")
    assert (sink.status, record.outcome, record.attempts[0].closed_by) == (status, outcome, closed_by)


async def test_only_the_whole_calls_deadline_holds_while_uploading_then_the_first_answers() -> None:
    event = asyncio.Event()
    wires = Wires()
    deadlines = Deadlines(unary=0.05, total=30)
    sink = FakeSink()
    upload = FakeUpload(b"abc", event, b"d", length=4)
    target = make_target("openai", deadlines=deadlines)
    running = asyncio.create_task(run(make_pipeline(pool=wires), sink, upload, target=target))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.15):
            await asyncio.shield(running)
    event.set()
    record = await running
    assert (sink.status, record.error) == (408, "first_token_timeout")


async def test_the_call_deadline_while_uploading() -> None:
    sink = FakeSink()
    target = make_target("openai", deadlines=Deadlines(total=0.05))
    upload = FakeUpload(b"abc", asyncio.Event(), b"d", length=4)
    record = await run(make_pipeline(pool=Wires()), sink, upload, target=target)
    assert (sink.status, record.error) == (504, "total_timeout")


# --- pooled connections that died ---


async def test_a_request_without_a_body_is_sent_again_once() -> None:
    wires = Wires(None, OK, idle=2)
    record = await run(make_pipeline(pool=wires), FakeSink(), FakeUpload(), method="GET")
    assert record.outcome is Outcome.OK
    assert (len(wires.upstreams), len(wires.dialled)) == (2, 1)
    wires = Wires(None, None, OK, idle=1)
    sink = FakeSink()
    record = await run(make_pipeline(pool=wires), sink, FakeUpload(), method="GET")
    assert (sink.status, len(wires.upstreams)) == (502, 2)


async def test_an_upload_of_which_nothing_was_taken_is_sent_again() -> None:
    wires = Wires(None, idle=1)
    gate = asyncio.Event()
    running = asyncio.create_task(run(make_pipeline(pool=wires), FakeSink(), FakeUpload(gate, b"abc", length=3)))
    await settle_down()
    assert len(wires.upstreams) == 2
    gate.set()
    await settle_down()
    assert [sent.rpartition(b"\r\n\r\n")[2] for sent in wires.sent] == [b"", b"abc"]
    wires.upstreams[1].data_received(OK)
    assert (await running).outcome is Outcome.OK


async def test_an_upload_that_was_touched_is_not_sent_again() -> None:
    wires = Wires(idle=1)
    sink = FakeSink()
    upload = FakeUpload(b"abc", asyncio.Event(), b"d", length=4)
    running = asyncio.create_task(run(make_pipeline(pool=wires), sink, upload))
    await settle_down()
    wires.upstreams[0].connection_lost(None)
    record = await running
    assert (sink.status, record.error, len(wires.upstreams)) == (502, "connect_failed", 1)


# --- ends ---


async def test_a_cut_answer_must_not_look_whole() -> None:
    wires = Wires(STREAM)
    sink = FakeSink()
    running = asyncio.create_task(run(make_pipeline(pool=wires), sink, FakeUpload(), method="GET"))
    await settle_down()
    assert ("flush", None) in sink.log
    wires.upstreams[0].connection_lost(None)
    record = await running
    assert (sink.written, sink.aborted, sink.length) == (b"some", True, None)
    assert (record.outcome, record.error) == (Outcome.TRUNCATED, "stream_truncated")
    assert (record.attempts[0].outcome, record.attempts[0].closed_by) == (Outcome.TRUNCATED, "upstream")


async def test_a_head_does_not_wait_for_its_body() -> None:
    wires = Wires(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    sink = FakeSink()
    running = asyncio.create_task(run(make_pipeline(pool=wires), sink, FakeUpload(), method="GET"))
    await settle_down()
    assert sink.steps == ["start", "flush"]
    wires.upstreams[0].data_received(b"0\r\n\r\n")
    assert (await running).outcome is Outcome.OK


@pytest.mark.parametrize("uploading", [False, True])
async def test_a_client_that_leaves_ends_both_directions(uploading: bool) -> None:
    wires = Wires(STREAM)
    upload = FakeUpload(b"abc", asyncio.Event(), b"d", length=4) if uploading else FakeUpload()
    pipeline = make_pipeline(pool=wires)
    running = asyncio.create_task(run(pipeline, FakeSink(), upload))
    await settle_down()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await settle_down()
    assert wires.transports[0].aborted
    assert isinstance(pipeline.books, Books)
    attempt = pipeline.books.record.attempts[0]
    assert (attempt.outcome, attempt.closed_by) == (Outcome.CLIENT_LEFT, "client")
    assert attempt.end is not None


async def test_a_head_that_reaches_nobody() -> None:
    wires = Wires(STREAM)
    sink = FakeSink()
    sink.gone = True
    record = await run(make_pipeline(pool=wires), sink, FakeUpload(), method="GET")
    assert (record.outcome, record.status) == (Outcome.CLIENT_LEFT, 499)
    assert wires.transports[0].aborted


# --- providers ---


async def test_a_provider_in_this_process_gets_the_whole_body() -> None:
    provider = Scripted(say(b"answer", status=201))
    sink = FakeSink()
    record = await run(make_pipeline(provider), sink, FakeUpload(b"ab", b"cd"), target=make_target())
    assert (provider.asked[0].body, provider.asked[0].method) == (b"abcd", "POST")
    assert (sink.status, sink.written, record.outcome) == (201, b"answer", Outcome.OK)


async def test_a_provider_in_this_process_that_says_nothing() -> None:
    target = make_target(deadlines=Deadlines(unary=0.05))
    record = await run(make_pipeline(Scripted(hang)), FakeSink(), FakeUpload(), target=target)
    assert record.error == "first_token_timeout"


async def test_a_provider_without_a_passthrough() -> None:
    provider = Scripted(hang)
    provider.passthrough = lambda *_: None  # type: ignore[method-assign]
    sink = FakeSink()
    record = await run(make_pipeline(provider), sink, FakeUpload(), target=make_target(path="config.targets[2]"))
    assert (sink.status, record.error) == (Unsupported.status, "unsupported_parameter")
    assert b"config.targets[2].provider" in sink.written
    assert record.attempts[0].closed_by == "gateway"


async def test_a_providers_mistake() -> None:
    def oops(*_: object) -> Any:
        raise KeyError("canary")

    provider = Scripted(hang)
    provider.passthrough = oops  # type: ignore[method-assign,assignment]
    sink = FakeSink()
    record = await run(make_pipeline(provider), sink, FakeUpload(), target=make_target())
    assert (sink.status, record.error) == (500, "plugin_error")
    assert b"canary" not in sink.written
