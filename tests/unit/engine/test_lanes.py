from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import orjson
import pytest

from aiogateway.dialects.openai_chat import OpenAIChat
from aiogateway.dialects.openai_responses import OpenAIResponses
from aiogateway.engine import lanes
from aiogateway.engine.lanes import CheckedLane, SplicedLane, TranslatedLane, last_blank_line
from aiogateway.engine.transcript import Transcript
from aiogateway.errors import GatewayError, IdleTimeout, StreamBroken, UpstreamStatus
from aiogateway.neutral import Envelope, Failure, Finish, Text, UsageReport
from aiogateway.testing import split_points
from aiogateway.types import Usage
from aiogateway.wire.sse import Splitter
from tests.unit.engine.fakes import DONE, event, usage_event

CHAT = OpenAIChat()
MAX = 1 << 20
LINE_ENDS = {"lf": b"\n", "crlf": b"\r\n", "cr": b"\r"}
USAGE = Usage(input=3, output=2)
AZURE = b'data: {"choices":[],"id":"","prompt_filter_results":[{"prompt_index":0}]}\n\n'
IDLE = IdleTimeout("the provider sent nothing for 1 s")

A, B, STOP, COUNTED = event("a"), event("b"), event("", "stop"), usage_event()
HIDING = {
    "usage last": ((A, B, STOP, COUNTED, DONE), (A, B, STOP, DONE)),
    "usage first": ((COUNTED, A, STOP, DONE), (A, STOP, DONE)),
    "usage in the middle": ((A, COUNTED, STOP, DONE), (A, STOP, DONE)),
    "usage at the very end": ((A, STOP, DONE, COUNTED), (A, STOP, DONE)),
    "usage twice": ((A, usage_event(1, 1), STOP, COUNTED, DONE), (A, STOP, DONE)),
    "usage twice in a row": ((A, STOP, usage_event(1, 1), COUNTED, DONE), (A, STOP, DONE)),
    "azure's empty event": ((AZURE, A, STOP, COUNTED, DONE), (AZURE, A, STOP, DONE)),
    "comments around": ((b": x\n\n", A, STOP, b": y\n\n", COUNTED, b": z\n\n", DONE),
                        (b": x\n\n", A, STOP, b": y\n\n", b": z\n\n", DONE)),
}  # fmt: skip


def run(lane: lanes.Lane, pieces: Iterable[bytes], error: GatewayError | None = None) -> bytes:
    out = [lane.feed(piece) for piece in pieces]
    return b"".join(out) + lane.end(error)


def spliced(**options: object) -> SplicedLane:
    return SplicedLane(CHAT, **{"max_event": MAX, **options})  # type: ignore[arg-type]


def checked(**options: object) -> CheckedLane:
    return CheckedLane(CHAT, **{"max_event": MAX, **options})  # type: ignore[arg-type]


def translated(*, include_usage: bool = False, **options: object) -> TranslatedLane:
    encoder = CHAT.encoder(Envelope(id="ours", model="m", created=1, include_usage=include_usage))
    return TranslatedLane(CHAT, CHAT, encoder, **{"max_event": MAX, **options})  # type: ignore[arg-type]


Maker = Callable[..., Any]
MAKERS: dict[str, Maker] = {"spliced": spliced, "checked": checked}


def events_of(data: bytes) -> list[bytes]:
    splitter = Splitter()
    frames = [frame for frame in splitter.feed(data) if frame.strip()]
    assert not splitter.rest().strip()
    return frames


def error_of(out: bytes) -> dict[str, object]:
    """The error in the last event, which must be whole."""
    last = events_of(out)[-1]
    shown: dict[str, object] = orjson.loads(CHAT.data_of(last))["error"]
    return shown


# --- the same bytes ---


@pytest.mark.parametrize("line_end", LINE_ENDS.values(), ids=LINE_ENDS)
@pytest.mark.parametrize("maker", MAKERS.values(), ids=MAKERS)
def test_a_stream_passes_byte_for_byte_at_every_split(maker: Maker, line_end: bytes) -> None:
    body = b"".join((b"\xef\xbb\xbf: hello\n\n", A, AZURE, B, STOP, COUNTED, DONE)).replace(b"\n", line_end)
    for pieces in split_points(body):
        lane = maker()
        assert run(lane, pieces) == body, pieces[0]
        assert (lane.verdict.error, lane.verdict.usage, lane.verdict.malformed) == (None, USAGE, 0)


