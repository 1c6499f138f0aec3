from __future__ import annotations

import asyncio
import gzip
from typing import Any

import orjson
import pytest

from aiogateway.config.conditions import parse_query
from aiogateway.config.model import Mode
from aiogateway.config.tree import Branch, Rule, Tree
from aiogateway.engine.dial import Place
from aiogateway.engine.passthrough import Passed, pass_on
from aiogateway.engine.pipeline import Pipeline
from aiogateway.errors import ConnectFailed, Overloaded, RequestTimeout, Unsupported
from aiogateway.types import (
    Attempt,
    Call,
    CircuitRules,
    Credential,
    Deadlines,
    Lane,
    Origin,
    Outcome,
    Record,
    Retry,
    Secret,
)
from tests.unit.engine.fakes import FakeSink, make_call
from tests.unit.engine.kit import (
    Books,
    Scripted,
    Wires,
    hang,
    make_fallback,
    make_pipeline,
    make_target,
    make_targets,
    say,
)

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
    pipeline: Pipeline, sink: FakeSink, upload: FakeUpload, *, method: str = "POST", target: Tree | None = None,
    path: str = "/v1/files/a%2Fb?x=%20y", headers: Any = (("x-a", "1"),), call: Call | None = None,
) -> Record:  # fmt: skip
    async def resolve() -> Passed:
        return Passed(method, path, headers, target or make_target("openai"))

    assert isinstance(pipeline.books, Books)
    try:
        await pass_on(pipeline, call or make_call(endpoint=None), sink, resolve, upload)
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


# --- another try, another target ---

ERROR = b'{"error":{"message":"down"}}'


def answer(status: int, body: bytes = b"", *headers: bytes, length: int | None = None) -> bytes:
    lines = [b"HTTP/1.1 %d X" % status, *headers, b"content-length: %d" % (len(body) if length is None else length)]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


DOWN = answer(503, ERROR, b"content-type: application/json", b"x-request-id: r-1")


def over(count: int = 2, **changes: Any) -> Branch:
    return make_fallback(*make_targets(*["openai"] * count, **changes))


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
async def test_a_request_without_a_body_falls_back(method: str) -> None:
    wires = Wires(answer(503) if method == "HEAD" else DOWN, answer(200) if method == "HEAD" else OK)
    sink = FakeSink()
    call = make_call(endpoint=None, explain=True)
    record = await run(make_pipeline(pool=wires), sink, FakeUpload(), method=method, target=over(), call=call)
    assert sink.status == 200
    assert sink.headers[b"x-portkey-last-used-option-index"] == b"config.targets[1]"
    assert b"config.targets[0] tried: 503" in sink.headers[b"x-aiogateway-explain"]
    assert [(attempt.status, attempt.outcome, attempt.error) for attempt in record.attempts] == [
        (503, Outcome.FAILED, "upstream_status"), (200, Outcome.OK, None)
    ]  # fmt: skip
    assert (record.outcome, record.status) == (Outcome.OK, 200)
    assert wires.sent[0] == wires.sent[1]


async def test_the_head_of_a_missing_body_says_how_long_it_would_be() -> None:
    wires = Wires(answer(503), answer(200, length=4711))
    sink = FakeSink()
    await run(make_pipeline(pool=wires), sink, FakeUpload(), method="HEAD", target=over())
    assert (sink.status, sink.length, sink.written, sink.ended) == (200, 4711, b"", True)
    wires = Wires(answer(404, length=99), answer(503, length=99))
    sink = FakeSink()
    record = await run(make_pipeline(pool=wires), sink, FakeUpload(), method="HEAD", target=over())
    assert (sink.status, record.outcome, sink.ended) == (503, Outcome.FAILED, True)


