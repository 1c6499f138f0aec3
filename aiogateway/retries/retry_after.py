"""When a provider says how long to wait: four places, five spellings."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

from aiogateway.types import Headers

MAX = 86_400.0
"""Seconds. Whoever says more, a year or a number of a thousand digits, is read as saying a day."""

_RETRY_INFO = "google.rpc.RetryInfo"
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]*)?|\.[0-9]+")


def read_retry_after(headers: Headers, body: bytes, *, now: float) -> float | None:
    """Seconds to wait, from 0 to a day, or None when the answer does not say; never raises.

    The first that can be read of: ``retry-after-ms``, ``x-ms-retry-after-ms`` (Azure), ``retry-after`` in seconds or as
    a date (RFC 9110 10.2.3; one in the past is 0), and the `RetryInfo` of a Google error body (google/rpc/
    error_details.proto). `now` is wall-clock time (Unix).
    """
    for name, read in _READERS:
        for key, value in headers:
            if key == name and (seconds := read(value.strip(), now)) is not None:
                return min(max(seconds, 0.0), MAX)
    delay = _read_body(body)
    return None if delay is None else min(delay, MAX)


def _read_milliseconds(text: str, now: float) -> float | None:
    value = _read_number(text)
    return None if value is None else value / 1000


def _read_seconds_or_date(text: str, now: float) -> float | None:
    value = _read_number(text)
    if value is not None:
        return value
    date = _read_date(text)
    return None if date is None else date - now


_READERS: tuple[tuple[str, Callable[[str, float], float | None]], ...] = (
    ("retry-after-ms", _read_milliseconds),
    ("x-ms-retry-after-ms", _read_milliseconds),
    ("retry-after", _read_seconds_or_date),
)


def _read_number(text: str) -> float | None:
    return float(text) if _NUMBER.fullmatch(text) else None  # no sign, no exponent, no nan


def _read_date(text: str) -> float | None:
    """Unix time of an HTTP date, in any of RFC 9110's three forms."""
    try:
        date = parsedate_to_datetime(text)
        return date.replace(tzinfo=date.tzinfo or dt.UTC).timestamp()  # asctime's form names no zone: it is UTC
    except (ValueError, OverflowError):
        return None


def _read_body(body: bytes) -> float | None:
    if _RETRY_INFO.encode() not in body:
        return None
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if isinstance(parsed, list) and len(parsed) == 1:  # as Gemini's stream endpoint wraps it
        parsed = parsed[0]
    return next((delay for detail in _list_details(parsed) if (delay := _read_detail(detail)) is not None), None)


def _list_details(parsed: Any) -> Iterator[dict[str, Any]]:
    error = parsed.get("error") if isinstance(parsed, dict) else None
    details = error.get("details") if isinstance(error, dict) else None
    if isinstance(details, list):
        yield from (detail for detail in details if isinstance(detail, dict))


def _read_detail(detail: dict[str, Any]) -> float | None:
    """A protobuf duration, as its JSON mapping writes it: ``3.5s``."""
    kind, delay = detail.get("@type"), detail.get("retryDelay")
    if not (isinstance(kind, str) and kind.endswith(_RETRY_INFO) and isinstance(delay, str) and delay.endswith("s")):
        return None
    return _read_number(delay[:-1])