@pytest.mark.parametrize("line_end", LINE_ENDS.values(), ids=LINE_ENDS)
@pytest.mark.parametrize(("frames", "seen"), HIDING.values(), ids=HIDING)
@pytest.mark.parametrize("maker", MAKERS.values(), ids=MAKERS)
def test_only_the_usage_event_is_hidden_at_every_split(
    maker: Maker, frames: Sequence[bytes], seen: Sequence[bytes], line_end: bytes
) -> None:
    body = b"".join(frames).replace(b"\n", line_end)
    expected = b"".join(seen).replace(b"\n", line_end)
    for pieces in split_points(body):
        lane = maker(hide_usage=True)
        assert run(lane, pieces) == expected, pieces[0]
        assert (lane.verdict.error, lane.verdict.usage) == (None, USAGE)


@pytest.mark.parametrize("maker", MAKERS.values(), ids=MAKERS)
def test_mixed_line_ends_change_no_event(maker: Maker) -> None:
    ends = [b"\n\n", b"\r\n\r\n", b"\r\r", b"\n\r\n", b"\r\n\n", b"\n\r", b"\r\r"]
    frames = [A, B, event("c"), event("d"), STOP, COUNTED, DONE]
    body = b"".join(frame[:-2] + end for frame, end in zip(frames, ends, strict=True))
    expected = [CHAT.data_of(frame) for frame in frames if frame is not COUNTED]
    for pieces in split_points(body):
        lane = maker(hide_usage=True)
        out = run(lane, pieces)
        assert [CHAT.data_of(frame) for frame in events_of(out)] == expected, pieces[0]
        assert (lane.verdict.error, lane.verdict.usage) == (None, USAGE)


def test_whole_events_leave_at_once() -> None:
    lane = spliced()
    assert lane.feed(A + B[:5]) == A
    assert lane.feed(B[5:]) == B
    for end in (b"\n\n", b"\r\n\r\n", b"\r\r"):
        assert spliced().feed(A[:-2] + end) == A[:-2] + end


KEPT = {
    "usage on a chunk with choices": event("x", usage={"prompt_tokens": 3, "completion_tokens": 2}),
    "usage null": event("x", usage=None),
    "the mark in a nested object": event("x", tool={"choices": [], "usage": {}}),
    "the marks in a text": event('"choices":[] "choices": [], "usage": {"prompt_tokens": 1}'),
    "azure": AZURE,
    "usage null without choices": b'data: {"choices":[],"usage":null}\n\n',
    "no JSON": b'data: {"choices":[],"usage":{\n\n',
}


@pytest.mark.parametrize("kept", KEPT.values(), ids=KEPT)
def test_what_is_more_than_usage_stays(kept: bytes) -> None:
    body = A + kept + STOP + DONE
    for pieces in split_points(body):
        assert run(spliced(hide_usage=True), pieces) == body, pieces[0]


def test_the_other_spelling_of_the_mark_is_hidden_too() -> None:
    spaced = COUNTED.replace(b'"choices":[]', b'"choices": []')
    assert spaced != COUNTED
    lane = spliced(hide_usage=True)
    assert run(lane, [A + spaced + COUNTED + STOP, spaced + DONE]) == A + STOP + DONE
    assert lane.verdict.usage == USAGE


def test_usage_is_shown_to_a_client_that_asked() -> None:
    lane = spliced()
    assert run(lane, [A, STOP, COUNTED, DONE]) == A + STOP + COUNTED + DONE
    assert lane.verdict.usage == USAGE


def test_the_tail_is_long_enough_for_ends_that_come_in_reads_of_their_own() -> None:
    lane = spliced()
    pieces = [A, STOP, b": x\n\n", COUNTED, b": y\n\n", DONE]
    assert run(lane, pieces) == b"".join(pieces)
    assert (lane.verdict.error, lane.verdict.usage) == (None, USAGE)


def test_the_tail_is_a_copy_of_bounded_size() -> None:
    lane = spliced()
    for _ in range(50):
        lane.feed(event("x" * 100_000))
    held = lane._tail
    assert len(held) == lanes.TAIL_PIECES
    assert {len(piece) for piece in held} == {lanes.TAIL_PIECE}


