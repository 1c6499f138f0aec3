"""Google's errors: the ``google.rpc.Status`` object, alone or in an array, in a body or in the middle of a stream.

Facts: google/rpc/code.proto and google/rpc/error_details.proto (googleapis); ``errors.py`` and ``_RawJsonLineBuffer``
in google-genai 3.4.0, which reads an error that follows a stream's events as bare JSON, without ``data:``.
"""

from __future__ import annotations

import math
import re
from typing import Any

from aiogateway.dialects.failures import find_message, make_failure
from aiogateway.dialects.payload import as_dict, as_list, as_text, parse_json
from aiogateway.errors import Headers, UpstreamStatus

STATUSES = {
    "CANCELLED": 499,
    "UNKNOWN": 500,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403,
    "UNAUTHENTICATED": 401,
    "RESOURCE_EXHAUSTED": 429,
    "FAILED_PRECONDITION": 400,
    "ABORTED": 409,
    "OUT_OF_RANGE": 400,
    "UNIMPLEMENTED": 501,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DATA_LOSS": 500,
}
"""HTTP's status for each canonical code, as google/rpc/code.proto maps them."""

BROKEN = {
    "MALFORMED_FUNCTION_CALL": 502,
    "MALFORMED_RESPONSE": 502,
    "UNEXPECTED_TOOL_CALL": 502,
    "TOO_MANY_TOOL_CALLS": 502,
    "MISSING_THOUGHT_SIGNATURE": 400,
}
"""Finish reasons that stand for no answer: what the model wrote could not be read, or the request was at fault."""

_DELAY = re.compile(r"([0-9]+(?:\.[0-9]+)?)s")


def read_payloads(data: bytes) -> list[dict[str, Any]]:
    """The objects of a body or an event: one, or several in an array. Raises ValueError for anything else."""
    value = parse_json(data)
    payloads = value if isinstance(value, list) else [value]
    if not payloads or not all(isinstance(payload, dict) for payload in payloads):
        raise ValueError("neither a JSON object nor an array of them")
    return payloads


def find_failure(payload: dict[str, Any], body: bytes) -> UpstreamStatus | None:
    """The error that an object stands for: Google's own, or a candidate that ended in one of `BROKEN`'s ways."""
    error = payload.get("error")
    if isinstance(error, dict) and error:
        return _make(error, _find_status(error), body)
    for candidate in map(as_dict, as_list(payload.get("candidates"))):
        reason = as_text(candidate.get("finishReason")) or ""
        if reason in BROKEN:
            message = as_text(candidate.get("finishMessage")) or f"the model's answer ended with {reason}"
            return make_failure({"message": message, "type": reason, "code": reason}, status=BROKEN[reason], body=body)
    return None


def read_body_failure(data: bytes) -> UpstreamStatus | None:
    """The error that a body or an event's data stands for; None when it is an answer, or no JSON."""
    if b'"error"' not in data and not any(reason.encode() in data for reason in BROKEN):
        return None
    try:
        payloads = read_payloads(data)
    except ValueError:
        return None
    return next((failure for payload in payloads if (failure := find_failure(payload, data)) is not None), None)


def read_google_error(provider: str, status: int, headers: Headers, body: bytes) -> UpstreamStatus:
    """An answer that is not 2xx. `RetryInfo` becomes a ``retry-after`` (whole seconds) where the headers have none."""
    try:
        payload: dict[str, Any] = read_payloads(body)[0]
    except ValueError:
        payload = {}
    error = as_dict(payload.get("error"))
    if find_message(error) is None:
        said = find_message(payload) or f"{provider} answered with status {status}"
        error = {**error, "message": said}
    delay = _find_delay(error)
    if delay is not None and not any(name == "retry-after" for name, _ in headers):
        headers = (*headers, ("retry-after", str(delay)))
    return _make(error, status, body, headers=headers)


def _make(error: dict[str, Any], status: int, body: bytes, **kept: Any) -> UpstreamStatus:
    """`error_type` is the canonical code (NOT_FOUND), `error_code` the reason of an `ErrorInfo`, else the number."""
    reasons = [as_text(as_dict(detail).get("reason")) for detail in as_list(error.get("details"))]
    code = next((reason for reason in reasons if reason), None) or error.get("code")
    return make_failure({**error, "type": error.get("status"), "code": code}, status=status, body=body, **kept)


def _find_status(error: dict[str, Any]) -> int:
    number = error.get("code")
    if isinstance(number, int) and 400 <= number <= 599:
        return number
    return STATUSES.get(as_text(error.get("status")) or "", 502)


def _find_delay(error: dict[str, Any]) -> int | None:
    for detail in map(as_dict, as_list(error.get("details"))):
        found = _DELAY.fullmatch(as_text(detail.get("retryDelay")) or "")
        if found:
            return math.ceil(float(found[1]))
    return None
