from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from msgspec.structs import replace

from aiogateway.config.conditions import parse_query
from aiogateway.config.model import Mode
from aiogateway.config.tree import Branch, Rule, Tree
from aiogateway.engine.pipeline import Account, Pipeline
from aiogateway.errors import Overloaded, RequestError
from aiogateway.types import (
    Attempt,
    Call,
    CircuitRules,
    Deadlines,
    Endpoint,
    Lane,
    Outcome,
    Record,
    Recovery,
    Retry,
)
from tests.unit.engine.fakes import DONE, FakeSink, event, make_call, make_request
from tests.unit.engine.kit import (
    SSE,
    Books,
    Reply,
    Scripted,
    hang,
    make_fallback,
    make_pipeline,
    make_target,
    make_targets,
    say,
)

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
    pipeline: Pipeline,
    sink: FakeSink,
    call: Call | None = None,
    *,
    error: BaseException | None = None,
    tree: Tree | None = None,
    **body: Any,
) -> Record:
    """One call through the pipeline; checks that nothing stays behind."""

    async def resolve() -> Any:
        if error is not None:
            raise error
        return make_request({"model": "m", "messages": [], **body}), tree or make_target()

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


# --- several targets ---

SLOW = say(b'{"error":{"message":"slow"}}', status=503)


def over(*replies: Reply, **options: Any) -> tuple[Pipeline, list[Scripted], Branch]:
    """A fallback over a provider for each reply; `options` are the targets', but for retry_wait."""
    wait = {name: options.pop(name) for name in ("retry_wait", "observers") if name in options}
    providers = [Scripted(reply, name=f"p{number}") for number, reply in enumerate(replies)]
    names = [provider.name for provider in providers]
    return make_pipeline(*providers, **wait), providers, make_fallback(*make_targets(*names, **options))


async def test_the_next_target_answers_for_one_that_fails() -> None:
    watching = Watching()
    pipeline, _, tree = over(SLOW, STREAM, observers=(lambda call: watching,))
    sink = FakeSink()
    record = await run(pipeline, sink, make_call(explain=True), tree=tree, stream=True)
    assert sink.written.startswith(A + STOP + DONE)
    assert (sink.status, sink.headers[b"x-portkey-provider"]) == (200, b"p1")
    assert sink.headers[b"x-portkey-last-used-option-index"] == b"config.targets[1]"
    assert b"config.targets[0] tried: 503" in sink.headers[b"x-aiogateway-explain"]
    assert sink.written.partition(DONE)[2].startswith(b": config.targets[0] tried: 503")
    assert [(attempt.status, attempt.outcome) for attempt in record.attempts] == [
        (503, Outcome.FAILED), (200, Outcome.OK)
    ]  # fmt: skip
    assert (record.outcome, record.status, record.error, record.retries) == (Outcome.OK, 200, None, 0)
    assert watching.said == ["attempt p0", "attempt p1", "commit 200", "end ok"]


async def test_all_failed_is_the_last_ones_status_and_body() -> None:
    pipeline, _, tree = over(SLOW, say(b'{"error":{"message":"last"}}', status=418))
    sink = FakeSink()
    record = await run(pipeline, sink, tree=tree)
    assert (sink.status, sink.written) == (418, b'{"error":{"message":"last"}}')
    assert sink.headers[b"x-should-retry"] == b"false"
    assert (record.outcome, record.status, len(record.attempts)) == (Outcome.FAILED, 418, 2)


async def test_a_target_is_tried_again() -> None:
    pipeline, providers, tree = over(SLOW, STREAM, retry=Retry(attempts=2))
    providers[0].replies = [SLOW, SLOW, STREAM]
    sink = FakeSink()
    record = await run(pipeline, sink, tree=tree, stream=True)
    assert (sink.headers[b"x-portkey-retry-attempt-count"], record.retries) == (b"2", 2)
    assert [attempt.retry for attempt in record.attempts] == [0, 1, 2]
    assert [attempt.waited > 0 for attempt in record.attempts] == [False, True, True]
    assert b"x-should-retry" not in sink.headers


async def test_retries_that_are_used_up_are_told() -> None:
    pipeline, _, tree = over(SLOW, retry=Retry(attempts=1))
    sink = FakeSink()
    record = await run(pipeline, sink, tree=tree)
    assert (sink.headers[b"x-portkey-retry-attempt-count"], sink.headers[b"x-should-retry"]) == (b"-1", b"false")
    assert (sink.status, record.retries, len(record.attempts)) == (503, -1, 2)


async def test_a_client_that_leaves_during_the_wait_for_a_retry() -> None:
    pipeline, providers, tree = over(SLOW, STREAM, retry=Retry(attempts=1), retry_wait=30.0)
    sink = FakeSink()
    running = asyncio.create_task(run(pipeline, sink, tree=tree))
    await settle_down()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert isinstance(pipeline.books, Books)
    record = pipeline.books.record
    assert (record.outcome, record.status) == (Outcome.CLIENT_LEFT, 499)
    assert [attempt.outcome for attempt in record.attempts] == [Outcome.FAILED]
    assert providers[1].asked == []