# --- ends ---


@pytest.mark.parametrize("line_end", LINE_ENDS.values(), ids=LINE_ENDS)
@pytest.mark.parametrize("maker", [*MAKERS.values(), translated], ids=[*MAKERS, "translated"])
def test_a_forgotten_terminator_is_added_at_every_split(maker: Maker, line_end: bytes) -> None:
    body = (A + STOP).replace(b"\n", line_end)
    for pieces in split_points(body):
        lane = maker()
        out = run(lane, pieces)
        assert out.endswith(DONE)
        assert out.count(DONE) == 1
        if maker is not translated:
            assert out == body + DONE
        assert lane.verdict.error is None


@pytest.mark.parametrize("maker", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize("last", [STOP, DONE], ids=["finish", "done"])
def test_a_last_event_without_its_blank_line_counts(maker: Maker, last: bytes) -> None:
    for cut in (1, 2):
        for pieces in split_points(A + STOP + last[:-cut]):
            lane = maker()
            out = run(lane, pieces)
            assert out == A + STOP + last + (b"" if last is DONE else DONE), pieces[0]
            assert lane.verdict.error is None


def test_a_last_usage_event_without_its_blank_line_is_hidden_and_read() -> None:
    lane = spliced(hide_usage=True)
    assert run(lane, [A + STOP + COUNTED[:-2]]) == A + STOP + DONE
    assert lane.verdict.usage == USAGE


@pytest.mark.parametrize("maker", [*MAKERS.values(), translated], ids=[*MAKERS, "translated"])
@pytest.mark.parametrize("error", [None, IDLE], ids=["clean end", "error"])
def test_a_truncation_says_so_and_invents_nothing(maker: Maker, error: GatewayError | None) -> None:
    body = A + B
    for end in range(len(body)):
        lane = maker()
        out = run(lane, [body[:end]] if end else [], error)
        failure = lane.verdict.error
        assert isinstance(failure, StreamBroken if error is None else IdleTimeout), end
        assert error_of(out)["code"] == failure.code
        assert b"[DONE]" not in out
        assert b'"finish_reason":"' not in out
        whole = [frame for frame in (A, B) if body[:end].count(frame)]
        if maker is not translated and error is not None:
            assert events_of(out)[:-1] == whole, end  # not a byte of the half event


@pytest.mark.parametrize("maker", MAKERS.values(), ids=MAKERS)
def test_an_error_after_the_finish_changes_nothing(maker: Maker) -> None:
    lane = maker()
    assert run(lane, [A + STOP, COUNTED[:20]], IDLE) == A + STOP + DONE
    assert lane.verdict.error is None
    lane = maker()
    assert run(lane, [A + STOP + DONE], IDLE) == A + STOP + DONE
    assert lane.verdict.error is None


def test_a_half_last_event_is_dropped_although_the_end_was_clean() -> None:
    lane = spliced()
    assert run(lane, [A + STOP + b'data: {"id":"c","cho']) == A + STOP + DONE
    lane = spliced()
    out = run(lane, [A + b'data: {"id":"c","cho'])
    assert events_of(out)[:-1] == [A]
    assert isinstance(lane.verdict.error, StreamBroken)


def test_finish_reasons_in_a_text_are_none() -> None:
    lane = spliced()
    run(lane, [event('"finish_reason":"stop" data: [DONE]')])
    assert isinstance(lane.verdict.error, StreamBroken)


@pytest.mark.parametrize("maker", [*MAKERS.values(), translated], ids=[*MAKERS, "translated"])
def test_n_choices_are_over_when_each_has_finished(maker: Maker) -> None:
    one = event("a") + event("b", index=1) + event("", "stop")
    both = one + event("", "length", index=1)
    for pieces in split_points(one):
        lane = maker(choices=2)
        assert b"[DONE]" not in run(lane, pieces)
        assert isinstance(lane.verdict.error, StreamBroken)
    for pieces in split_points(both):
        lane = maker(choices=2)
        assert run(lane, pieces).endswith(DONE)
        assert lane.verdict.error is None


def test_finishes_of_n_choices_may_share_an_event() -> None:
    choices = [{"index": index, "delta": {}, "finish_reason": "stop"} for index in range(3)]
    body = b"data: " + orjson.dumps({"choices": choices}) + b"\n\n"
    assert run(spliced(choices=3), [A, body]) == A + body + DONE


def test_finishes_of_n_choices_may_lie_further_apart_than_the_tail() -> None:
    body = [event("", "stop"), *[event("x" * 5000, index=1)] * 20, event("", "stop", index=1)]
    assert run(spliced(choices=2), body) == b"".join(body) + DONE


@pytest.mark.parametrize("maker", MAKERS.values(), ids=MAKERS)
def test_settled_is_a_finish_with_nothing_half_behind_it(maker: Maker) -> None:
    lane = maker()
    assert not lane.settled()
    lane.feed(A)
    assert not lane.settled()
    lane.feed(STOP)
    assert lane.settled()
    lane.feed(COUNTED[:9])
    assert not lane.settled()
    lane.feed(COUNTED[9:])
    assert lane.settled()
    alone = maker()
    alone.feed(DONE)
    assert alone.settled()


@pytest.mark.parametrize("maker", [*MAKERS.values(), translated], ids=[*MAKERS, "translated"])
def test_settled_waits_for_all_choices(maker: Maker) -> None:
    lane = maker(choices=2)
    lane.feed(A + STOP)
    assert not lane.settled()
    lane.feed(event("", "stop", index=1))
    assert lane.settled()


# --- in-band errors ---

BOOM = b'data: {"error":{"message":"boom","code":"rate_limit_exceeded"}}\n\n'


@pytest.mark.parametrize("end", [None, IDLE], ids=["clean end", "error"])
@pytest.mark.parametrize("after", [b"", DONE], ids=["last", "then done"])
@pytest.mark.parametrize("maker", MAKERS.values(), ids=MAKERS)
def test_a_providers_error_passes_and_is_the_verdict(maker: Maker, after: bytes, end: GatewayError | None) -> None:
    body = A + BOOM + after
    for pieces in split_points(body):
        lane = maker()
        assert run(lane, pieces, end) == body, pieces[0]  # nothing is added to what the provider said
        assert isinstance(lane.verdict.error, UpstreamStatus)
        assert lane.verdict.error.status == 429


def test_what_only_mentions_an_error_is_none() -> None:
    lane = spliced()
    body = A + event("x", error=None) + event('"error"') + STOP + DONE
    assert run(lane, [body]) == body
    assert lane.verdict.error is None


def test_a_failed_response_is_the_verdict_where_the_wire_has_no_terminator() -> None:
    dialect = OpenAIResponses()
    data = b'{"type":"response.failed","response":{"error":{"code":"server_error"}}}'
    failed = b"event: response.failed\ndata: " + data + b"\n\n"
    lane = SplicedLane(dialect, max_event=MAX)
    assert run(lane, [failed]) == failed
    assert isinstance(lane.verdict.error, UpstreamStatus)


def test_a_wire_without_a_terminator_gets_none() -> None:
    dialect = OpenAIResponses()
    body = b'event: response.completed\ndata: {"type":"response.completed","response":{}}\n\n'
    for pieces in split_points(body):
        lane = SplicedLane(dialect, max_event=MAX)
        assert run(lane, pieces) == body
        assert lane.verdict.error is None
    lane = SplicedLane(dialect, max_event=MAX)
    assert run(lane, []).startswith(b"event: error\n")


# --- large events ---


def test_an_event_over_the_carry_passes_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "CARRY_LIMIT", 100)
    large = event("x" * 1000)
    body = A + large + STOP + COUNTED + DONE
    lane = spliced(hide_usage=True)
    pieces = [body[start : start + 150] for start in range(0, len(body), 150)]
    out = [lane.feed(piece) for piece in pieces]
    assert all(out[:6])  # it does not wait for the end of the event
    assert b"".join(out) + lane.end(None) == A + large + STOP + DONE
    assert (lane.verdict.error, lane.verdict.usage) == (None, USAGE)
    for pieces in map(list, split_points(body)):
        assert run(spliced(hide_usage=True), pieces).replace(COUNTED, b"") == A + large + STOP + DONE


