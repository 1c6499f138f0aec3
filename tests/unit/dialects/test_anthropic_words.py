from __future__ import annotations

from typing import Any

import orjson
import pytest

from aiogateway.dialects.anthropic_words import (
    describe,
    merge_usage,
    read_failure,
    read_usage,
    write_error,
    write_stop,
    write_usage,
)
from aiogateway.errors import GatewayError, RequestError, UpstreamStatus
from aiogateway.neutral import Finish
from aiogateway.types import Usage


@pytest.mark.parametrize(
    ("counts", "usage"),
    [
        ({"input_tokens": 1, "output_tokens": 2}, Usage(input=1, output=2)),
        (
            {"input_tokens": 1, "cache_read_input_tokens": 20, "cache_creation_input_tokens": 300, "output_tokens": 2},
            Usage(input=321, output=2, cached=20, cache_write=300),
        ),
        (
            {"output_tokens": 2, "output_tokens_details": {"thinking_tokens": 1}},
            Usage(input=0, output=2, reasoning=1),
        ),
        ({"input_tokens": "many", "output_tokens_details": 3}, Usage()),
        ({}, None),
        ({"prompt_tokens": 3}, None),
    ],
)
def test_usage(counts: dict[str, Any], usage: Usage | None) -> None:
    assert read_usage(counts) == usage


def test_usage_is_written_as_it_is_read() -> None:
    usage = Usage(input=321, output=2, cached=20, cache_write=300, reasoning=1)
    assert read_usage(write_usage(usage)) == usage
    assert write_usage(Usage(input=1, cached=2))["input_tokens"] == 0


def test_later_counts_stand_over_earlier_ones() -> None:
    assert merge_usage({"a": 1, "b": 2}, {"a": 3, "b": None, "c": 0}) == {"a": 3, "b": 2, "c": 0}
    assert merge_usage({"a": 1}, "rubbish") == {"a": 1}


def test_no_finish_no_stop_reason() -> None:
    assert write_stop(None, calling=True) is None
    assert write_stop(Finish("length", raw="stop_sequence"), calling=False) == "max_tokens"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}', (529, "Overloaded")),
        (b'{"type":"error","error":{"type":"rate_limit_error","message":"slow"}}', (429, "slow")),
        (b'{"type":"error","error":{"type":"api_error","message":"oh"}}', (502, "oh")),
        (b'{"error":{"message":"a proxy in between"}}', (502, "a proxy in between")),
    ],
)
def test_failures(data: bytes, said: tuple[int, str]) -> None:
    failure = read_failure(data)
    assert failure is not None
    assert (failure.status, failure.message) == said


@pytest.mark.parametrize(
    "data",
    [
        b'{"type":"message","content":[{"type":"text","text":"\\"error\\""}]}',
        b'{"type":"message","error":{"message":"no"}}',
        b'{"type":"error","error":{}}',
        b'{"type":"error","error":null}',
        b'{"error"',
        b"",
    ],
)
def test_what_is_no_failure(data: bytes) -> None:
    assert read_failure(data) is None


def upstream(status: int, kind: str | None, code: str | None = None, param: str | None = None) -> UpstreamStatus:
    return UpstreamStatus("no", status=status, error_type=kind, error_code=code, param=param)


@pytest.mark.parametrize(
    ("error", "described"),
    [
        (upstream(529, "overloaded_error"), {"type": "overloaded_error"}),
        (
            upstream(429, "insufficient_quota", "quota", "model"),
            {
                "type": "rate_limit_error",
                "details": {"type": "insufficient_quota", "error_code": "quota", "param": "model"},
            },
        ),
        (upstream(418, "teapot"), {"type": "invalid_request_error", "details": {"type": "teapot"}}),
        (upstream(503, "server_error"), {"type": "api_error", "details": {"type": "server_error"}}),
    ],
)
def test_errors_of_providers(error: UpstreamStatus, described: dict[str, Any]) -> None:
    assert describe(error) == {"type": "error", "error": {"message": "no", **described}}


def test_errors_of_ours_are_anthropics_by_their_status() -> None:
    error = RequestError("no such thing", param="tools")
    said = orjson.loads(write_error(error))["error"]
    assert (said["type"], said["message"]) == ("invalid_request_error", "no such thing")
    assert said["details"]["param"] == "tools"
    assert orjson.loads(write_error(GatewayError("oh")))["error"]["type"] == "api_error"


def test_a_body_in_anthropics_shape_stays_as_it_came() -> None:
    body = b'{"type":"error","error":{"type":"api_error","message":"no"},"request_id":"r"}'
    assert write_error(UpstreamStatus("no", status=500, body=body)) == body
    for odd in (b'{"error":{"message":"no"}}', b"<html>", b""):
        assert orjson.loads(write_error(UpstreamStatus("no", status=500, body=odd)))["type"] == "error"