async def test_a_stop_during_the_wait_for_a_retry_is_answered_at_once() -> None:
    pipeline, providers, tree = over(SLOW, STREAM, retry=Retry(attempts=1), retry_wait=30.0)
    sink = FakeSink()
    running = asyncio.create_task(run(pipeline, sink, tree=tree))
    await settle_down()
    pipeline.stop(Overloaded("the gateway is shutting down"))
    async with asyncio.timeout(1):
        record = await running
    assert (sink.status, record.error, record.outcome) == (503, "overloaded", Outcome.FAILED)
    assert b"shutting down" in sink.written
    assert providers[1].asked == []


async def test_a_silent_target_is_left_for_the_next_and_not_asked_again() -> None:
    deadlines = Deadlines(first_token=0.05)
    pipeline, providers, tree = over(hang, STREAM, retry=Retry(attempts=5), deadlines=deadlines)
    record = await run(pipeline, FakeSink(), tree=tree, stream=True)
    assert (record.outcome, len(providers[0].asked)) == (Outcome.OK, 1)
    assert record.attempts[0].error == "first_token_timeout"


async def test_a_config_that_matches_nothing_is_refused() -> None:
    tree = Branch(path="config", mode=Mode.CONDITIONAL, children=make_targets("scripted"))
    sink = FakeSink()
    record = await run(make_pipeline(Scripted(STREAM)), sink, tree=tree)
    assert (sink.status, record.outcome, record.error) == (400, Outcome.REFUSED, "invalid_config")


async def test_conditions_see_the_request() -> None:
    query = parse_query(
        {"$and": [{"metadata.tier": "gold"}, {"params.model": "m"}, {"url.pathname": "/v1/chat/completions"}]}, "q"
    )
    tree = Branch(
        path="config", mode=Mode.CONDITIONAL, children=make_targets("p0", "p1"), rules=(Rule(query, 1),), default=0
    )
    for tier, provider in (("gold", b"p1"), ("tin", b"p0")):
        pipeline, _, _ = over(say(b"{}"), say(b"{}"))
        sink = FakeSink()
        await run(pipeline, sink, make_call(metadata={"tier": tier}), tree=tree)
        assert sink.headers[b"x-portkey-provider"] == provider


# --- circuits ---


@pytest.mark.parametrize("stream", [True, False])
async def test_a_truncation_opens_a_circuit_and_the_next_call_goes_elsewhere(stream: bool) -> None:
    cut = say(A, headers=SSE, cut=True) if stream else say(*[b"x" * 50] * 6, cut=True)
    pipeline, providers, _ = over(cut, STREAM if stream else say(b"{}"))
    pipeline.tools.unary_buffer = 100
    rules = CircuitRules(failures=1)
    tree = make_fallback(
        *make_targets("p0", circuit=rules, circuit_key=b"0"), make_targets("p0", "p1", circuit=rules)[1]
    )
    record = await run(pipeline, FakeSink(), tree=tree, stream=stream)
    assert record.outcome is Outcome.TRUNCATED
    pipeline.books = Books()
    call = make_call(explain=True)
    sink = FakeSink()
    record = await run(pipeline, sink, call, tree=tree, stream=stream)
    assert (record.outcome, len(providers[0].asked)) == (Outcome.OK, 1)
    assert b"config.targets[0] skipped: circuit open" in sink.headers[b"x-aiogateway-explain"]


async def test_a_client_that_leaves_opens_no_circuit() -> None:
    rules = CircuitRules(failures=1)
    for reply in (hang, say(A, headers=SSE, hang=True)):
        pipeline = make_pipeline(Scripted(reply))
        target = make_target(circuit=rules, circuit_key=b"k")
        running = asyncio.create_task(run(pipeline, FakeSink(), tree=target, stream=True))
        await settle_down()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert not pipeline.tools.breakers.is_open(b"k", rules)


# --- a break is gone on from ---


async def test_a_broken_stream_is_finished_by_the_next_target_and_counted_as_one_call() -> None:
    watching = Watching()
    pipeline, _, tree = over(
        say(A, headers=SSE, cut=True), STREAM, recovery=Recovery(), observers=(lambda call: watching,)
    )
    sink = FakeSink()
    record = await run(pipeline, sink, tree=tree, stream=True)
    assert sink.written.startswith(A + b": the stream broke off on config.targets[0]")
    assert sink.written.endswith(DONE)
    assert (record.outcome, record.recovery, record.status) == (Outcome.OK, "recovered", 200)
    first, second = record.attempts
    assert (first.outcome, second.outcome) == (Outcome.TRUNCATED, Outcome.OK)
    assert record.first_token == first.first_token
    assert (first.end or 0) <= second.start <= (second.first_token or 0) <= (second.end or 0)
    assert watching.said == ["attempt p0", "commit 200", "attempt p1", "end ok"]
    assert isinstance(pipeline.books, Books)
    assert pipeline.books.opened == 2


async def test_both_breaks_speak_against_their_targets() -> None:
    cut = say(A, headers=SSE, cut=True)
    pipeline, _, _ = over(cut, cut)
    rules = CircuitRules(failures=1)
    one, two = make_targets("p0", "p1", circuit=rules, recovery=Recovery(attempts=5))
    tree = make_fallback(replace(one, circuit_key=b"1"), replace(two, circuit_key=b"2"))
    record = await run(pipeline, FakeSink(), tree=tree, stream=True)
    assert record.recovery == "failed"
    assert [pipeline.tools.breakers.is_open(key, rules) for key in (b"1", b"2")] == [True, True]