@pytest.mark.parametrize("rest", [b"", b"y" * 50], ids=["piece", "piece and carry"])
def test_a_cut_closes_the_piece_that_has_gone_out(monkeypatch: pytest.MonkeyPatch, rest: bytes) -> None:
    monkeypatch.setattr(lanes, "CARRY_LIMIT", 100)
    piece = event("x" * 1000)[:500]
    lane = spliced()
    out = lane.feed(A) + lane.feed(piece) + lane.feed(rest) + lane.end(IDLE)
    assert out.startswith(A + piece)
    assert out[len(A + piece) :].startswith(b"\n\ndata: ") or rest
    assert error_of(out)["code"] == "idle_timeout"
    assert len(events_of(out)) == 3
    assert b"[DONE]" not in out


def test_a_finish_before_a_half_large_event_is_no_clean_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "CARRY_LIMIT", 100)
    lane = spliced()
    out = lane.feed(STOP) + lane.feed(event("x" * 1000)[:500]) + lane.end(None)
    assert isinstance(lane.verdict.error, StreamBroken)
    assert error_of(out)["code"] == "stream_truncated"


@pytest.mark.parametrize("carry", [10, 1 << 18], ids=["in pieces", "held"])
def test_an_event_over_max_event_breaks_the_stream(monkeypatch: pytest.MonkeyPatch, carry: int) -> None:
    monkeypatch.setattr(lanes, "CARRY_LIMIT", carry)
    lane = spliced(max_event=1000)
    lane.feed(A)
    with pytest.raises(StreamBroken, match="over 1000 bytes"):
        for _ in range(11):
            lane.feed(b"x" * 100)


