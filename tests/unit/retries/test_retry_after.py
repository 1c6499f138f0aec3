from __future__ import annotations

import time
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiogateway.retries.retry_after import MAX, read_retry_after
from aiogateway.types import Headers

NOW = 784_111_777.0  # Sun, 06 Nov 1994 08:49:37 GMT, the example of RFC 9110
THEN = NOW - 30


def read(*headers: tuple[str, str], body: bytes = b"", now: float = NOW) -> float | None:
    return read_retry_after(headers, body, now=now)


def google(*details: Any, wrapped: bool = False) -> bytes:
    error = {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "details": details}}
    return orjson.dumps([error] if wrapped else error)


def retry_info(delay: Any, kind: Any = "type.googleapis.com/google.rpc.RetryInfo") -> dict[str, Any]:
    return {"@type": kind, "retryDelay": delay}


@pytest.mark.parametrize(
    ("name", "value", "seconds"),
    [
        ("retry-after", "2", 2.0),
        ("retry-after", " 2 ", 2.0),
        ("retry-after", "0", 0.0),
        ("retry-after", "1.5", 1.5),
        ("retry-after", ".5", 0.5),
        ("retry-after", "2.", 2.0),
        ("retry-after-ms", "300", 0.3),
        ("retry-after-ms", "0.5", 0.0005),
        ("x-ms-retry-after-ms", "12000", 12.0),
        ("retry-after", "31536000", MAX),
        ("retry-after", "9" * 1000, MAX),
        ("retry-after-ms", "9" * 1000, MAX),
    ],
)
def test_numbers(name: str, value: str, seconds: float) -> None:
    assert read((name, value)) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        ".",
        "-1",
        "+1",
        "nan",
        "inf",
        "-inf",
        "1e3",
        "0x10",
        "1_000",
        "1,5",
        "2 s",
        "2s",
        "soon",
        "\u0662",
        "\udcff",
        "1\n2",
    ],
)
@pytest.mark.parametrize("name", ["retry-after", "retry-after-ms", "x-ms-retry-after-ms"])
def test_nonsense_is_nothing(name: str, value: str) -> None:
    assert read((name, value)) is None


@pytest.mark.parametrize(
    "date",
    [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "sun, 06 nov 1994 08:49:37 gmt",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
        "Sun Nov 06 08:49:37 1994",
    ],
)
def test_the_three_dates_of_http(date: str) -> None:
    assert read(("retry-after", date), now=THEN) == 30.0
    assert read(("retry-after", date), now=NOW + 1) == 0.0
    assert read(("retry-after", date), now=0) == MAX


@pytest.mark.parametrize(
    "date",
    [
        "Sun, 31 Feb 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:00:00 GMT",
        "Sun, 06 Nov 1994 08:49:61 GMT",
        "Sun, 06 Xyz 1994 08:49:37 GMT",
        "1994-11-06T08:49:37Z",
    ],
)
def test_what_is_no_date_of_http(date: str) -> None:
    assert read(("retry-after", date)) is None


def test_the_first_that_can_be_read_counts() -> None:
    body = google(retry_info("4s"))
    everything = (("retry-after", "3"), ("x-ms-retry-after-ms", "2000"), ("retry-after-ms", "1000"))
    assert read(*everything, body=body) == 1.0
    assert read(*everything[:2], body=body) == 2.0
    assert read(*everything[:1], body=body) == 3.0
    assert read(body=body) == 4.0
    assert read(*everything[:2], ("retry-after-ms", "soon"), body=body) == 2.0
    assert read(("retry-after", "soon"), body=body) == 4.0
    assert read(("retry-after", "soon"), ("retry-after", "5")) == 5.0
    assert read(("retry-after", "0"), body=body) == 0.0


@pytest.mark.parametrize(("delay", "seconds"), [("3.5s", 3.5), ("34.074824224s", 34.074824224), ("0s", 0.0)])
@pytest.mark.parametrize("wrapped", [False, True])
def test_the_delay_of_a_google_error(delay: str, seconds: float, wrapped: bool) -> None:
    quota = {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "retryDelay": "9s"}
    assert read(body=google(quota, "x", retry_info(delay), wrapped=wrapped)) == pytest.approx(seconds)
    assert read(body=google(retry_info("soon"), retry_info(delay))) == pytest.approx(seconds)
    assert read(body=google(retry_info("9" * 400 + "s"))) == MAX


@pytest.mark.parametrize(
    "body",
    [
        google(retry_info("3.5")),
        google(retry_info("-1s")),
        google(retry_info("s")),
        google(retry_info("nans")),
        google(retry_info(3)),
        google(retry_info({"seconds": 3})),
        google(retry_info("3s", kind=["google.rpc.RetryInfo"])),
        google(retry_info("3s", kind="google.rpc.RetryInfoNot")),
        b'[{"error":{"details":[{"@type":"google.rpc.RetryInfo","retryDelay":"1s"}]}},1]',
        b'{"error":"google.rpc.RetryInfo"}',
        b'{"error":{"details":"google.rpc.RetryInfo"}}',
        b'{"details":[{"@type":"google.rpc.RetryInfo","retryDelay":"1s"}]}',
        b'"google.rpc.RetryInfo"',
        b"[]google.rpc.RetryInfo",
        b"[" * 5000 + b"google.rpc.RetryInfo",
        b"\xffgoogle.rpc.RetryInfo",
    ],
)
def test_other_bodies_say_nothing(body: bytes) -> None:
    assert read(body=body) is None


def test_a_long_number_takes_no_time() -> None:
    start = time.perf_counter()
    read(("retry-after", "9" * 65_536), ("retry-after", "Sun, " * 10_000))
    read(body=google(retry_info("1" * 1_000_000 + "s")))
    assert time.perf_counter() - start < 1


NAMES = st.sampled_from(["retry-after-ms", "x-ms-retry-after-ms", "retry-after", "date"])
PIECES = st.sampled_from(["1", "9", ".", "-", "Sun, ", "06", "-Nov-", "94", " GMT", "08:49:37", " ", "nan", "s"])
VALUES = st.one_of(
    st.text(max_size=40), st.lists(PIECES, max_size=8).map("".join), st.floats().map(str), st.integers().map(str)
)
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=8) | st.just("google.rpc.RetryInfo"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["error", "details", "@type", "retryDelay", "x"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(
    headers=st.lists(st.tuples(NAMES, VALUES), max_size=4).map(tuple),
    body=JSON.map(orjson.dumps) | st.binary(max_size=60).map(lambda noise: noise + b"google.rpc.RetryInfo"),
    now=st.floats(min_value=0, max_value=4e9),
)
def test_whatever_comes_is_read_or_nothing(headers: Headers, body: bytes, now: float) -> None:
    seconds = read_retry_after(headers, body, now=now)
    assert seconds is None or 0 <= seconds <= MAX
