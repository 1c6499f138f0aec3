"""The battery fails on a dialect or a recording that is broken in a single way: rules about answers and errors."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from aiogateway.contracts import MAX_EVENT, Decoder, Dialect, Splitter
from aiogateway.errors import Unsupported, UpstreamStatus
from aiogateway.neutral import Event, Failure, Finish, Text, ToolCall, UsageReport, Vectors
from aiogateway.types import (
    Usage,
)
from tests.unit.testing.battery import (
    check,
    replace,
    swap,
    with_error,
    with_splitter,
)
from tests.unit.testing.toy import FILES, ToyDecoder, ToyDialect

# --- answers ---


class Forgetful:
    """Takes every piece for whole lines."""

    def feed(self, data: bytes) -> list[bytes]:
        return data.splitlines(keepends=True)

    def rest(self) -> bytes:
        return b""


def test_a_splitter_that_depends_on_the_cut(tmp_path: Path) -> None:
    rule = "test_events_are_the_same_at_every_split"
    with pytest.raises(AssertionError, match="other frames, which can't be decoded"):
        check(tmp_path, rule, "stream", dialect=with_splitter(Forgetful))

    class Blind(ToyDialect):
        """Its streams only pass through."""

        def splitter(self, max_event: int = MAX_EVENT) -> Splitter:
            return Forgetful()

        def decoder(self) -> Decoder:
            raise Unsupported("no translation")

    with pytest.raises(AssertionError, match="other frames"):
        check(tmp_path, rule, "stream", dialect=Blind())


def test_an_event_lost_at_one_cut_only(tmp_path: Path) -> None:
    class Half(Forgetful):
        """Loses what is cut after the 12th byte."""

        held = b""

        def feed(self, data: bytes) -> list[bytes]:
            whole = self.held + data if len(data) != 12 else data
            lines = whole.splitlines(keepends=True)
            self.held = lines.pop() if lines and not lines[-1].endswith(b"\n") else b""
            return lines if len(data) != 12 else []

    with pytest.raises(AssertionError, match="cut after 12 of"):
        check(tmp_path, "test_events_are_the_same_at_every_split", "stream", dialect=with_splitter(Half))


def test_frame_end_has_to_agree_with_the_splitter(tmp_path: Path) -> None:
    class Odd(ToyDialect):
        def frame_end(self, data: bytes, start: int) -> int:
            return data.find(b"}", start) + 1

    with pytest.raises(AssertionError, match="frame_end and splitter disagree"):
        check(tmp_path, "test_events_are_the_same_at_every_split", "stream", dialect=Odd())


@pytest.mark.parametrize(
    ("dialect", "reason"),
    [
        (swap(Finish, lambda event: []), "no finish"),
        (swap(Finish, lambda event: [event, event]), "choice 0 goes on after its finish"),
        (swap(Finish, lambda event: [event, Text("more")]), "choice 0 goes on after its finish"),
        (swap(Finish, lambda event: [replace(event, reason="eos")]), "'eos' is no neutral finish reason"),
        (swap(Finish, lambda event: [replace(event, reason="length")]), r"finished with \('length',\)"),
        (swap(Text, lambda event: [event, replace(event, index=1)]), r"choices \[1\] never finish"),
    ],
)
def test_a_choice_that_does_not_finish_once(tmp_path: Path, dialect: Dialect, reason: str) -> None:
    with pytest.raises(AssertionError, match=reason):
        check(tmp_path, "test_each_choice_finishes_once", "stream", dialect=dialect)


@pytest.mark.parametrize(
    ("name", "dialect", "reason"),
    [
        ("stream", swap(Text, lambda event: []), "empty"),
        ("stream", swap(Text, lambda event: [replace(event, text="?")]), re.escape("text '??', not 'hé!'")),
        ("vectors", swap(Vectors, lambda event: [Vectors(event.vectors[:1])]), "1 vectors for 2 inputs"),
    ],
)
def test_content_that_does_not_arrive(tmp_path: Path, name: str, dialect: Dialect, reason: str) -> None:
    with pytest.raises(AssertionError, match=reason):
        check(tmp_path, "test_content_arrives", name, dialect=dialect)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda event: [replace(event, id=None)], "begins without id or name"),
        (lambda event: [replace(event, name=None)], "begins without id or name"),
        (lambda event: [event, replace(event, arguments="")], "second id or name"),
        (lambda event: [replace(event, arguments="{")], "no JSON object: '{'"),
        (lambda event: [replace(event, arguments="[]")], "no JSON object"),
        (lambda event: [replace(event, id="same")], "two tool calls share an id"),
    ],
)
def test_a_tool_call_that_is_not_whole(tmp_path: Path, change: Callable[[Any], list[Event]], reason: str) -> None:
    with pytest.raises(AssertionError, match=reason):
        check(tmp_path, "test_tool_calls_are_whole", "tools", dialect=swap(ToolCall, change))


def test_usage_that_is_missing_or_wrong(tmp_path: Path) -> None:
    class Deaf(ToyDialect):
        def read_usage(self, tail: bytes) -> Usage | None:
            return None

    rule = "test_usage_is_there_or_marked_absent"
    with pytest.raises(AssertionError, match="read_usage finds Usage"):
        check(tmp_path, rule, "stream", dialect=swap(UsageReport, lambda event: []))
    with pytest.raises(AssertionError, match="read_usage finds None"):
        check(tmp_path, rule, "stream", dialect=Deaf())
    uncounted = FILES["uncounted"].replace("usage: absent\n", "")
    with pytest.raises(AssertionError, match="not marked 'usage: absent'"):
        check(tmp_path, rule, "uncounted", files={"uncounted": uncounted})
    counted = FILES["uncounted"].replace('"stop"}', '"stop","counts":[1,1]}')
    with pytest.raises(AssertionError, match="marked as without usage"):
        check(tmp_path, rule, "uncounted", files={"uncounted": counted})
    with pytest.raises(AssertionError, match=r"counted \(3, 2\), recorded \(4, 2\)"):
        check(tmp_path, rule, "stream", files={"stream": FILES["stream"].replace("usage: 3 2", "usage: 4 2")})


def test_a_stream_without_its_marks(tmp_path: Path) -> None:
    class Unmarked(ToyDialect):
        finish_marks = (b'"fin"',)

    class Strict(ToyDialect):
        def is_malformed(self, frame: bytes) -> bool:
            return b"end" in frame

    rule = "test_finish_mark_is_in_the_tail"
    with pytest.raises(AssertionError, match=r"none of .* in its tail"):
        check(tmp_path, rule, "stream", dialect=Unmarked())
    with pytest.raises(AssertionError, match="malformed by is_malformed"):
        check(tmp_path, rule, "stream", dialect=Strict())


def test_a_decoder_that_trips_over_damage(tmp_path: Path) -> None:
    class Fragile(ToyDecoder):
        def feed(self, frame: bytes) -> Iterable[Event]:
            if not frame.endswith(b"}\n"):
                raise KeyError("choices")
            return super().feed(frame)

    class Odd(ToyDialect):
        def decoder(self) -> Decoder:
            return Fragile()

    with pytest.raises(AssertionError, match=r"KeyError\('choices'\)"):
        check(tmp_path, "test_damaged_frames_raise_only_value_error", "stream", dialect=Odd())


# --- errors ---


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda error: ValueError("x"), "no UpstreamStatus"),
        (lambda error: UpstreamStatus(error.message, status=500, body=error.body), "500"),
        (lambda error: UpstreamStatus("hm", status=error.status, body=error.body), "'hm'"),
        (lambda error: UpstreamStatus(error.message, status=429, error_code="7", body=error.body), "error-type None"),
        (
            lambda error: UpstreamStatus(error.message, status=429, error_type="busy", body=error.body),
            "error-code None",
        ),
        (
            lambda error: UpstreamStatus(error.message, status=429, error_type="busy", error_code="7"),
            "body or headers are not as received",
        ),
    ],
)
def test_an_error_status_that_is_misread(tmp_path: Path, change: Callable[[UpstreamStatus], Any], reason: str) -> None:
    with pytest.raises(AssertionError, match=reason):
        check(tmp_path, "test_errors_keep_what_the_provider_said", "refused", provider=with_error(change))


class NoFailure(ToyDialect):
    def read_failure(self, frame: bytes) -> UpstreamStatus | None:
        return None


@pytest.mark.parametrize(
    ("name", "dialect", "reason"),
    [
        ("broken", NoFailure(), "read_failure finds no error"),
        ("empty", NoFailure(), "read_body_failure finds no error"),
        ("broken", swap(Failure, lambda event: []), "end without a Failure"),
        ("broken", swap(Failure, lambda event: [Finish("stop"), event]), "a finish was invented"),
        ("broken", swap(Failure, lambda event: [Failure(UpstreamStatus("?", status=502))]), "two errors"),
    ],
)
def test_an_in_band_error_that_is_lost(tmp_path: Path, name: str, dialect: Dialect, reason: str) -> None:
    with pytest.raises(AssertionError, match=reason):
        check(tmp_path, "test_errors_keep_what_the_provider_said", name, dialect=dialect)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda error: None, "no UpstreamStatus"),
        (lambda error: UpstreamStatus("x", status=502), "status 502, not 400"),
        (lambda error: UpstreamStatus(error.body.decode("latin-1"), status=error.status), "no message"),
    ],
)
def test_an_odd_error_body_that_is_no_error(
    tmp_path: Path, change: Callable[[UpstreamStatus], Any], reason: str
) -> None:
    with pytest.raises(AssertionError, match=reason):
        check(tmp_path, "test_odd_error_bodies_are_still_errors", provider=with_error(change))