def test_many_events_are_not_one_large_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "CARRY_LIMIT", 10)
    body = event("x" * 200) * 20
    for size in (7, 50, 333):
        lane = spliced(max_event=400)
        out = b"".join(lane.feed(body[start : start + size]) for start in range(0, len(body), size))
        assert out == body


@pytest.mark.parametrize("maker", [checked, translated])
def test_the_bound_on_an_event_holds_where_events_are_looked_at(maker: Maker) -> None:
    lane = maker(max_event=1000)
    lane.feed(A)
    with pytest.raises(StreamBroken):
        for _ in range(11):
            lane.feed(b"x" * 100)


# --- checked ---


@pytest.mark.parametrize("bad", [b"data: {not json\n\n", b"data: [1]\n\n", b'data: {"a":\n\n', b"data: \xff\n\n"])
def test_a_malformed_event_is_dropped_and_counted(bad: bytes) -> None:
    body = A + bad + b": comment\n\n" + bad + STOP + DONE
    for pieces in split_points(body):
        lane = checked()
        assert run(lane, pieces) == A + b": comment\n\n" + STOP + DONE, pieces[0]
        assert (lane.verdict.malformed, lane.verdict.error) == (2, None)


def test_a_malformed_last_event_is_counted_when_the_end_was_clean() -> None:
    lane = checked()
    assert run(lane, [A + STOP + b"data: {no"]) == A + STOP + DONE
    assert lane.verdict.malformed == 1
    lane = checked()
    run(lane, [A + STOP + b"data: {no"], IDLE)
    assert lane.verdict.malformed == 0  # half an event, not a bad one


def test_the_spliced_lane_lets_malformed_events_pass() -> None:
    body = A + b"data: {not json\n\n" + STOP + DONE
    lane = spliced()
    assert run(lane, [body]) == body
    assert lane.verdict.malformed == 0


# --- translated ---


def test_a_translated_stream_is_the_same_at_every_split() -> None:
    body = A + COUNTED + event("b") + STOP + DONE
    expected = run(translated(include_usage=True), [body])
    frames = [CHAT.data_of(frame) for frame in events_of(expected)]
    contents = [orjson.loads(frame)["choices"][0]["delta"].get("content") for frame in frames[:-2]]
    assert contents == ["a", "b", None]
    assert orjson.loads(frames[-2])["usage"]["prompt_tokens"] == 3
    assert frames[-1] == b"[DONE]"
    for line_end in LINE_ENDS.values():
        for pieces in split_points(body.replace(b"\n", line_end)):
            lane = translated(include_usage=True)
            assert run(lane, pieces) == expected, pieces[0]
            assert (lane.verdict.error, lane.verdict.usage, lane.verdict.malformed) == (None, USAGE, 0)


