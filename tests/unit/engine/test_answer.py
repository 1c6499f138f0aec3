from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from aiogateway.engine.answer import find_length, give_answer
from aiogateway.engine.attempt import Opened, open_attempt
from aiogateway.engine.pipeline import Pipeline
from aiogateway.errors import ClientStalled, StreamBroken
from aiogateway.types import Call, Outcome, Recovery, Usage
from tests.unit.engine.fakes import DONE, FakeSink, FakeWatch, event, make_call, make_request, usage_event
from tests.unit.engine.kit import JSON, SSE, Foreign, Reply, Scripted, make_pipeline, make_step, make_target, say

A, STOP = event("a"), event("", "stop")
WHOLE = orjson.dumps({
    "id": "c", "choices": [{"index": 0, "message": {"content": "hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2},
})  # fmt: skip
USAGE = Usage(input=3, output=2)
STALLED = ClientStalled("the client took nothing for 1 s")


class Scene:
    """One opened attempt and the sink it is answered to."""

    def __init__(self, pipeline: Pipeline, call: Call, opened: Opened, sink: FakeSink) -> None:
        self.pipeline, self.call, self.opened, self.sink = pipeline, call, opened, sink
        self.watch = FakeWatch()

    async def give(self) -> None:
        try:
            await give_answer(self.pipeline.tools, self.call, self.opened, self.sink)
        finally:
            self.opened.close()
            assert self.pipeline.tools.buffers.held == 0

    async def stall(self) -> None:
        """What the watch does when the client takes nothing."""
        assert self.watch.on_stall is not None
        self.watch.on_stall(STALLED)


async def open_scene(
    reply: Reply, *, foreign: bool = False, room: int = 1 << 30, body: dict[str, Any] | None = None, **options: Any
) -> Scene:
    provider = Foreign(reply) if foreign else Scripted(reply)
    pipeline = make_pipeline(provider, **options)
    call = make_call()
    request = make_request({"model": "m", "messages": [], **(body or {})})
    opened = await open_attempt(pipeline.tools, call, request, (), make_step(make_target(provider.name)))
    scene = Scene(pipeline, call, opened, FakeSink(room))
    opened.watch.stop()
    opened.watch = scene.watch  # type: ignore[assignment]
    return scene


async def settle_down() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


# --- streams ---


async def test_a_stream_goes_by_its_lane() -> None:
    reply = say(A, STOP, usage_event(), DONE, headers=(*SSE, ("content-length", "9"), ("cache-control", "x")))
    scene = await open_scene(reply, body={"stream": True})
    await scene.give()
    assert scene.sink.written == A + STOP + DONE
    assert (scene.sink.status, scene.sink.length, scene.sink.ended) == (200, None, True)
    assert scene.sink.headers[b"cache-control"] == b"no-cache"
    assert scene.sink.headers[b"x-request-id"] == b"r1"
    assert scene.sink.headers[b"x-portkey-provider"] == b"scripted"
    call = scene.call
    assert (call.outcome, call.error, call.usage, call.malformed) == (Outcome.OK, None, USAGE, 0)
    assert call.sent == len(A + STOP + DONE)
    attempt = scene.opened.attempt
    assert (attempt.outcome, attempt.closed_by, attempt.usage) == (Outcome.OK, "upstream", USAGE)
    assert scene.watch.settle is not None


async def test_a_checked_stream_counts_what_it_dropped() -> None:
    reply = say(A, b"data: {bad\n\n", STOP, DONE, headers=SSE)
    scene = await open_scene(reply, body={"stream": True}, check_streams=True)
    await scene.give()
    assert (scene.sink.written, scene.call.malformed) == (A + STOP + DONE, 1)


async def test_a_translated_stream_is_ours() -> None:
    scene = await open_scene(say(A, STOP, usage_event(), DONE, headers=SSE), foreign=True, body={"stream": True})
    await scene.give()
    assert b'"content":"a"' in scene.sink.written
    assert scene.sink.written.endswith(DONE)
    assert scene.sink.headers[b"content-type"] == b"text/event-stream"
    assert (scene.call.outcome, scene.call.usage) == (Outcome.OK, USAGE)


@pytest.mark.parametrize("foreign", [False, True])
async def test_as_many_finishes_are_waited_for_as_choices_were_asked(foreign: bool) -> None:
    scene = await open_scene(say(A, STOP, headers=SSE), foreign=foreign, body={"stream": True, "n": 2})
    await scene.give()
    assert b"stream_truncated" in scene.sink.written
    assert scene.call.outcome is Outcome.TRUNCATED


async def test_a_cut_stream_is_no_success() -> None:
    scene = await open_scene(say(A, headers=SSE, cut=True), body={"stream": True})
    await scene.give()
    call, attempt = scene.call, scene.opened.attempt
    assert (call.outcome, call.error) == (Outcome.TRUNCATED, "stream_truncated")
    assert (attempt.outcome, attempt.error, attempt.closed_by) == (Outcome.TRUNCATED, "stream_truncated", "upstream")
    assert b"[DONE]" not in scene.sink.written
    assert call.sent == len(scene.sink.written)


async def test_an_event_over_the_bound_is_no_success() -> None:
    scene = await open_scene(say(A, b"data: " + b"x" * 500, headers=SSE), body={"stream": True}, max_event=300)
    await scene.give()
    assert scene.call.outcome is Outcome.TRUNCATED
    assert b"over 300 bytes" in scene.sink.written


async def test_a_stalled_client() -> None:
    scene = await open_scene(say(A, STOP, headers=SSE, hang=True), body={"stream": True}, room=1)
    giving = asyncio.create_task(scene.give())
    await settle_down()
    await scene.stall()
    await giving
    call, attempt = scene.call, scene.opened.attempt
    assert (call.outcome, call.error) == (Outcome.CLIENT_STALLED, "client_stalled")
    assert (attempt.outcome, attempt.closed_by) == (Outcome.CLIENT_STALLED, "gateway")
    assert scene.sink.aborted


@pytest.mark.parametrize("how", ["cancel", "reset"])
async def test_a_client_that_leaves_the_middle_of_a_stream(how: str) -> None:
    room = 1 if how == "reset" else 1 << 30
    scene = await open_scene(say(usage_event(), A, headers=SSE, hang=True), body={"stream": True}, room=room)
    giving = asyncio.create_task(scene.give())
    await settle_down()
    if how == "cancel":
        giving.cancel()
    else:
        scene.sink.abort()
    with pytest.raises((asyncio.CancelledError, ConnectionError)):
        await giving
    attempt = scene.opened.attempt
    assert (attempt.outcome, attempt.closed_by) == (Outcome.CLIENT_LEFT, "client")
    assert scene.call.sent == len(scene.sink.written)


# --- whole answers ---


async def test_a_whole_answer_is_head_and_body_and_end_at_once() -> None:
    headers = (*JSON, ("content-length", str(len(WHOLE))), ("set-cookie", "a=b"))
    scene = await open_scene(say(WHOLE[:9], WHOLE[9:], headers=headers))
    await scene.give()
    assert scene.sink.steps == ["start", "write", "end"]
    assert (scene.sink.written, scene.sink.length) == (WHOLE, len(WHOLE))
    assert scene.sink.headers[b"content-type"] == b"application/json"
    assert b"set-cookie" not in scene.sink.headers
    assert b"content-length" not in scene.sink.headers  # the sink writes it
    assert (scene.call.outcome, scene.call.usage, scene.call.sent) == (Outcome.OK, USAGE, len(WHOLE))
    assert scene.opened.attempt.usage == USAGE


async def test_an_empty_answer() -> None:
    scene = await open_scene(say(headers=()))
    await scene.give()
    assert (scene.sink.steps, scene.sink.length) == (["start", "end"], 0)
    assert scene.call.outcome is Outcome.OK


async def test_a_translated_answer_is_ours() -> None:
    scene = await open_scene(say(WHOLE), foreign=True)
    await scene.give()
    shown = orjson.loads(scene.sink.written)
    assert (shown["object"], shown["choices"][0]["message"]["content"]) == ("chat.completion", "hi")
    assert scene.sink.length == len(scene.sink.written)
    assert scene.call.usage == scene.opened.attempt.usage == USAGE


async def test_a_foreign_answer_that_makes_no_sense_is_a_failed_attempt() -> None:
    with pytest.raises(StreamBroken, match="can't be understood"):
        await open_scene(say(b"<html>"), foreign=True)


@pytest.mark.parametrize("echo", ["reset", "cancel"])
async def test_a_client_that_takes_nothing_of_a_whole_answer(echo: str) -> None:
    scene = await open_scene(say(WHOLE), room=1)
    giving = asyncio.create_task(scene.give())
    await settle_down()
    assert scene.watch.settle is None
    await scene.stall()
    if echo == "cancel":
        giving.cancel()
    await giving
    assert scene.call.outcome is Outcome.CLIENT_STALLED
    assert scene.sink.aborted


async def test_a_slow_client_takes_a_whole_answer_in_the_end() -> None:
    scene = await open_scene(say(WHOLE), room=1)
    giving = asyncio.create_task(scene.give())
    await settle_down()
    assert not giving.done()
    scene.sink.drain()
    await giving
    assert scene.call.outcome is Outcome.OK


async def test_a_client_that_leaves_a_whole_answer() -> None:
    scene = await open_scene(say(WHOLE), room=1)
    giving = asyncio.create_task(scene.give())
    await settle_down()
    scene.sink.abort()
    with pytest.raises(ConnectionError):
        await giving
    assert scene.opened.attempt.outcome is Outcome.CLIENT_LEFT


async def test_a_client_that_is_gone_before_the_answer() -> None:
    scene = await open_scene(say(WHOLE))
    scene.sink.gone = True
    with pytest.raises(ConnectionError):
        await scene.give()
    assert scene.opened.attempt.outcome is Outcome.CLIENT_LEFT


# --- large answers ---


@pytest.mark.parametrize("length", [None, 300])
async def test_a_large_answer_streams_on(length: int | None) -> None:
    headers = JSON if length is None else (*JSON, ("content-length", str(length)))
    scene = await open_scene(say(*[b"x" * 50] * 6, headers=headers), unary_buffer=100)
    assert not scene.opened.exchange.over
    await scene.give()
    assert (scene.sink.written, scene.sink.length) == (b"x" * 300, length)
    assert (scene.call.outcome, scene.call.sent) == (Outcome.OK, 300)


async def test_a_large_answer_that_is_cut_must_not_look_whole() -> None:
    scene = await open_scene(say(*[b"x" * 50] * 6, cut=True), unary_buffer=100)
    await scene.give()
    assert scene.sink.aborted
    assert (scene.call.outcome, scene.call.error) == (Outcome.TRUNCATED, "stream_truncated")


async def test_a_large_foreign_answer_cant_be_translated() -> None:
    with pytest.raises(StreamBroken, match="over 100 bytes"):
        await open_scene(say(*[b"x" * 50] * 6), foreign=True, unary_buffer=100)


async def test_a_stalled_client_of_a_large_answer() -> None:
    scene = await open_scene(say(*[b"x" * 50] * 6, hang=True), unary_buffer=100, room=1)
    giving = asyncio.create_task(scene.give())
    await settle_down()
    await scene.stall()
    await giving
    assert scene.call.outcome is Outcome.CLIENT_STALLED


@pytest.mark.parametrize(
    ("headers", "length"),
    [
        ([], None),
        ([(b"content-length", b"7")], 7),
        ([(b"content-encoding", b"gzip"), (b"content-length", b"7")], None),
        ([(b"content-length", b"7"), (b"content-encoding", b"br")], None),
        ([(b"content-length", b"7"), (b"content-encoding", b" Identity ")], 7),
        ([(b"content-length", b"7"), (b"content-encoding", b"")], 7),
    ],
)
def test_find_length(headers: list[tuple[bytes, bytes]], length: int | None) -> None:
    assert find_length(headers) == length


# --- breaks that others may mend ---


async def give_watched(reply: Reply, *, foreign: bool = False, explain: bool = False, **body: Any) -> Any:
    """A stream whose target wants recovery; also what was returned."""
    provider = Foreign(reply) if foreign else Scripted(reply)
    pipeline = make_pipeline(provider)
    call = make_call(explain=explain)
    target = make_target(provider.name, recovery=Recovery(attempts=3), path="config.targets[4]")
    request = make_request({"model": "m", "messages": [], "stream": True, **body})
    opened = await open_attempt(pipeline.tools, call, request, (), make_step(target))
    scene = Scene(pipeline, call, opened, FakeSink())
    try:
        return scene, *await give_answer(pipeline.tools, call, opened, scene.sink)
    finally:
        opened.close()


@pytest.mark.parametrize("foreign", [False, True])
async def test_a_break_that_others_may_mend_is_handed_back_and_not_said(foreign: bool) -> None:
    scene, error, broken = await give_watched(say(A, headers=SSE, cut=True), foreign=foreign, n=2)
    assert isinstance(error, StreamBroken)
    assert (broken.error, broken.recovery.attempts, broken.path) == (error, 3, "config.targets[4]")
    assert (broken.choices, broken.client.name, broken.envelope.id) == (2, "openai_chat", "call-1")
    assert broken.transcript.texts() == {0: "a"}
    assert not scene.sink.ended
    assert b"error" not in scene.sink.written
    call, attempt = scene.call, scene.opened.attempt
    assert (call.outcome, attempt.outcome, attempt.error) == (
        Outcome.TRUNCATED, Outcome.TRUNCATED, "stream_truncated"
    )  # fmt: skip
    assert call.sent == len(scene.sink.written)


async def test_the_envelope_of_a_translated_answer_is_one_for_all_who_end_it() -> None:
    scene, _, broken = await give_watched(say(A, headers=SSE, cut=True), foreign=True)
    chunk = orjson.loads(scene.sink.written.removeprefix(b"data: "))
    assert chunk["created"] == broken.envelope.created


@pytest.mark.parametrize("foreign", [False, True])
async def test_a_clean_end_hands_nothing_back(foreign: bool) -> None:
    scene, error, broken = await give_watched(say(A, STOP, DONE, headers=SSE), foreign=foreign, explain=True)
    assert (error, broken, scene.call.outcome, scene.call.recovery) == (None, None, Outcome.OK, None)
    head, _, comment = scene.sink.written.partition(DONE)
    assert comment.startswith(b": config.targets[4] tried: 200")
    assert comment.endswith(b"\n\n")
    assert head
    assert scene.sink.headers[b"x-aiogateway-explain"].startswith(b"config.targets[4] tried: 200")
    assert scene.call.sent == len(scene.sink.written)


async def test_nobody_asked_why() -> None:
    scene, _, _ = await give_watched(say(A, STOP, DONE, headers=SSE))
    assert scene.sink.written == A + STOP + DONE


async def test_what_is_in_the_way_of_recovery_is_noted_in_the_call() -> None:
    calling = event().replace(b'"content":"hi"', b'"tool_calls":[{"index":0,"function":{"name":"f"}}]')
    scene, error, broken = await give_watched(say(A, calling, headers=SSE, cut=True))
    assert isinstance(error, StreamBroken)
    assert (broken, scene.call.recovery, scene.sink.ended) == (None, "tool_call", True)
    assert b"stream_truncated" in scene.sink.written


async def test_a_stalled_clients_stream_is_nobodys_to_mend() -> None:
    scene = await open_scene(say(A, STOP, headers=SSE, hang=True), body={"stream": True}, room=1)
    giving = asyncio.create_task(give_answer(scene.pipeline.tools, scene.call, scene.opened, scene.sink))
    await settle_down()
    await scene.stall()
    error, broken = await giving
    assert (error, broken) == (STALLED, None)
    scene.opened.close()


async def test_what_broke_a_whole_answer_off_is_returned() -> None:
    scene = await open_scene(say(*[b"x" * 50] * 6, cut=True), unary_buffer=100)
    error, broken = await give_answer(scene.pipeline.tools, scene.call, scene.opened, scene.sink)
    assert isinstance(error, StreamBroken)
    assert broken is None
    scene.opened.close()
    scene = await open_scene(say(WHOLE))
    assert await give_answer(scene.pipeline.tools, scene.call, scene.opened, scene.sink) == (None, None)
    scene.opened.close()
