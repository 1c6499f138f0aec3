"""Streams that break after their first token, and who finishes them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest

from aiogateway.config.tree import Tree
from aiogateway.contracts import Dialect
from aiogateway.dialects.openai_chat import OpenAIChat
from aiogateway.dialects.openai_completions import OpenAICompletions
from aiogateway.engine import transcript as transcript_module
from aiogateway.engine.pipeline import Pipeline
from aiogateway.engine.recovery import ResumedLane, add_usage, conclude, wait_for_client, write_comment
from aiogateway.engine.transcript import Transcript
from aiogateway.errors import ClientStalled, IdleTimeout, Overloaded, StreamBroken
from aiogateway.neutral import Begin, Envelope, Event, Failure, Finish, Reasoning, Text, ToolCall, UsageReport
from aiogateway.testing import split_points
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
    Usage,
)
from tests.unit.engine.fakes import DONE, FakeSink, FakeWatch, make_call, make_request
from tests.unit.engine.kit import (
    SSE,
    Books,
    Foreign,
    OtherChat,
    Reply,
    Scripted,
    hang,
    make_fallback,
    make_pipeline,
    make_targets,
    say,
)
from tests.unit.engine.streams import ID, Heard, answer, boom, choices, chunk, role, stream

PIECES = ("One", " two", ' "3"\n☃!')
WHOLE = "".join(PIECES)
FIRST = stream(*PIECES)
SECOND = stream("On", "e t", 'wo "', "3", '"\n☃!', id="c-2", model="m-2", created=9)
START = role() + chunk({"content": "One"}) + chunk({"content": " two"})
ON = Recovery()
STALLED = ClientStalled("the client took nothing for 1 s")
OVERLOADED = Overloaded("the gateway is shutting down")


def sse(body: bytes, **options: Any) -> Reply:
    return say(*([body] if body else []), headers=SSE, **options)


def broken(body: bytes = START) -> Reply:
    return sse(body, cut=True)


class Scene:
    """A call over a fallback: `first` breaks, and so on. `foreign`: which of them speak another dialect."""

    def __init__(
        self, *replies: Reply, foreign: tuple[int, ...] = (), recovery: Recovery | None = ON, explain: bool = False,
        room: int = 1 << 30, targets: dict[str, Any] | None = None, options: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        names = [f"p{number}" for number in range(len(replies))]
        self.providers = [
            (Foreign if number in foreign else Scripted)(reply, name=names[number])
            for number, reply in enumerate(replies)
        ]
        self.pipeline: Pipeline = make_pipeline(*self.providers, **(options or {}))
        self.tree: Tree = make_fallback(*make_targets(*names, recovery=recovery, **(targets or {})))
        self.sink = FakeSink(room)
        self.call: Call = make_call(explain=explain)

    async def run(self, **body: Any) -> Record:
        """One streaming call; checks that nothing stays behind."""

        async def resolve() -> Any:
            return make_request({"model": "m", "messages": [], "stream": True, **body}), self.tree

        pipeline = self.pipeline
        books = pipeline.books
        assert isinstance(books, Books)
        try:
            await pipeline.run(self.call, self.sink, resolve)
        finally:
            assert not pipeline.tools.live
            assert pipeline.tools.buffers.held == 0
            assert books.streams == 0
            assert not pipeline.tools.sweeper._watches
        return self.record

    @property
    def record(self) -> Record:
        assert isinstance(self.pipeline.books, Books)
        return self.pipeline.books.record

    @property
    def heard(self) -> Heard:
        assert self.sink.ended
        assert not self.sink.aborted
        return Heard(self.sink.written)

    @property
    def asked(self) -> list[int]:
        """How often each provider was."""
        return [len(provider.asked) for provider in self.providers]


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


# --- the whole answer, once ---

KINDS = {"checked, same": (), "checked, foreign": (1,), "translated, same": (0,), "translated, foreign": (0, 1)}


@pytest.mark.parametrize("how", ["reset", "end"])
@pytest.mark.parametrize("foreign", KINDS.values(), ids=KINDS)
async def test_a_cut_at_any_byte_leaves_the_client_with_the_whole_answer(foreign: tuple[int, ...], how: str) -> None:
    finished = FIRST.index(b'"finish_reason":"stop"')
    for end in range(len(FIRST)):
        scene = Scene(sse(FIRST[:end], cut=how == "reset"), sse(SECOND), foreign=foreign)
        record = await scene.run()
        heard = scene.heard
        assert heard.is_whole(WHOLE), end
        assert (record.outcome, record.error, record.status) == (Outcome.OK, None, 200), end
        if end < finished:
            assert scene.asked == [1, 1], end
        elif end > finished + 30:
            assert scene.asked == [1, 0], end
        if record.recovery is not None:
            assert record.recovery == "recovered"
            assert heard.ids == {ID}, end  # the envelope is the first one's
            unheard = len(START) if 0 in foreign else len(role()) + 2  # a role of ours comes with the first text
            assert heard.models == ["m-1", "m-2"] or end < unheard, end
            assert any("config.targets[0]" in comment for comment in heard.comments)
            assert [attempt.outcome for attempt in record.attempts] == [Outcome.TRUNCATED, Outcome.OK]
        assert record.sent == len(scene.sink.written)


@pytest.mark.parametrize("foreign", KINDS.values(), ids=KINDS)
async def test_the_second_answer_may_come_in_any_pieces(foreign: tuple[int, ...]) -> None:
    for pieces in islice(split_points(SECOND), 0, None, 2):
        scene = Scene(broken(), say(*pieces, headers=SSE), foreign=foreign)
        record = await scene.run()
        assert scene.heard.is_whole(WHOLE), pieces[0]
        assert record.recovery == "recovered"


@pytest.mark.parametrize("line_end", [b"\r\n", b"\r", b"\n\r"], ids=repr)
async def test_whatever_the_line_ends_are(line_end: bytes) -> None:
    first = FIRST.replace(b"\n\n", line_end + line_end) if line_end != b"\n\r" else FIRST.replace(b"\n\n", line_end)
    for end in range(0, len(first), 3):
        scene = Scene(broken(first[:end]), sse(SECOND))
        await scene.run()
        whole = scene.sink.written.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        assert Heard(whole).is_whole(WHOLE), end


@pytest.mark.parametrize("foreign", KINDS.values(), ids=KINDS)
async def test_several_choices_are_each_finished_once(foreign: tuple[int, ...]) -> None:
    one, two = ("ab", "cd", "ef"), ("x", "", "yz")
    first, second = choices(one, two), choices(("abcdef",), ("xy", "z"))
    for end in range(0, len(first), 3):
        scene = Scene(broken(first[:end]), sse(second), foreign=foreign)
        await scene.run(n=2)
        assert scene.heard.is_whole("abcdef", "xyz"), end


async def test_a_provider_that_repeats_the_role_or_never_says_it() -> None:
    repeated = b"".join(chunk({"role": "assistant", "content": piece}) for piece in ("One", " two"))
    scene = Scene(broken(repeated), sse(SECOND))
    await scene.run()
    heard = Heard(scene.sink.written.replace(b'"role":"assistant",', b""))
    assert (heard.texts, heard.done) == ({0: WHOLE}, 1)
    silent = chunk({"content": "One"})
    scene = Scene(broken(silent), sse(SECOND))
    await scene.run()
    assert (scene.heard.roles, scene.heard.texts) == ([], {0: WHOLE})  # a role behind the text helps nobody


async def test_an_azure_event_before_the_role() -> None:
    azure = chunk(None, prompt_filter_results=[{"prompt_index": 0}])
    scene = Scene(broken(azure), sse(SECOND))
    await scene.run()
    assert scene.heard.is_whole(WHOLE)


async def test_the_second_goes_on_in_the_middle_of_a_piece_and_keeps_its_own_finish() -> None:
    scene = Scene(broken(), sse(stream("One two and", " more", finish="length")))
    await scene.run()
    assert scene.heard.is_whole("One two and more")
    assert scene.heard.finishes == [(0, "length")]


# --- breaks of all kinds ---


@pytest.mark.parametrize("foreign", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize(
    "after", [b"", boom("another"), chunk({"content": "lost"}), DONE], ids=["", "2", "text", "done"]
)
async def test_an_in_band_error_is_mended_and_not_shown(after: bytes, foreign: tuple[int, ...]) -> None:
    for pieces in islice(split_points(START + boom() + after), 0, None, 5):
        if len(pieces) == 2 and len(pieces[0]) < len(role()):
            continue
        scene = Scene(say(*pieces, headers=SSE), sse(SECOND), foreign=foreign)
        record = await scene.run()
        assert scene.heard.is_whole(WHOLE), pieces[0]
        assert b"boom" not in scene.sink.written
        assert record.attempts[0].error == "upstream_status"


async def test_an_in_band_error_ends_a_stream_that_its_provider_keeps_open() -> None:
    for foreign in KINDS.values():
        scene = Scene(sse(START + boom(), hang=True), sse(SECOND), foreign=foreign)
        async with asyncio.timeout(5):
            await scene.run()
        assert scene.heard.is_whole(WHOLE)


async def test_what_stands_beside_an_error_is_not_taken_for_said() -> None:
    beside = chunk({"content": " two"}, "error", error={"message": "boom"})
    for foreign in KINDS.values():
        scene = Scene(sse(role() + chunk({"content": "One"}) + beside), sse(SECOND), foreign=foreign)
        await scene.run()
        assert scene.heard.is_whole(WHOLE), foreign


async def test_an_error_behind_the_finish_needs_no_second_answer() -> None:
    for foreign in ((), (0,)):
        scene = Scene(sse(FIRST.removesuffix(DONE) + boom()), sse(SECOND), foreign=foreign)
        record = await scene.run()
        assert scene.heard.is_whole(WHOLE), foreign
        assert (scene.asked, record.outcome, record.recovery) == ([1, 0], Outcome.OK, None)


async def test_a_silence_is_mended() -> None:
    deadlines = Deadlines(idle=0.08, client_stall=10)
    scene = Scene(sse(START, hang=True), sse(SECOND), targets={"deadlines": deadlines})
    record = await scene.run()
    assert scene.heard.is_whole(WHOLE)
    assert [attempt.error for attempt in record.attempts] == ["idle_timeout", None]


async def test_malformed_events_are_dropped_in_place() -> None:
    bad = b"data: {no\n\n"
    scene = Scene(sse(START + bad + FIRST[len(START) :]), sse(SECOND))
    record = await scene.run()
    assert scene.heard.is_whole(WHOLE)
    assert (scene.asked, record.malformed) == ([1, 0], 1)
    scene = Scene(broken(START + bad), sse(bad + SECOND))
    record = await scene.run()
    assert scene.heard.is_whole(WHOLE)
    assert record.malformed == 2


class Odd(OpenAIChat):
    """A plugin's dialect whose decoder fails on what the text says."""

    def decoder(self) -> Any:
        good = super().decoder()

        class Failing:
            def feed(self, frame: bytes) -> Iterator[Event]:
                if b"two" in frame:
                    raise KeyError("oops")
                yield from good.feed(frame)

        return Failing()