def test_a_frame_that_cant_be_decoded_is_dropped_and_counted() -> None:
    expected = run(translated(), [A + STOP + DONE])
    lane = translated()
    assert run(lane, [A + b"data: {not json\n\n" + STOP + DONE]) == expected
    assert (lane.verdict.malformed, lane.verdict.error) == (1, None)


def test_nothing_follows_a_providers_error() -> None:
    for pieces in split_points(A + BOOM + B + STOP + DONE):
        lane = translated()
        out = run(lane, pieces)
        assert error_of(out)["message"] == "boom"
        assert out.count(b"data: ") == 2
        assert isinstance(lane.verdict.error, UpstreamStatus)


def test_a_decoder_that_fails_otherwise_is_not_hidden() -> None:
    class Broken:
        def feed(self, frame: bytes) -> Iterable[Text]:
            yield Text("half")
            raise KeyError("oops")

    lane = translated()
    lane._decoder = Broken()
    with pytest.raises(KeyError):
        lane.feed(A)


def test_a_decoder_that_fails_midway_gives_nothing_of_the_frame() -> None:
    class Broken:
        def feed(self, frame: bytes) -> Iterable[Text]:
            yield Text("half")
            raise ValueError("oops")

    lane = translated()
    lane._decoder = Broken()
    assert lane.feed(A) == b""
    assert lane.verdict.malformed == 1


def test_the_last_line_of_a_translated_stream_needs_no_newline() -> None:
    lane = translated()
    out = run(lane, [A + STOP[:-2]])
    assert out.endswith(DONE)
    assert lane.verdict.error is None
    lane = translated()
    assert b"[DONE]" not in run(lane, [A + STOP[:-2]], IDLE)
    assert lane.verdict.error is IDLE


def test_a_translated_stream_is_settled_by_its_finishes() -> None:
    class Scripted:
        def __init__(self) -> None:
            self.events = [Text("a"), Finish("stop"), UsageReport(USAGE), Failure(StreamBroken("late"))]

        def feed(self, frame: bytes) -> Iterable[object]:
            return [self.events.pop(0)]

    lane = translated()
    lane._decoder = Scripted()  # type: ignore[assignment]
    seen = []
    for _ in range(3):
        lane.feed(A)
        seen.append(lane.settled())
    assert seen == [False, True, True]
    assert lane.verdict.usage == USAGE
    lane.feed(A)
    assert isinstance(lane.verdict.error, StreamBroken)
    assert lane.end(None) == b""


# --- blank lines ---


@pytest.mark.parametrize(
    ("data", "end"),
    [
        (b"", 0),
        (b"a", 0),
        (b"a\n", 0),
        (b"a\n\n", 3),
        (b"a\n\nb", 3),
        (b"a\n\nb\n\nc", 6),
        (b"a\r\n\r\nb", 5),
        (b"a\r\rb", 3),
        (b"a\n\r\nb", 4),
        (b"a\r\n\nb", 4),
        (b"a\n\rb", 3),
        (b"a\n\nb\r\rc", 6),
        (b"a\r\rb\n\nc", 6),
        (b"a\n\nb\r\n\r\nc\r\n", 8),
        (b"\n\n", 2),
        (b"\r\n", 0),
        (b"a\r\nb\r\n", 0),
    ],
)
def test_last_blank_line(data: bytes, end: int) -> None:
    assert last_blank_line(data) == end


