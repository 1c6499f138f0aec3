from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from aiogateway.engine.pipeline import Account, Pipeline
from aiogateway.errors import Overloaded, RequestError
from aiogateway.types import Attempt, Call, Endpoint, Lane, Outcome, Record
from tests.unit.engine.fakes import DONE, FakeSink, event, make_call, make_request
from tests.unit.engine.kit import SSE, Books, Scripted, hang, make_pipeline, make_target, say

A, STOP = event("a"), event("", "stop")
STREAM = say(A, STOP, DONE, headers=SSE)


class Watching:
    """An observer that notes what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def attempt(self, attempt: Attempt) -> None:
        self.said.append(f"attempt {attempt.provider}")

    def commit(self, call: Call) -> None:
        self.said.append(f"commit {call.status}")

    def end(self, record: Record) -> None:
        self.said.append(f"end {record.outcome}")


async def run(
    pipeline: Pipeline, sink: FakeSink, call: Call | None = None, *, error: BaseException | None = None, **body: Any
) -> Record:
    """One call through the pipeline; checks that nothing stays behind."""

    async def resolve() -> Any:
        if error is not None:
            raise error
        return make_request({"model": "m", "messages": [], **body}), make_target()

    books = pipeline.books
    assert isinstance(books, Books)
    try:
        await pipeline.run(call or make_call(), sink, resolve)
    finally:
        assert not pipeline.tools.live
        assert pipeline.tools.buffers.held == 0
        assert books.streams == 0
        assert not pipeline.tools.sweeper._watches
    return books.record


async def settle_down() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_stream_from_end_to_end() -> None:
    watching = Watching()
    pipeline = make_pipeline(Scripted(STREAM), observers=(lambda call: watching, lambda call: None))
    sink = FakeSink()
    record = await run(pipeline, sink, stream=True)
    assert sink.written == A + STOP + DONE
    assert (record.outcome, record.status, record.lane) == (Outcome.OK, 200, Lane.FRAMED)
    assert record.first_token is not None
    attempt = record.attempts[0]
    assert attempt.first_token == record.first_token
    assert attempt.start <= attempt.first_token <= (attempt.end or 0)
    assert watching.said == ["attempt scripted", "commit 200", "end ok"]
    assert isinstance(pipeline.books, Books)
    assert pipeline.books.opened == 1


async def test_a_whole_answer_is_no_stream() -> None:
    pipeline = make_pipeline(Scripted(say(b"{}")))
    record = await run(pipeline, FakeSink())
    assert (record.outcome, record.lane) == (Outcome.OK, Lane.UNARY)
    assert isinstance(pipeline.books, Books)
    assert pipeline.books.opened == 0


async def test_nothing_is_written_before_the_commit() -> None:
    watching = Watching()
    pipeline = make_pipeline(Scripted(hang), observers=(lambda call: watching,))
    sink = FakeSink()
    running = asyncio.create_task(run(pipeline, sink, stream=True))
    await settle_down()
    assert (sink.log, watching.said) == ([], ["attempt scripted"])
    pipeline.stop(Overloaded("the gateway is shutting down"))
    record = await running
    assert (sink.status, record.outcome, record.error) == (503, Outcome.FAILED, "overloaded")
    assert watching.said == ["attempt scripted", "end failed"]


@pytest.mark.parametrize("endpoint", [Endpoint.CHAT, None])
async def test_a_refusal_is_answered_and_recorded(endpoint: Endpoint | None) -> None:
    sink = FakeSink()
    error = RequestError("bad", param="model")
    record = await run(make_pipeline(), sink, make_call(endpoint=endpoint), error=error)
    assert (sink.status, sink.length, sink.ended) == (400, len(sink.written), True)
    assert orjson.loads(sink.written)["error"]["param"] == "model"
    assert sink.headers[b"x-portkey-trace-id"] == b"trace-1"
    assert (record.outcome, record.status, record.error) == (Outcome.REFUSED, 400, "invalid_request")
    assert (record.sent, record.attempts) == (len(sink.written), ())


async def test_a_failed_attempt_is_answered_with_the_providers_words() -> None:
    sink = FakeSink()
    record = await run(make_pipeline(Scripted(say(b'{"error":{"message":"slow"}}', status=429))), sink, stream=True)
    assert (sink.status, sink.written) == (429, b'{"error":{"message":"slow"}}')
    assert (record.outcome, record.status, record.error) == (Outcome.FAILED, 429, "upstream_status")


async def test_nobody_is_there_to_hear_a_refusal() -> None:
    sink = FakeSink()
    sink.gone = True
    record = await run(make_pipeline(), sink, error=RequestError("bad"))
    assert (record.outcome, record.status, record.error) == (Outcome.CLIENT_LEFT, 499, "invalid_request")


async def test_a_mistake_of_ours_is_logged_and_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    sink = FakeSink()
    record = await run(make_pipeline(), sink, error=KeyError("canary"))
    assert (sink.status, record.outcome, record.error) == (500, Outcome.REFUSED, "internal_error")
    assert b"canary" not in sink.written
    assert "call call-1 failed inside the gateway" in caplog.text


async def test_a_mistake_of_ours_after_the_commit_cuts_the_client(caplog: pytest.LogCaptureFixture) -> None:
    class Odd(FakeSink):
        def write(self, data: bytes) -> None:
            raise KeyError("ours")

    sink = Odd()
    record = await run(make_pipeline(Scripted(say(b"{}"))), sink)
    assert sink.aborted
    assert (record.outcome, record.error) == (Outcome.TRUNCATED, "internal_error")
    assert "failed inside the gateway" in caplog.text


@pytest.mark.parametrize("when", ["resolving", "waiting", "streaming"])
async def test_a_client_that_leaves_is_let_go(when: str) -> None:
    pipeline = make_pipeline(Scripted(hang if when != "streaming" else say(A, headers=SSE, hang=True)))
    sink = FakeSink()
    error = asyncio.CancelledError() if when == "resolving" else None
    running = asyncio.create_task(run(pipeline, sink, error=error, stream=True))
    await settle_down()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert sink.aborted
    assert isinstance(pipeline.books, Books)
    record = pipeline.books.record
    assert (record.outcome, record.status) == (Outcome.CLIENT_LEFT, 499)


async def test_a_connection_that_breaks_is_no_error_of_the_handlers() -> None:
    sink = FakeSink()
    record = await run(make_pipeline(), sink, error=ConnectionResetError())
    assert sink.aborted
    assert record.outcome is Outcome.CLIENT_LEFT


async def test_the_end_of_the_process_is_not_answered() -> None:
    class Exit(BaseException):
        pass

    pipeline = make_pipeline()
    sink = FakeSink()
    with pytest.raises(Exit):
        await run(pipeline, sink, error=Exit())
    assert sink.log == []
    assert isinstance(pipeline.books, Books)
    assert len(pipeline.books.records) == 1


async def test_a_stop_ends_a_stream_in_band() -> None:
    pipeline = make_pipeline(Scripted(say(A, headers=SSE, hang=True)))
    sink = FakeSink()
    running = asyncio.create_task(run(pipeline, sink, stream=True))
    await settle_down()
    pipeline.stop(Overloaded("the gateway is shutting down"))
    record = await running
    assert sink.written.startswith(A)
    assert b"shutting down" in sink.written
    assert b"[DONE]" not in sink.written
    assert (sink.ended, sink.aborted) == (True, False)
    assert (record.outcome, record.error) == (Outcome.TRUNCATED, "overloaded")


async def test_the_whole_call_has_a_deadline_from_its_resolving_on() -> None:
    pipeline = make_pipeline(Scripted(say(A, headers=SSE, hang=True)))
    sink = FakeSink()
    from aiogateway.types import Deadlines

    async def resolve() -> Any:
        return make_request(), make_target(deadlines=Deadlines(total=0.05, idle=30, client_stall=0.1))

    await pipeline.run(make_call(), sink, resolve)
    assert b"total_timeout" in sink.written


async def test_an_account_puts_one_record_even_if_an_observer_came_late() -> None:
    pipeline = make_pipeline()
    watching = Watching()
    account = Account(pipeline, make_call(), FakeSink())
    account.observers = (watching,)
    with account:
        pass
    assert watching.said == ["end client_left"]
    assert isinstance(pipeline.books, Books)
    assert len(pipeline.books.records) == 1
