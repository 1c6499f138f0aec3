from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiogateway.engine.explain import MAX_LENGTH, describe
from aiogateway.engine.route import Note
from aiogateway.types import Attempt, Outcome

P0, P1, P2 = (f"config.targets[{place}]" for place in range(3))


def attempt(target: str, took: float | None = 0.1, **fields: Any) -> Attempt:
    """One that failed before its first token, `took` seconds after it began."""
    start = 2.5
    end = None if took is None else start + took
    values: dict[str, Any] = {"status": 503, "error": "upstream_status", "outcome": Outcome.FAILED, **fields}
    return Attempt(target=target, provider="openai", model="m", start=start, end=end, **values)


def answer(target: str, first: float, **fields: Any) -> Attempt:
    """One that answered after `first` seconds and is still under way unless `fields` say otherwise."""
    return Attempt(
        target=target, provider="openai", model="m", start=1.0, status=200, first_token=1.0 + first, **fields
    )


def test_a_whole_story_in_one_line() -> None:
    notes = [
        Note(P0, "tried", ""),
        Note(P1, "skipped", "circuit open"),
        Note(P2, "chosen", "weight 3 of 4, drew 0.62"),
    ]
    attempts = [attempt(P0, 0.12), attempt(P0, 0.08, retry=1, waited=1.0), answer(P2, 0.05)]
    assert describe(notes, attempts) == (
        "config.targets[0] tried: 503 after 120 ms, retried after 1.0 s: 503 after 80 ms; "
        "config.targets[1] skipped: circuit open; "
        "config.targets[2] chosen: weight 3 of 4, drew 0.62: 200 after 50 ms"
    )


def test_attempts_of_one_target_stand_together_in_order() -> None:
    attempts = [attempt(P1, status=500), attempt(P0, status=429), attempt(P1, status=502)]
    assert describe([], attempts) == (
        "config.targets[1] tried: 500 after 100 ms, 502 after 100 ms; config.targets[0] tried: 429 after 100 ms"
    )


def test_attempts_go_with_the_last_note_about_their_target() -> None:
    notes = [
        Note(P0, "passed over", "conditions[0] matched, circuit open"),
        Note(P0, "bypassed", "conditions[0] matched"),
    ]
    assert describe(notes, [attempt(P0)]) == (
        "config.targets[0] passed over: conditions[0] matched, circuit open; "
        "config.targets[0] bypassed: conditions[0] matched: 503 after 100 ms"
    )


def test_a_config_of_one_target_has_no_notes() -> None:
    assert describe([], [answer("config", 0.0123, outcome=Outcome.OK, end=9.0)]) == "config tried: 200 after 12 ms"


def test_nothing_tried_is_said() -> None:
    assert describe([], []) == "no target was tried"


@pytest.mark.parametrize(
    ("one", "told"),
    [
        (attempt("config", status=502, error="connect_failed"), "502 connect_failed after 100 ms"),
        (attempt("config", status=None, error="connect_failed"), "connect_failed after 100 ms"),
        (attempt("config", status=None, error=None, outcome=Outcome.CLIENT_LEFT), "client_left after 100 ms"),
        (attempt("config", took=None, status=None, error=None, outcome=None), "under way"),
        (attempt("config", took=None, error=None, outcome=None), "503"),
        (
            answer("config", 0.05, end=1.31, outcome=Outcome.TRUNCATED, error="stream_truncated"),
            "200 after 50 ms then stream_truncated after 310 ms",
        ),
        (
            answer("config", 0.05, end=3.0, outcome=Outcome.CLIENT_LEFT),
            "200 after 50 ms then client_left after 2.0 s",
        ),
    ],
)
def test_how_an_attempt_went(one: Attempt, told: str) -> None:
    assert describe([], [one]) == f"config tried: {told}"


@pytest.mark.parametrize(
    ("took", "shown"),
    [
        (0.0, "0.0 ms"),
        (-0.001, "0.0 ms"),
        (0.0004, "0.4 ms"),
        (0.00996, "10 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.0 s"),
        (75.06, "75.1 s"),
    ],
)
def test_times_are_short(took: float, shown: str) -> None:
    assert describe([], [attempt("config", took)]) == f"config tried: 503 after {shown}"


def test_what_would_break_a_header_is_escaped() -> None:
    line = describe([Note(P0, "chosen", 'a\r\nx-evil: 1\0\t; config "b" \x7f ä 中 😀 \udcff \\')], [])
    assert line == (
        'config.targets[0] chosen: a\\x0d\\x0ax-evil: 1\\x00\\x09\\x3b config "b" \\x7f \\xe4 \\u4e2d \\U0001f600 '
        "\\udcff \\x5c"
    )


def test_printable_text_is_left_alone() -> None:
    text = "".join(chr(code) for code in range(0x20, 0x7F)).translate({ord(";"): None, ord("\\"): None})
    assert describe([Note("config", "chosen", text)], []) == f"config chosen: {text}"


def test_a_long_text_is_cut() -> None:
    assert describe([Note("config", "chosen", "x" * 1000)], []) == f"config chosen: {'x' * 256}..."


def test_a_long_line_is_cut_between_items() -> None:
    items = [f"config.targets[{place}] skipped: circuit open" for place in range(500)]
    line = describe([Note(f"config.targets[{place}]", "skipped", "circuit open") for place in range(500)], [])
    assert MAX_LENGTH - 60 < len(line) <= MAX_LENGTH
    told = line.split("; ")
    assert told.pop() == "..."
    assert told == items[: len(told)]


def test_a_line_that_just_fits_is_whole() -> None:
    notes = [Note("config", "chosen", "x" * 239)] * 15
    whole = describe([*notes, Note("config", "chosen", "x" * 241)], [])
    assert len(whole) == MAX_LENGTH
    assert whole.endswith("x")
    assert describe([*notes, Note("config", "chosen", "x" * 242)], []).endswith("x; ...")


def test_as_much_as_fits_is_kept() -> None:
    notes = [*[Note("config", "chosen", "x" * 239)] * 15, Note("config", "chosen", "y" * 236)]
    line = describe([*notes, Note("config", "skipped", "circuit open")], [])
    assert len(line) == MAX_LENGTH
    assert line.endswith("y; ...")


def test_a_single_item_that_is_too_long_is_cut_inside() -> None:
    line = describe([], [attempt("config")] * 1000)
    assert len(line) <= MAX_LENGTH
    assert line.startswith("config tried: 503 after 100 ms, 503")
    assert line.endswith("...")


@given(
    notes=st.lists(st.builds(Note, *[st.text(max_size=300)] * 3), max_size=30),
    errors=st.lists(st.tuples(st.text(max_size=300), st.text(max_size=300)), max_size=30),
)
def test_a_line_is_always_a_header_value(notes: list[Note], errors: list[tuple[str, str]]) -> None:
    line = describe(notes, [attempt(target, error=error) for target, error in errors])
    assert 0 < len(line) <= MAX_LENGTH
    assert all(" " <= sign <= "~" for sign in line)
    items = len(notes) + len({target for target, _ in errors} - {note.path for note in notes})
    assert line.count(";") <= max(items - 1, 0)