def test_an_event_in_many_pieces_is_not_searched_again_with_each(monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[int] = []

    def note(data: bytes, end: int | None = None, *, start: int = 0) -> int:
        searched.append(len(data) - start)
        return last_blank_line(data, end, start=start)

    monkeypatch.setattr(lanes, "last_blank_line", note)
    large = event("x" * 5000)
    assert run(spliced(), [*(bytes([byte]) for byte in large), STOP, DONE]) == large + STOP + DONE
    assert len(searched) > 5000
    assert max(searched) <= 1 + lanes.BLANK_LINE


def test_last_blank_line_before_a_position() -> None:
    data = b"a\n\nb\n\nc"
    assert last_blank_line(data, 5) == 3
    assert last_blank_line(data, 6) == 6
    assert last_blank_line(data, 2) == 0


def test_last_blank_line_behind_a_position() -> None:
    data = b"a\n\nb\r\n\r\nc"
    assert last_blank_line(data, start=5) == 8
    assert last_blank_line(data, start=6) == 0


@pytest.mark.parametrize("text", ["[DONE]", "[DONE] and more", "data: [DONE]"])
def test_a_text_that_says_done_ends_nothing(text: str) -> None:
    lane = SplicedLane(OpenAIChat(), max_event=1 << 20)
    lane.feed(event(text))
    assert not lane.settled()
    lane.end(None)
    assert lane.verdict.error is not None


@pytest.mark.parametrize("maker", MAKERS.values(), ids=MAKERS)
def test_half_a_last_event_that_would_be_an_empty_one_is_dropped(maker: Maker) -> None:
    for end in range(1, len(b"data: ") + 1):  # openai-python parses every event that has a data field
        for rest in (B[:end], B[:end] + b"\n"):
            lane = maker()
            out = run(lane, [A + rest])
            assert events_of(out)[0] == A
            assert len(events_of(out)) == 2, rest
            assert isinstance(lane.verdict.error, StreamBroken)


# --- breaks that others may mend ---


def watched(maker: Callable[..., Any], **options: Any) -> tuple[Any, Transcript, list[GatewayError]]:
    transcript = Transcript()
    given_up: list[GatewayError] = []
    return maker(transcript=transcript, give_up=given_up.append, **options), transcript, given_up


WATCHED: dict[str, Maker] = {"checked": checked, "translated": translated}


def texts_of(out: bytes) -> str:
    """What a client reads in whole chunks."""
    chunks = [orjson.loads(data) for frame in events_of(out) if (data := CHAT.data_of(frame)) not in (b"", b"[DONE]")]
    return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk["choices"])


@pytest.mark.parametrize("error", [None, IDLE], ids=["clean end", "error"])
@pytest.mark.parametrize("maker", WATCHED.values(), ids=WATCHED)
def test_a_break_is_held_back_and_the_transcript_is_what_went_out(maker: Maker, error: GatewayError | None) -> None:
    body = event("a") + event("bc") + event("def")
    for line_end in LINE_ENDS.values():
        whole = body.replace(b"\n", line_end)
        for end in range(len(whole) + 1):
            lane, transcript, _ = watched(maker)
            out = run(lane, [whole[:end]], error)
            assert b"error" not in out
            assert texts_of(out) == transcript.texts().get(0, ""), end
            assert lane.verdict.unsaid
            assert isinstance(lane.verdict.error, StreamBroken) if error is None else lane.verdict.error is error
            assert transcript.hindrance is None


@pytest.mark.parametrize("maker", WATCHED.values(), ids=WATCHED)
def test_a_clean_end_has_nothing_unsaid(maker: Maker) -> None:
    for pieces in split_points(A + STOP + DONE):
        lane, transcript, given_up = watched(maker)
        assert run(lane, pieces).endswith(DONE)
        assert (lane.verdict.error, lane.verdict.unsaid, given_up) == (None, False, [])
        assert (transcript.texts(), transcript.finished) == ({0: "a"}, {0})


@pytest.mark.parametrize("maker", WATCHED.values(), ids=WATCHED)
@pytest.mark.parametrize("end", [None, IDLE], ids=["clean end", "error"])
def test_the_first_error_is_given_up_at_once_and_nothing_behind_it_goes_out(
    maker: Maker, end: GatewayError | None
) -> None:
    body = A + BOOM + BOOM.replace(b"boom", b"again") + B + STOP + DONE
    for pieces in split_points(body):
        lane, transcript, given_up = watched(maker)
        out = run(lane, pieces, end)
        assert texts_of(out) == "a", pieces[0]
        assert transcript.texts() == {0: "a"}
        assert b"boom" not in out
        assert b"[DONE]" not in out
        assert len(given_up) == 1
        assert lane.verdict.error is given_up[0]
        assert lane.verdict.error.message == "boom"
        assert lane.verdict.unsaid


HINDRANCES = {
    "tool_call": event(tool_calls=1).replace(b'"content":"hi"', b'"tool_calls":[{"index":0,"function":{"name":"f"}}]'),
    "unsupported": event().replace(b'"content":"hi"', b'"refusal":"no"'),
}


