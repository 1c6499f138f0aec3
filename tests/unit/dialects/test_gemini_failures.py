from __future__ import annotations

from typing import Any

import orjson
import pytest

from aiogateway.dialects.gemini_failures import (
    BROKEN,
    STATUSES,
    find_failure,
    read_body_failure,
    read_google_error,
    read_payloads,
)

QUOTA = {
    "code": 429,
    "message": "You exceeded your current quota.",
    "status": "RESOURCE_EXHAUSTED",
    "details": [
        {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": "PerMinute"}]},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.4s"},
    ],
}


@pytest.mark.parametrize("wrapped", [False, True])
def test_an_error_keeps_its_words(wrapped: bool) -> None:
    payload: Any = {"error": QUOTA}
    body = orjson.dumps([payload] if wrapped else payload)
    error = read_google_error("google", 429, (("x-request-id", "r1"),), body)
    assert (error.status, error.message) == (429, QUOTA["message"])
    assert (error.error_type, error.error_code, error.body) == ("RESOURCE_EXHAUSTED", "429", body)


def test_retry_info_becomes_a_header() -> None:
    body = orjson.dumps({"error": QUOTA})
    assert read_google_error("google", 429, (), body).headers == (("retry-after", "35"),)


def test_a_header_of_googles_own_stays() -> None:
    headers = (("retry-after", "2"),)
    assert read_google_error("google", 429, headers, orjson.dumps({"error": QUOTA})).headers == headers


@pytest.mark.parametrize("delay", ["soon", "-3s", 3, None, "1e9s"])
def test_a_delay_that_is_none_is_left_out(delay: Any) -> None:
    body = orjson.dumps({"error": {"message": "no", "details": [{"retryDelay": delay}, "odd"]}})
    assert read_google_error("google", 429, (), body).headers == ()


def test_the_reason_of_an_error_info_is_the_code() -> None:
    error = {"code": 400, "message": "no", "status": "INVALID_ARGUMENT", "details": [{"reason": "API_KEY_INVALID"}]}
    assert read_google_error("google", 400, (), orjson.dumps({"error": error})).error_code == "API_KEY_INVALID"


@pytest.mark.parametrize("body", [b"", b"<html>", b"null", b"[]", b"[1]", b'{"error":7}', b'{"error":{}}'])
def test_a_body_that_says_nothing_is_still_an_error(body: bytes) -> None:
    error = read_google_error("google", 503, (), body)
    assert (error.status, error.message, error.body) == (503, "google answered with status 503", body)


def test_a_bare_message_is_heard() -> None:
    assert read_google_error("google", 401, (), b'{"error":"invalid_token"}').message == "invalid_token"


@pytest.mark.parametrize(("word", "status"), sorted(STATUSES.items()))
def test_a_canonical_code_has_its_status(word: str, status: int) -> None:
    failure = find_failure({"error": {"message": "no", "status": word}}, b"")
    assert failure is not None
    assert failure.status == status


@pytest.mark.parametrize("error", [{"message": "no"}, {"message": "no", "code": 13, "status": "ODD"}])
def test_an_error_without_a_status_is_502(error: dict[str, Any]) -> None:
    failure = find_failure({"error": error}, b"")
    assert failure is not None
    assert failure.status == 502


@pytest.mark.parametrize(("reason", "status"), sorted(BROKEN.items()))
def test_an_answer_that_could_not_be_read_is_an_error(reason: str, status: int) -> None:
    body = orjson.dumps({"candidates": [{"finishReason": reason}]})
    failure = read_body_failure(body)
    assert failure is not None
    assert (failure.status, failure.error_type, failure.message) == (
        status,
        reason,
        f"the model's answer ended with {reason}",
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b'no json, but an "error"',
        b'{"candidates":[{"content":{"parts":[{"text":"an \\"error\\""}]},"finishReason":"STOP"}]}',
        b'{"candidates":[{"content":{"parts":[{"text":"MALFORMED_RESPONSE"}]}}]}',
        b'{"error":null,"candidates":["odd"]}',
    ],
)
def test_an_answer_is_no_error(body: bytes) -> None:
    assert read_body_failure(body) is None


def test_payloads_are_objects() -> None:
    assert read_payloads(b'[{"a":1},{"b":2}]') == [{"a": 1}, {"b": 2}]
    for odd in (b"[]", b"3", b"[{},3]", b"{"):
        with pytest.raises(ValueError):  # noqa: PT011
            read_payloads(odd)