@pytest.mark.parametrize(
    "encode", [lambda body: body, gzip.compress, lambda body: gzip.compress(body[:9]) + gzip.compress(body[9:])]
)
@pytest.mark.parametrize("pieces", [1, 7])
async def test_the_last_error_is_relayed_whole_when_all_fail(encode: Any, pieces: int) -> None:
    body = encode(ERROR)
    headers = [b"content-type: application/json", b"x-request-id: r-2", b"x-should-retry: true"]
    last = answer(429, body, *headers, *([b"content-encoding: gzip"] if body != ERROR else []))
    wires = Wires(DOWN)
    sink = FakeSink()
    running = asyncio.create_task(run(make_pipeline(pool=wires), sink, FakeUpload(), method="GET", target=over()))
    await settle_down()
    for start in range(0, len(last), -(-len(last) // pieces)):
        wires.upstreams[1].data_received(last[start : start + -(-len(last) // pieces)])
        await settle_down()
    record = await running
    assert (sink.status, sink.written, sink.length) == (429, ERROR, len(ERROR))
    assert b"content-encoding" not in sink.headers
    assert sink.headers[b"x-request-id"] == b"r-2"
    assert sink.headers[b"x-should-retry"] == b"false"
    assert (record.outcome, record.status, record.error) == (Outcome.FAILED, 429, "upstream_status")
    assert record.attempts[1].status == 429
    assert not wires.transports[1].aborted  # read to its end, it may serve the next call


BOMB = gzip.compress(b"x" * (8 << 20))


@pytest.mark.parametrize(
    "last",
    [
        answer(500, b"x" * 200),
        answer(500, ERROR[:9], length=99),
        answer(500, b"no gzip", b"content-encoding: gzip"),
        answer(500, gzip.compress(ERROR)[:-4], b"content-encoding: gzip"),
        answer(500, b"??", b"content-encoding: snappy"),
        answer(500, BOMB, b"content-encoding: gzip"),
    ],
    ids=["too large", "cut", "no gzip", "half a gzip", "unknown", "bomb"],
)
async def test_an_error_whose_body_is_of_no_use_keeps_its_status(last: bytes) -> None:
    limit = len(last) if last.endswith(BOMB) else 100
    wires = Wires(DOWN, last)
    sink = FakeSink()
    running = asyncio.create_task(
        run(make_pipeline(pool=wires, unary_buffer=limit), sink, FakeUpload(), method="GET", target=over())
    )
    await settle_down()
    wires.upstreams[1].connection_lost(None)
    record = await running
    assert (sink.status, record.status, sink.length) == (500, 500, len(sink.written))
    assert orjson.loads(sink.written)["status"] == "failure"
    assert b"content-encoding" not in sink.headers


async def test_a_failed_connection_falls_back_and_a_listed_code_narrows() -> None:
    class Refusing(Wires):
        async def dial(self, place: Place, timeout: float) -> Any:
            if not self.dialled:
                self.dialled.append((place, timeout))
                raise ConnectFailed("the provider refused the connection")
            return await super().dial(place, timeout)

    sink = FakeSink()
    record = await run(make_pipeline(pool=Refusing(OK)), sink, FakeUpload(b"abc"), target=over())
    assert (sink.status, record.attempts[0].error) == (200, "connect_failed")
    sink = FakeSink()
    wires = Wires(DOWN, OK)
    tree = make_fallback(*make_targets("openai", "openai"), on_status_codes=frozenset((429,)))
    await run(make_pipeline(pool=wires), sink, FakeUpload(), method="GET", target=tree)
    assert (sink.status, sink.written, len(wires.sent)) == (503, ERROR, 1)


async def test_a_request_is_tried_again_at_its_target() -> None:
    wires = Wires(DOWN, DOWN, OK)
    sink = FakeSink()
    target = make_target("openai", retry=Retry(attempts=2))
    record = await run(make_pipeline(pool=wires), sink, FakeUpload(), method="GET", target=target)
    assert (sink.status, sink.headers[b"x-portkey-retry-attempt-count"], record.retries) == (200, b"2", 2)
    sink = FakeSink()
    wires = Wires(DOWN, DOWN, DOWN)
    await run(make_pipeline(pool=wires), sink, FakeUpload(), method="GET", target=target)
    assert (sink.status, sink.written, sink.headers[b"x-portkey-retry-attempt-count"]) == (503, ERROR, b"-1")


async def test_without_another_target_an_error_is_the_answer_as_it_came() -> None:
    body = gzip.compress(ERROR)
    wires = Wires(answer(503, body, b"content-encoding: gzip", b"x-should-retry: true"))
    sink = FakeSink()
    record = await run(make_pipeline(pool=wires), sink, FakeUpload(), method="GET")
    assert (sink.status, sink.written, sink.headers[b"content-encoding"]) == (503, body, b"gzip")
    assert (sink.headers[b"x-should-retry"], record.outcome) == (b"true", Outcome.OK)


@pytest.mark.parametrize("failure", ["status", "lost", "refused"])
async def test_a_body_that_has_begun_to_flow_is_sent_to_nobody_else(failure: str) -> None:
    wires = Wires()
    sink = FakeSink()
    upload = FakeUpload(b"abc", asyncio.Event(), b"d", length=4)
    tree = over(retry=Retry(attempts=3))
    running = asyncio.create_task(run(make_pipeline(pool=wires), sink, upload, target=tree))
    await settle_down()
    assert upload.touched
    if failure == "lost":
        wires.upstreams[0].connection_lost(None)
    else:
        wires.upstreams[0].data_received(DOWN if failure == "status" else answer(413, b"no"))
    record = await running
    assert len(wires.upstreams) == len(record.attempts) == 1
    assert sink.status == {"status": 503, "lost": 502, "refused": 413}[failure]
    assert sink.written == {"status": ERROR, "lost": sink.written, "refused": b"no"}[failure]
    assert record.retries == 0


async def test_a_body_of_which_nothing_was_taken_goes_to_the_next_target() -> None:
    gate = asyncio.Event()
    wires = Wires(DOWN)
    running = asyncio.create_task(
        run(make_pipeline(pool=wires), FakeSink(), FakeUpload(gate, b"abc", length=3), target=over())
    )
    await settle_down()
    assert len(wires.upstreams) == 2
    gate.set()
    await settle_down()
    assert [sent.rpartition(b"\r\n\r\n")[2] for sent in wires.sent] == [b"", b"abc"]
    wires.upstreams[1].data_received(OK)
    assert (await running).outcome is Outcome.OK


@pytest.mark.parametrize("how", ["stop", "total", "leave"])
async def test_an_end_while_an_error_is_read_is_the_end(how: str) -> None:
    wires = Wires(answer(503, b"half", length=99), OK)
    sink = FakeSink()
    pipeline = make_pipeline(pool=wires)
    tree = over(deadlines=Deadlines(total=0.1 if how == "total" else 60), retry=Retry(attempts=2))
    running = asyncio.create_task(run(pipeline, sink, FakeUpload(), method="GET", target=tree))
    await settle_down()
    if how == "leave":
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert isinstance(pipeline.books, Books)
        record = pipeline.books.record
        assert (record.outcome, record.attempts[0].outcome) == (Outcome.CLIENT_LEFT, Outcome.CLIENT_LEFT)
    else:
        if how == "stop":
            pipeline.stop(Overloaded("the gateway is shutting down"))
        record = await running
        status, error = (503, "overloaded") if how == "stop" else (504, "total_timeout")
        assert (sink.status, record.error) == (status, error)
    assert len(wires.upstreams) == 1
    assert wires.transports[0].aborted


async def test_an_error_whose_body_never_comes_falls_back_after_the_idle_limit() -> None:
    wires = Wires(answer(503, b"half", length=99), OK)
    sink = FakeSink()
    tree = over(deadlines=Deadlines(idle=0.08, client_stall=0.08))
    record = await run(make_pipeline(pool=wires), sink, FakeUpload(), method="GET", target=tree)
    assert (sink.status, record.attempts[0].status) == (200, 503)


# --- circuits ---

RULES = CircuitRules(failures=1)


@pytest.mark.parametrize("uploading", [False, True])
@pytest.mark.parametrize(("status", "opens"), [(503, True), (500, True), (429, False), (404, False), (200, False)])
async def test_a_circuit_hears_of_every_answer(status: int, opens: bool, uploading: bool) -> None:
    upload = FakeUpload(b"abc", asyncio.Event(), b"d", length=4) if uploading else FakeUpload()
    wires = Wires()
    pipeline = make_pipeline(pool=wires)
    sink = FakeSink()
    target = make_target("openai", circuit=RULES, circuit_key=b"k")
    running = asyncio.create_task(run(pipeline, sink, upload, target=target))
    await settle_down()
    wires.upstreams[0].data_received(answer(status, ERROR, b"x-request-id: r-1"))
    await running
    assert (sink.status, sink.written, sink.headers[b"x-request-id"]) == (status, ERROR, b"r-1")
    assert pipeline.tools.breakers.is_open(b"k", RULES) is opens


async def test_a_circuit_hears_of_an_answer_that_was_cut() -> None:
    wires = Wires(STREAM)
    pipeline = make_pipeline(pool=wires)
    target = make_target("openai", circuit=RULES, circuit_key=b"k")
    running = asyncio.create_task(run(pipeline, FakeSink(), FakeUpload(), method="GET", target=target))
    await settle_down()
    wires.upstreams[0].connection_lost(None)
    await running
    assert pipeline.tools.breakers.is_open(b"k", RULES)


async def test_conditions_see_headers_and_metadata() -> None:
    query = parse_query({"$and": [{"metadata.tier": "gold"}, {"headers.x-a": "1"}]}, "q")
    children = (*make_targets("openai", "openai"),)
    tree = Branch(path="config", mode=Mode.CONDITIONAL, children=children, rules=(Rule(query, 1),), default=0)
    for value, index in (("1", b"config.targets[1]"), ("2", b"config.targets[0]")):
        sink = FakeSink()
        call = make_call(endpoint=None, metadata={"tier": "gold"})
        await run(
            make_pipeline(pool=Wires(OK)), sink, FakeUpload(), method="GET", target=tree, call=call,
            headers=(("x-a", value),),
        )  # fmt: skip
        assert sink.headers[b"x-portkey-last-used-option-index"] == index


@pytest.mark.parametrize("how", ["stop", "leave"])
async def test_an_end_while_we_dial_is_the_end(how: str) -> None:
    class Silent(Wires):
        async def dial(self, place: Place, timeout: float) -> Any:
            self.dialled.append((place, timeout))
            await asyncio.Event().wait()

    wires = Silent()
    pipeline = make_pipeline(pool=wires)
    sink = FakeSink()
    tree = over(retry=Retry(attempts=2))
    running = asyncio.create_task(run(pipeline, sink, FakeUpload(), method="GET", target=tree))
    await settle_down()
    if how == "stop":
        pipeline.stop(Overloaded("the gateway is shutting down"))
        record = await running
        assert (sink.status, record.error) == (503, "overloaded")
    else:
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert isinstance(pipeline.books, Books)
        assert pipeline.books.record.attempts[0].outcome is Outcome.CLIENT_LEFT
    assert len(wires.dialled) == 1


async def test_a_stop_during_the_wait_for_another_try() -> None:
    wires = Wires(DOWN, OK)
    pipeline = make_pipeline(pool=wires, retry_wait=30.0)
    sink = FakeSink()
    running = asyncio.create_task(
        run(pipeline, sink, FakeUpload(), method="GET", target=make_target("openai", retry=Retry(attempts=2)))
    )
    await settle_down()
    pipeline.stop(Overloaded("the gateway is shutting down"))
    async with asyncio.timeout(1):
        record = await running
    assert (sink.status, record.error, len(wires.upstreams)) == (503, "overloaded", 1)