@pytest.mark.parametrize(("hindrance", "frame"), HINDRANCES.items())
@pytest.mark.parametrize("maker", WATCHED.values(), ids=WATCHED)
def test_what_cant_be_mended_is_said_as_ever(maker: Maker, hindrance: str, frame: bytes) -> None:
    for rest, error in ((b"", IDLE), (b"", None), (BOOM, None)):
        lane, transcript, given_up = watched(maker)
        out = run(lane, [A + frame, rest], error)
        assert transcript.hindrance == hindrance
        assert error_of(out)["message"] == ("boom" if rest else lane.verdict.error.message)
        assert (lane.verdict.unsaid, given_up) == (False, [])


@pytest.mark.parametrize("maker", WATCHED.values(), ids=WATCHED)
def test_an_error_behind_the_finish_is_none_where_others_could_mend_it(maker: Maker) -> None:
    lane, _, _ = watched(maker)
    out = run(lane, [A + STOP + BOOM])
    assert b"boom" not in out
    assert out.endswith(DONE)
    assert (lane.verdict.error, lane.verdict.unsaid) == (None, False)


def test_what_stands_beside_an_error_does_not_go_out_and_was_not_said() -> None:
    beside = event("b", "error", error={"message": "boom"})
    lane, transcript, given_up = watched(checked)
    assert texts_of(run(lane, [A + beside])) == "a"
    assert (transcript.texts(), len(given_up)) == ({0: "a"}, 1)
    lane, transcript, _ = watched(translated)
    assert texts_of(run(lane, [A + beside])) == "ab"  # written before the error was reached
    assert transcript.texts() == {0: "ab"}


def test_a_frame_the_decoder_refuses_is_dropped_and_was_not_said() -> None:
    class Refusing:
        def feed(self, frame: bytes) -> Iterable[Text]:
            yield Text("half")
            raise ValueError("oops")

    for maker in WATCHED.values():
        lane, transcript, _ = watched(maker)
        lane._decoder = Refusing()
        assert lane.feed(A) == b""
        assert (lane.verdict.malformed, transcript.texts(), transcript.hindrance) == (1, {}, None)


@pytest.mark.parametrize("maker", WATCHED.values(), ids=WATCHED)
def test_after_a_dialects_own_failure_the_transcript_is_not_trusted(maker: Maker) -> None:
    class Failing:
        def feed(self, frame: bytes) -> Iterable[Text]:
            if b'"b"' in frame:
                raise KeyError("oops")
            return [Text("a")]

    lane, transcript, _ = watched(maker)
    lane._decoder = Failing()
    with pytest.raises(KeyError):
        lane.feed(A + B)
    assert transcript.hindrance == "unsupported"
    assert error_of(lane.end(IDLE))["code"] == "idle_timeout"
    assert not lane.verdict.unsaid
    with pytest.raises(StreamBroken):  # too large: of what came before, nothing was noted
        watched(maker, max_event=10)[0].feed(A)


def test_hidden_usage_of_a_stream_that_broke_is_still_read() -> None:
    lane, _, _ = watched(checked, hide_usage=True)
    assert run(lane, [A + COUNTED], IDLE) == A
    assert (lane.verdict.usage, lane.verdict.unsaid) == (USAGE, True)


def test_only_choices_that_are_all_finished_are_whole() -> None:
    for maker in WATCHED.values():
        lane, transcript, _ = watched(maker, choices=2)
        run(lane, [A + event("b", index=1) + STOP], IDLE)
        assert (lane.verdict.unsaid, transcript.finished) == (True, {0})


@pytest.mark.parametrize("with_transcript", [True, False])
def test_checking_keeps_the_bytes_whether_or_not_a_transcript_is_kept(with_transcript: bool) -> None:
    body = b": hello\n\n" + AZURE + A + B + STOP + COUNTED + DONE
    for pieces in split_points(body):
        lane = watched(checked)[0] if with_transcript else checked()
        assert run(lane, pieces) == body


def test_an_error_is_given_up_even_if_nobody_has_to_be_told() -> None:
    for maker in WATCHED.values():
        lane = maker(transcript=Transcript())
        assert texts_of(run(lane, [A + BOOM + B])) == "a"
        assert lane.verdict.unsaid
