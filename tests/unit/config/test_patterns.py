from __future__ import annotations

import contextlib
import logging
import time

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from aiogateway.config import patterns
from aiogateway.config.patterns import CALL_TIME, MAX_INPUT, Patience, read_pattern, search
from aiogateway.errors import ConfigError

ALLOWANCE = 0.15  # a machine that is busy otherwise
UUID = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
SLOW = [
    (r"(a|a)*$", "a" * 26 + "!"),
    (r"^(([a-z])+.)+[A-Z]([a-z])+$", "a" * 4096),
    (r"((a{1,100}){1,100}){1,100}b", "a" * 4096),
    (r"(.*){1,32000}[bc]", "a" * 4096),
]


@pytest.fixture(autouse=True)
def loud(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "_warn", patterns._Alarm())


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("^gpt-4", "gpt-4o", True),
        ("4o$", "gpt-4o", True),
        ("t-4", "gpt-4o", True),
        ("^4o", "gpt-4o", False),
        (r"(?i)PAID", "paid", True),
        (r"^\p{Lu}+$", "ÄÖ", True),
        ("", "", True),
        (UUID, "123e4567-e89b-12d3-a456-426614174000", True),
        (r"^.{1000}$", "x" * 1000, True),
        (r"^([0-9a-f]{4}:){7}[0-9a-f]{4}$", "2001:0db8:0000:0000:0000:ff00:0042:8329", True),
    ],
)
def test_search(pattern: str, text: str, found: bool) -> None:
    assert search(read_pattern(pattern, "p"), text, Patience()) is found


def test_a_text_that_is_too_long_matches_nothing() -> None:
    assert search("^a", "a" * MAX_INPUT, Patience())
    assert not search("^a", "a" * (MAX_INPUT + 1), Patience())


def test_the_pattern_that_blocks_pythons_own_engine() -> None:
    start = time.perf_counter()
    search(read_pattern("(a+)+$", "p"), "a" * 26 + "!", Patience())
    assert time.perf_counter() - start < CALL_TIME + ALLOWANCE


@pytest.mark.parametrize(("pattern", "text"), SLOW)
def test_a_slow_search_is_no_match_and_in_the_log(pattern: str, text: str, caplog: pytest.LogCaptureFixture) -> None:
    start = time.perf_counter()
    assert not search(read_pattern(pattern, "p"), text, Patience())
    assert time.perf_counter() - start < CALL_TIME + ALLOWANCE
    (record,) = caplog.records
    assert (record.levelno, pattern in record.getMessage()) == (logging.WARNING, True)


def test_the_log_is_not_flooded(caplog: pytest.LogCaptureFixture) -> None:
    for pattern, text in SLOW:
        search(pattern, text, Patience())
    assert len(caplog.records) == 1


def test_all_searches_of_a_call_share_their_time() -> None:
    patience = Patience()
    start = time.perf_counter()
    for _ in range(50):
        assert not search(*SLOW[0], patience)
    assert time.perf_counter() - start < CALL_TIME + ALLOWANCE
    assert patience.left <= 0
    assert not search("a", "a", patience)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("a" * 257, "must be at most 256 characters, got 257"),
        ("(a", "is not a pattern: missing ) at position 2 of '(a'"),
        ("a**", "is not a pattern: multiple repeat at position 2 of 'a**'"),
        (r"\p{Nope}", "is not a pattern: unknown property at position"),
        (r"\L<words>", "is not a pattern: undefined named list at position"),
        ("(?x)a {1 0 0 0 0}", "may set the flags a, i, m, s and u only, got '(?x)'"),
        ("(?i-x)a", "may set the flags a, i, m, s and u only, got '(?i-x)'"),
        ("(?if)ß{4900}", "may set the flags a, i, m, s and u only, got '(?if)'"),
        ("(?r:a)", "may set the flags a, i, m, s and u only, got '(?r:'"),
        ("(?R)?a", "may set the flags a, i, m, s and u only, got '(?R)'"),
        ("(?:(?1)){60000}(a)", "may set the flags a, i, m, s and u only, got '(?1)'"),
        (5, "must be a pattern as a string, got 5"),
        (None, "must be a pattern as a string, got null"),
        (["a"], "must be a pattern as a string, got a list"),
    ],
)
def test_what_is_refused(pattern: object, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_pattern(pattern, "query.k.$regex")
    assert caught.value.path == "query.k.$regex"
    assert caught.value.reason.startswith(message)


@pytest.mark.parametrize(
    "pattern",
    [
        "a{1000000}",
        "((a{100}){100}){100}",
        "(?:(?:a?){1000}){1000}",
        "(a{100}){100}",
        "(a{2}){3000}",
        "[abc]{2000}",
        r"\p{L}{10000}",
        "a{4001,}",
        "(?#)" + "(" * 6 + "a" + "){9}" * 6,
    ],
)
def test_repetitions_that_would_fill_the_memory(pattern: str) -> None:
    start = time.perf_counter()
    with pytest.raises(ConfigError, match=r"repeats too much: written out, .* steps, at most 4000"):
        read_pattern(pattern, "p")
    assert time.perf_counter() - start < ALLOWANCE


PIECES = [
    *"ab.()[]*+?|$^}\\",
    r"\w",
    r"\1",
    r"\p{",
    "(?:",
    "){3}",
    ")*",
    ")+",
    "[^",
    "{2}",
    "{9,}",
    "(?=",
    "(?<!",
    "(?>",
]
PIECES += ["{e<=2}", "(?i)", "(?V1)", "--", "(?P<a>", "(?R)"]


@given(st.lists(st.sampled_from(PIECES), max_size=30), st.text(max_size=40))
def test_no_pattern_breaks_anything(pieces: list[str], text: str) -> None:
    start = time.perf_counter()
    with contextlib.suppress(ConfigError):
        assert search(read_pattern("".join(pieces), "p"), text, Patience()) in (True, False)
    assert time.perf_counter() - start < CALL_TIME + 2 * ALLOWANCE


@given(st.text("ab|", max_size=8), st.text("ab", max_size=8))
def test_plain_patterns_are_as_everywhere(pattern: str, text: str) -> None:
    assert search(read_pattern(pattern, "p"), text, Patience()) is (regex.search(pattern, text) is not None)