class OddOther(Odd):
    name = "other_chat"


def use(scene: Scene, *dialects: Dialect) -> None:
    known = scene.pipeline.tools.registry.dialects
    assert isinstance(known, dict)
    known |= {dialect.name: dialect for dialect in dialects}


@pytest.mark.parametrize("foreign", [(), (0,)])
async def test_a_dialect_that_fails_on_the_first_stream(
    foreign: tuple[int, ...], caplog: pytest.LogCaptureFixture
) -> None:
    one = chunk({"content": "One"})
    for pieces in ([START], [role() + one, START[len(role() + one) :]]):  # what came with it may not have gone out
        scene = Scene(say(*pieces, headers=SSE, hang=True), sse(SECOND), foreign=foreign)
        use(scene, Odd(), OddOther())
        record = await scene.run()
        assert scene.heard.is_broken(WHOLE, "upstream_error")
        assert (scene.asked, record.recovery) == ([1, 0], "unsupported")
        assert "failed on a provider's stream" in caplog.text


async def test_a_dialect_that_fails_on_the_second_stream(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene(broken(role() + chunk({"content": "One"})), sse(stream("One", " two"), hang=True), foreign=(1,))
    use(scene, OddOther())
    record = await scene.run()
    assert scene.heard.is_broken("One", "upstream_error")
    assert (record.outcome, record.recovery) == (Outcome.TRUNCATED, "unsupported")
    assert "failed on a provider's stream" in caplog.text


async def test_a_second_dialect_that_cant_be_read() -> None:
    class Mute(OtherChat):
        def decoder(self) -> Any:
            raise self._refuse()

    scene = Scene(broken(), sse(SECOND), foreign=(1,))
    use(scene, Mute())
    record = await scene.run()
    assert scene.heard.is_broken(WHOLE, "stream_truncated")
    assert (record.attempts[1].outcome, record.attempts[1].error) == (Outcome.FAILED, "unsupported_parameter")


# --- what can't be mended ---


@pytest.mark.parametrize("foreign", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize(
    "second",
    [stream("One TWO"), stream("One t"), stream(""), stream("x"), stream("On"), role() + chunk(None)],
    ids=["differs late", "shorter", "empty", "differs at once", "short piece", "ends"],
)
async def test_two_texts_are_never_spliced(second: bytes, foreign: tuple[int, ...]) -> None:
    for pieces in islice(split_points(second), 0, None, 29):
        scene = Scene(broken(), say(*pieces, headers=SSE), foreign=foreign)
        record = await scene.run()
        heard = scene.heard
        assert heard.is_broken("One two", "stream_truncated")
        assert heard.texts[0] == "One two"
        assert (record.outcome, record.error, record.recovery) == (Outcome.TRUNCATED, "stream_truncated", "failed")


async def test_a_divergence_ends_the_providers_stream_and_blames_nobody() -> None:
    rules = CircuitRules(failures=1)
    scene = Scene(broken(), sse(stream("No")[:-30], hang=True), targets={"circuit": rules, "circuit_key": b"second"})
    first, second = scene.tree.children  # type: ignore[union-attr]
    scene.tree = make_fallback(*make_targets("p0", recovery=ON, circuit=rules, circuit_key=b"first"), second)
    async with asyncio.timeout(5):
        await scene.run()
    breakers = scene.pipeline.tools.breakers
    assert breakers.is_open(b"first", rules)
    assert not breakers.is_open(b"second", rules)
    assert first is not second


@pytest.mark.parametrize(
    ("recovery", "asked"), [(Recovery(attempts=1), [1, 1, 0]), (Recovery(mode="continue", attempts=2), [1, 1, 1])]
)
@pytest.mark.parametrize(
    "second",
    [broken(SECOND[: len(SECOND) // 2]), sse(SECOND[: len(SECOND) // 2] + boom()), sse(stream("No"))],
    ids=["cut", "error", "differs"],
)
@pytest.mark.parametrize("foreign", [(), (0, 1, 2)])
async def test_as_many_others_are_asked_as_the_config_allows(
    second: Reply, recovery: Recovery, asked: list[int], foreign: tuple[int, ...]
) -> None:
    scene = Scene(broken(), second, sse(SECOND), recovery=recovery, foreign=foreign)
    record = await scene.run()
    assert scene.asked == asked
    if recovery.attempts == 2:
        assert scene.heard.is_whole(WHOLE)
        assert [attempt.outcome for attempt in record.attempts] == [Outcome.TRUNCATED, Outcome.TRUNCATED, Outcome.OK]
        assert (record.outcome, record.error, record.recovery) == (Outcome.OK, None, "recovered")
        assert [comment.count("config.targets[1]") for comment in scene.heard.comments] == [0, 1]
    else:
        assert scene.heard.is_broken(WHOLE, "stream_truncated")
        assert (record.outcome, record.recovery) == (Outcome.TRUNCATED, "failed")


async def test_a_second_that_refuses_is_never_shown() -> None:
    refusal = say(b'{"error":{"message":"no prefill here"}}', status=400)
    scene = Scene(broken(), refusal, refusal)
    record = await scene.run()
    assert scene.heard.is_broken(WHOLE, "stream_truncated")
    assert b"prefill" not in scene.sink.written
    assert (scene.asked, record.status, record.recovery) == ([1, 1, 1], 200, "failed")
    scene = Scene(broken(), refusal, sse(SECOND))
    await scene.run()
    assert scene.heard.is_whole(WHOLE)  # a target that never answered uses no attempt up


async def test_a_second_is_tried_again_like_any_target() -> None:
    scene = Scene(broken(), sse(SECOND), targets={"retry": Retry(attempts=1)})
    scene.providers[1].replies = [say(b"{}", status=503), sse(SECOND)]
    record = await scene.run()
    assert scene.heard.is_whole(WHOLE)
    assert (scene.asked, record.retries) == ([1, 2], 1)


async def test_nobody_else_is_there() -> None:
    scene = Scene(broken())
    record = await scene.run()
    assert scene.heard.is_broken("One two", "stream_truncated")
    assert (record.outcome, record.recovery, len(record.attempts)) == (Outcome.TRUNCATED, "failed", 1)
    assert record.sent == len(scene.sink.written)


async def test_a_providers_own_error_is_told_when_nobody_goes_on() -> None:
    scene = Scene(sse(START + boom("rate_limit_exceeded")))
    record = await scene.run()
    assert [error["message"] for error in scene.heard.errors] == ["boom"]
    assert record.error == "upstream_status"


async def test_without_the_wish_nothing_is_mended() -> None:
    scene = Scene(broken(), sse(SECOND), recovery=None)
    record = await scene.run()
    assert scene.heard.is_broken(WHOLE, "stream_truncated")
    assert (scene.asked, record.lane, record.recovery) == ([1, 0], Lane.FRAMED, None)


CALLING = chunk({"tool_calls": [{"index": 0, "id": "call_1", "function": {"name": "f", "arguments": '{"a"'}}]})
NAMELESS = chunk({"tool_calls": [{"index": 0, "id": "call_1", "type": "function"}]})


@pytest.mark.parametrize("calling", [CALLING, NAMELESS, chunk({"function_call": {"name": "f", "arguments": ""}})])
@pytest.mark.parametrize("after", [b"", boom()], ids=["cut", "error"])
async def test_never_inside_a_tool_call(calling: bytes, after: bytes) -> None:
    for foreign in ((), (0,)):
        if foreign and calling is NAMELESS:
            continue  # the client has not heard of it yet
        scene = Scene(broken(START + calling + after), sse(SECOND), foreign=foreign)
        record = await scene.run()
        assert len(scene.heard.errors) == 1
        assert (scene.asked, record.outcome, record.recovery) == ([1, 0], Outcome.TRUNCATED, "tool_call")


async def test_a_tool_call_of_the_second_passes_and_is_then_in_the_way_itself() -> None:
    calling = stream("One two").removesuffix(chunk({}, "stop") + DONE) + CALLING
    scene = Scene(broken(), sse(calling + chunk({}, "tool_calls") + DONE))
    await scene.run()
    assert scene.heard.calls[0]["id"] == "call_1"
    assert scene.heard.finishes == [(0, "tool_calls")]
    scene = Scene(broken(), broken(calling), sse(SECOND), recovery=Recovery(attempts=5))
    record = await scene.run()
    assert len(scene.heard.errors) == 1
    assert (scene.asked, record.recovery) == ([1, 1, 0], "tool_call")


@pytest.mark.parametrize("foreign", [(), (0,)])
async def test_a_text_over_the_limit_is_passed_on_but_not_mended(
    monkeypatch: pytest.MonkeyPatch, foreign: tuple[int, ...]
) -> None:
    monkeypatch.setattr(transcript_module, "TEXT_LIMIT", 7)
    scene = Scene(broken(), sse(SECOND), foreign=foreign)
    await scene.run()
    assert scene.heard.is_whole(WHOLE)  # 7 characters so far
    scene = Scene(broken(START + chunk({"content": " "})), sse(SECOND), foreign=foreign)
    record = await scene.run()
    assert scene.heard.is_broken(WHOLE, "stream_truncated")
    assert (scene.asked, record.recovery) == ([1, 0], "too_long")
    scene = Scene(sse(FIRST), sse(SECOND), foreign=foreign)
    record = await scene.run()
    assert scene.heard.is_whole(WHOLE)
    assert (record.outcome, record.recovery) == (Outcome.OK, "too_long")


async def test_a_mebibyte_is_mended_and_a_letter_more_is_not() -> None:
    text = "x" * (1 << 14)
    start = [role(), *[chunk({"content": text})] * 64]
    scene = Scene(say(*start, headers=SSE, cut=True), sse(stream(*[text] * 64, "y")))
    await scene.run()
    assert scene.heard.is_whole(text * 64 + "y")
    scene = Scene(say(*start, chunk({"content": "y"}), headers=SSE, cut=True), sse(SECOND))
    assert (await scene.run()).recovery == "too_long"
    assert scene.asked == [1, 0]


async def test_a_refusal_is_no_text_that_could_be_gone_on_from() -> None:
    scene = Scene(broken(START + chunk({"refusal": "I can't"})), sse(SECOND))
    record = await scene.run()
    assert (scene.asked, record.recovery) == ([1, 0], "unsupported")


# --- a second that is no stream ---


@pytest.mark.parametrize("foreign", [(), (0,), (1,), (0, 1)])
async def test_a_second_that_is_no_stream_is_taken_whole(foreign: tuple[int, ...]) -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2}
    scene = Scene(broken(), say(answer(WHOLE, usage=usage)), foreign=foreign)
    record = await scene.run(stream_options={"include_usage": True})
    assert scene.heard.is_whole(WHOLE)
    assert (record.usage, record.outcome, record.recovery) == (Usage(input=3, output=2), Outcome.OK, "recovered")
    assert [usage["total_tokens"] for usage in scene.heard.usages] == [5]
    assert record.sent == len(scene.sink.written)


@pytest.mark.parametrize("body", [answer("No"), answer("One"), b"{}", b"<html>", b'{"choices":[]}'])
@pytest.mark.parametrize("foreign", [(), (1,)])
async def test_a_second_that_is_no_stream_and_no_use(body: bytes, foreign: tuple[int, ...]) -> None:
    scene = Scene(broken(), say(body), sse(SECOND), foreign=foreign, recovery=Recovery(attempts=2))
    await scene.run()
    assert scene.heard.is_whole(WHOLE)
    scene = Scene(broken(), say(body), foreign=foreign, explain=True)
    record = await scene.run()
    assert scene.heard.is_broken("One two", "stream_truncated")
    assert (record.outcome, record.recovery) == (Outcome.TRUNCATED, "failed")
    assert scene.sink.written.count(b": config.targets") == 1


async def test_a_second_that_is_no_stream_and_too_large() -> None:
    large = say(answer(WHOLE + "x" * 500), hang=True)
    scene = Scene(broken(), large, sse(SECOND), recovery=Recovery(attempts=2), options={"unary_buffer": 300})
    await scene.run()
    assert scene.heard.is_whole(WHOLE)


async def test_a_client_that_takes_nothing_of_a_second_that_is_no_stream() -> None:
    for text in (WHOLE, "No"):
        deadlines = Deadlines(client_stall=0.08, idle=30)
        scene = Scene(broken(), say(answer(text)), targets={"deadlines": deadlines})
        original = scene.sink.write

        def write(data: bytes, original: Any = original, scene: Scene = scene) -> None:
            if b"broke off" in data:
                scene.sink.room = 1
            original(data)

        scene.sink.write = write  # type: ignore[method-assign]
        async with asyncio.timeout(5):
            record = await scene.run()
        assert (record.outcome, record.status) == (Outcome.CLIENT_STALLED, 499)
        assert scene.sink.aborted


# --- usage ---


COUNTED = {"prompt_tokens": 3, "completion_tokens": 2}


@pytest.mark.parametrize("foreign", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("wanted", [True, False])
async def test_both_attempts_are_charged_and_shown_to_who_asked(wanted: bool, foreign: tuple[int, ...]) -> None:
    first = role() + chunk({"content": "One"}, usage=COUNTED)
    scene = Scene(broken(first), sse(stream(WHOLE, usage=(10, 7))), foreign=foreign)
    record = await scene.run(**({"stream_options": {"include_usage": True}} if wanted else {}))
    heard = scene.heard
    assert heard.is_whole(WHOLE)
    assert record.usage == Usage(input=13, output=9)
    assert [attempt.usage for attempt in record.attempts] == [Usage(input=3, output=2), Usage(input=10, output=7)]
    said = [usage for usage in heard.usages if usage["prompt_tokens"] == 13]
    assert [usage["total_tokens"] for usage in said] == ([22] if wanted else [])
    assert b"include_usage" in scene.providers[1].asked[0].body  # asked for, whoever sees it


async def test_usage_that_never_came_is_not_invented() -> None:
    scene = Scene(broken(), sse(SECOND))
    record = await scene.run(stream_options={"include_usage": True})
    assert (record.usage, scene.heard.usages) == (None, [])


async def test_a_failed_second_is_charged_too() -> None:
    second = chunk({"content": "One"}, usage=COUNTED)
    for reply in (broken(role() + second), sse(role() + second + boom())):
        scene = Scene(broken(), reply)
        record = await scene.run()
        assert record.usage == Usage(input=3, output=2)


def test_add_usage() -> None:
    one = Usage(input=1, output=2, cached=3, reasoning=4)
    two = Usage(input=10, output=20, cached=30, reasoning=40, estimated=True)
    assert add_usage(one, two) == Usage(input=11, output=22, cached=33, reasoning=44, estimated=True)
    assert add_usage(None, one) == add_usage(one, None) == one


# --- thoughts ---


@pytest.mark.parametrize("foreign", KINDS.values(), ids=KINDS)
async def test_thoughts_are_told_once(foreign: tuple[int, ...]) -> None:
    def thinking(thought: str) -> bytes:
        return role() + chunk({"reasoning_content": thought}) + FIRST[len(role()) :]

    for end in range(0, len(thinking("hm")), 7):
        scene = Scene(broken(thinking("hm")[:end]), sse(thinking("ah")), foreign=foreign)
        await scene.run()
        assert scene.heard.is_whole(WHOLE), end
        assert scene.heard.thoughts[0] in ("hm", "ah"), end


# --- deaths ---


@pytest.mark.parametrize("second", ["silent", "streaming"])
async def test_a_stop_during_recovery_is_said_at_once(second: str) -> None:
    reply = hang if second == "silent" else sse(SECOND[: len(SECOND) // 2], hang=True)
    scene = Scene(broken(), reply, sse(SECOND), recovery=Recovery(attempts=5))
    running = asyncio.create_task(scene.run())
    await settle()
    assert scene.asked == [1, 1, 0]
    scene.pipeline.stop(OVERLOADED)
    async with asyncio.timeout(1):
        record = await running
    assert len(scene.heard.errors) == 1
    assert (scene.asked, record.outcome) == ([1, 1, 0], Outcome.TRUNCATED)


async def test_a_stop_is_no_break_that_others_could_mend() -> None:
    scene = Scene(sse(START, hang=True), sse(SECOND))
    running = asyncio.create_task(scene.run())
    await settle()
    scene.pipeline.stop(OVERLOADED)
    record = await running
    assert scene.heard.is_broken(WHOLE, "overloaded")
    assert (scene.asked, record.error) == ([1, 0], "overloaded")


async def test_a_stop_during_the_wait_for_a_retry_of_the_second() -> None:
    scene = Scene(broken(), say(b"{}", status=503), targets={"retry": Retry(attempts=3)}, options={"retry_wait": 30.0})
    running = asyncio.create_task(scene.run())
    await settle()
    scene.pipeline.stop(OVERLOADED)
    async with asyncio.timeout(1):
        record = await running
    assert scene.heard.is_broken(WHOLE, "stream_truncated")
    assert (scene.asked, record.outcome) == ([1, 1], Outcome.TRUNCATED)


async def test_the_calls_time_is_not_mended() -> None:
    deadlines = Deadlines(total=0.1, idle=30, client_stall=10)
    scene = Scene(sse(START, hang=True), sse(SECOND), targets={"deadlines": deadlines})
    record = await scene.run()
    assert scene.heard.is_broken(WHOLE, "total_timeout")
    assert (scene.asked, record.error) == ([1, 0], "total_timeout")


@pytest.mark.parametrize("second", ["silent", "streaming", "retry"])
async def test_a_client_that_leaves_during_recovery_ends_it(second: str) -> None:
    replies = {
        "silent": hang,
        "streaming": sse(SECOND[: len(SECOND) // 2], hang=True),
        "retry": say(b"{}", status=503),
    }
    scene = Scene(
        broken(), replies[second], sse(SECOND), recovery=Recovery(attempts=5), targets={"retry": Retry(attempts=1)},
        options={"retry_wait": 30.0},
    )  # fmt: skip
    running = asyncio.create_task(scene.run())
    await settle()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert scene.sink.aborted
    record = scene.record
    assert (record.outcome, record.status, scene.asked) == (Outcome.CLIENT_LEFT, 499, [1, 1, 0])
    assert record.attempts[0].outcome is Outcome.TRUNCATED
    assert record.attempts[1].outcome is (Outcome.FAILED if second == "retry" else Outcome.CLIENT_LEFT)


async def test_a_client_that_is_lost_while_it_is_slow() -> None:
    scene = Scene(broken(), sse(SECOND, hang=True), room=len(START) + 200)
    running = asyncio.create_task(scene.run())
    await settle()
    assert scene.sink.paused
    scene.sink.abort()
    record = await running
    assert (record.outcome, record.attempts[1].outcome) == (Outcome.CLIENT_LEFT, Outcome.CLIENT_LEFT)


@pytest.mark.parametrize("when", ["first", "second"])
async def test_a_client_that_takes_nothing_is_cut_and_nobody_else_is_asked(when: str) -> None:
    room = 1 if when == "first" else len(START) + 200
    scene = Scene(
        broken() if when == "second" else sse(START, cut=True), sse(SECOND, hang=True), sse(SECOND), room=room,
        recovery=Recovery(attempts=5), targets={"deadlines": Deadlines(client_stall=0.08, idle=30)},
    )  # fmt: skip
    async with asyncio.timeout(5):
        record = await scene.run()
    assert scene.sink.aborted
    assert (record.outcome, record.error) == (Outcome.CLIENT_STALLED, "client_stalled")
    assert scene.asked == ([1, 0, 0] if when == "first" else [1, 1, 0])


async def test_a_slow_client_gets_the_whole_answer_in_the_end() -> None:
    scene = Scene(broken(), sse(SECOND), room=50)
    running = asyncio.create_task(scene.run())
    while not running.done():
        await asyncio.sleep(0)
        scene.sink.drain()
    await running
    assert scene.heard.is_whole(WHOLE)


# --- explained ---


@pytest.mark.parametrize("second", [sse(SECOND), say(answer(WHOLE)), sse(stream("No"))], ids=["stream", "whole", "no"])
async def test_the_stream_says_why_at_its_end(second: Reply) -> None:
    scene = Scene(broken(), second, explain=True)
    await scene.run()
    comment = scene.heard.comments[-1]
    assert scene.sink.written.endswith(b": " + comment.encode() + b"\n\n")
    assert "config.targets[0] tried: 200" in comment
    assert "then stream_truncated" in comment
    assert "config.targets[1] tried: 200" in comment
    assert sum("tried: 200" in comment for comment in scene.heard.comments) == 1
    assert b"tried" in scene.sink.headers[b"x-aiogateway-explain"]


def test_a_comment_is_one_line_of_ascii() -> None:
    assert write_comment("a ☃") == b": a ?\n\n"


# --- text completions ---


async def test_a_text_completion_is_mended_too() -> None:
    def piece(text: str, finish: str | None = None) -> bytes:
        return chunk(None, choices=[{"index": 0, "text": text, "logprobs": None, "finish_reason": finish}])

    first = piece("One") + piece(" two") + piece("", "stop") + DONE
    for end in range(len(piece("One")), len(first)):
        scene = Scene(broken(first[:end]), sse(first))
        use(scene, OpenAICompletions())
        request = make_request(
            {"model": "m", "prompt": "?", "stream": True}, endpoint=Endpoint.COMPLETIONS, dialect="openai_completions"
        )

        async def resolve(request: Any = request, tree: Tree = scene.tree) -> Any:
            return request, tree

        await scene.pipeline.run(scene.call, scene.sink, resolve)
        text = scene.sink.written.replace(b'"text":"', b'"delta":{"content":"').replace(b'","index"', b'"},"index"')
        text = text.replace(b'","logprobs"', b'"},"logprobs"').replace(b'"},"index":0,"logprobs"', b'"},"index":0,"l"')
        heard = Heard(text)
        assert (heard.texts, heard.done, heard.finishes) == ({0: "One two"}, 1, [(0, "stop")]), end


# --- parts ---


def resumed(*heard: Event, spent: Usage | None = None, choices: int = 1) -> ResumedLane:
    transcript = Transcript()
    for event in heard:
        transcript.note(event)
    chat = OpenAIChat()
    envelope = Envelope(id="ours", model="asked", created=5, include_usage=True)
    return ResumedLane(
        OtherChat(), chat, chat.encoder(envelope), transcript, max_event=1 << 16, choices=choices, spent=spent
    )


def test_an_answer_without_an_envelope_goes_on_in_the_first_ones() -> None:
    lane = resumed(Begin("c-1", "m-1", 3), Text("a"))
    out = lane.take([Text("ab"), Finish("stop")]) + lane.end(None)
    heard = Heard(out)
    assert (heard.ids, heard.created, heard.models, heard.texts) == ({"c-1"}, {3}, ["m-1"], {0: "b"})
    lane = resumed(Text("a"))
    heard = Heard(lane.take([Begin("c-2", "m-2", 4), Text("ab"), Finish("stop")]) + lane.end(None))
    assert (heard.ids, heard.created, heard.models) == ({"ours"}, {5}, ["m-2"])


def test_the_error_of_a_second_that_said_nothing_is_kept() -> None:
    lane = resumed(Text("a"))
    error = IdleTimeout("x")
    assert lane.end(error) == b""
    assert (lane.verdict.error, lane.verdict.unsaid) == (error, True)


def test_nothing_follows_a_failure() -> None:
    error = StreamBroken("x")
    lane = resumed(Text("a"))
    assert lane.take([Text("a"), Failure(error), Text("b"), UsageReport(Usage(input=1)), Finish("stop")]) == b""
    assert (lane.verdict.error, lane.verdict.usage, lane.settled()) == (error, None, False)
    assert lane.end(None) == b""


def test_usage_goes_out_with_what_was_spent_before() -> None:
    lane = resumed(Text("a"), spent=Usage(input=1, output=1))
    lane.take([Text("a"), Finish("stop"), UsageReport(Usage(input=2, output=2))])
    assert Heard(lane.end(None)).usages[0]["total_tokens"] == 6
    assert lane.verdict.usage == Usage(input=2, output=2)


def test_choices_that_were_finished_count() -> None:
    lane = resumed(Text("a"), Text("x", 1), Finish("stop", 1), choices=2)
    assert not lane.settled()
    out = lane.take([Text("a"), Text("x", 1), Finish("stop", 1)])
    assert (out, lane.settled()) == (b"", False)
    out = lane.take([Finish("stop"), Reasoning("late", 5), ToolCall(0, "{}", "id", "f", 6)])
    assert lane.settled()
    assert Heard(out + lane.end(None)).done == 1


def test_conclude() -> None:
    for error, outcome, closed_by in [
        (None, Outcome.OK, "upstream"),
        (STALLED, Outcome.CLIENT_STALLED, "gateway"),
        (StreamBroken("x"), Outcome.TRUNCATED, "upstream"),
    ]:
        call, attempt = make_call(), Attempt(target="config", provider="p", model="m", start=0)
        conclude(call, attempt, error)
        assert (call.outcome, attempt.outcome, attempt.closed_by) == (outcome, outcome, closed_by)
        assert call.error == attempt.error == (error and error.code)


@pytest.mark.parametrize("echo", ["reset", "cancel"])
async def test_waiting_for_a_client_that_takes_nothing(echo: str) -> None:
    sink, watch = FakeSink(room=1), FakeWatch()
    sink.start(200, [])
    assert await wait_for_client(sink, FakeWatch()) is None  # type: ignore[arg-type]
    sink.write(b"ab")
    waiting = asyncio.create_task(wait_for_client(sink, watch))  # type: ignore[arg-type]
    await settle()
    assert watch.on_stall is not None
    watch.on_stall(STALLED)
    if echo == "cancel":
        waiting.cancel()
    assert await waiting is STALLED
    assert sink.aborted
