from __future__ import annotations

from typing import Any

import orjson
import pytest

from aiogateway.config.mistakes import join_errors
from aiogateway.dialects.failures import (
    MESSAGE_LIMIT,
    describe,
    find_error,
    find_message,
    find_status,
    read_failure_body,
    write_error_body,
)
from aiogateway.errors import ConfigError, GatewayError, Overloaded, StreamBroken, UpstreamStatus


@pytest.mark.parametrize(
    ("payload", "status"),
    [
        ({"error": {"code": 503}}, 503),
        ({"error": {"code": "429"}}, 429),
        ({"error": {"message": "x", "type": "t"}, "code": 418}, 418),
        ({"error": {"message": "x"}, "status": 599}, 599),
        ({"error": {"code": 200, "message": "x"}}, 502),
        ({"error": {"code": 600, "message": "x"}}, 502),
        ({"error": {"type": "rate_limit_error"}}, 429),
        ({"error": {"code": "rate_limit_exceeded", "type": "requests"}}, 429),
        ({"error": {"type": "overloaded_error"}}, 529),
        ({"error": {"type": "invalid_request_error"}}, 400),
        ({"error": {"type": "authentication_error"}}, 401),
        ({"error": {"status": "PERMISSION_DENIED"}}, 403),
        ({"error": {"type": "not_found_error"}}, 404),
        ({"error": {"type": "server_error"}}, 502),
        ({"error": "something"}, 502),
        ({"error": {"code": True, "message": "x"}}, 502),
    ],
)
def test_status_of_an_error_in_band(payload: dict[str, Any], status: int) -> None:
    error = find_error(payload)
    assert error is not None
    assert find_status(payload, error) == status


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"error": None},
        {"error": {}},
        {"error": ""},
        {"error": 7},
        {"error": {"message": "x"}, "choices": [{"index": 0}]},
        {"error": {"message": "x"}, "data": [{}]},
        {"error": {"message": "x"}, "output": [{}]},
        {"error": {"message": "x"}, "object": "response", "output": []},
        {"choices": []},
    ],
)
def test_an_answer_is_no_error(payload: dict[str, Any]) -> None:
    assert find_error(payload) is None


def test_errors_beside_nothing_are_errors() -> None:
    assert find_error({"error": {"message": "x"}, "choices": []}) == {"message": "x"}
    assert find_error({"error": "x"}) == {"message": "x"}
    vllm = {"object": "error", "message": "x", "code": 400}
    assert find_error(vllm) == vllm


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ({"message": "m"}, "m"),
        ({"error": "m"}, "m"),
        ({"detail": "m"}, "m"),
        ({"detail": [{"msg": "field required"}]}, '[{"msg":"field required"}]'),
        ({"error": {"message": "inner"}}, "inner"),
        ({"message": "", "detail": 3}, None),
        ({"message": "x" * 5000}, "x" * MESSAGE_LIMIT),
    ],
)
def test_message_wherever_it_is(error: dict[str, Any], message: str | None) -> None:
    assert find_message(error) == message


def test_reading_a_body() -> None:
    body = b'{"error":{"message":"slow down","type":"rate_limit_error","code":7,"param":"n"}}'
    failure = read_failure_body(body)
    assert failure is not None
    assert (failure.message, failure.status, failure.body) == ("slow down", 429, body)
    assert (failure.error_type, failure.error_code, failure.param) == ("rate_limit_error", "7", "n")
    assert read_failure_body(b'{"choices":[]}') is None
    assert read_failure_body(b'{"error":') is None
    assert read_failure_body(b'{"error":null}') is None
    nameless = read_failure_body(b'{"error":{"code":true}}')
    assert nameless is not None
    assert (nameless.message, nameless.error_code) == ("the provider failed (502)", None)


def test_our_own_errors_have_both_shapes() -> None:
    body = orjson.loads(write_error_body(Overloaded("too much")))
    assert body == {
        "error": {"message": "too much", "type": "gateway_error", "param": None, "code": "overloaded"},
        "status": "failure",
        "message": "too much",
    }


def test_a_config_error_also_has_portkeys_list() -> None:
    body = orjson.loads(write_error_body(ConfigError("must be a string", path="targets[1].provider")))
    assert body == {
        "error": {
            "message": "targets[1].provider: must be a string",
            "type": "invalid_request_error",
            "param": "targets[1].provider",
            "code": "invalid_config",
        },
        "status": "failure",
        "message": "targets[1].provider: must be a string",
        "errors": ["path: targets,1,provider, message: must be a string"],
    }


def test_every_mistake_of_a_config_has_a_line() -> None:
    body = orjson.loads(
        write_error_body(
            join_errors(
                [
                    ConfigError("too many attempts"),
                    ConfigError("is bad", path="targets[1].targets[10].retry.on_status_codes[0]"),
                    ConfigError("is given twice", path="x-portkey-config"),
                ]
            )
        )
    )
    assert body["errors"] == [
        "path: , message: too many attempts",
        "path: targets,1,targets,10,retry,on_status_codes,0, message: is bad",
        "path: x-portkey-config, message: is given twice",
    ]
    assert body["message"] == body["error"]["message"]
    assert all(part in body["message"] for part in ("3 mistakes", "too many", "codes[0]: is bad", "given twice"))
    assert body["error"]["param"] is None


def test_a_providers_json_body_stays_as_it_is() -> None:
    body = b'{ "error": {"message": "no",  "x": 1} }'
    assert write_error_body(UpstreamStatus("no", status=400, body=body)) == body


@pytest.mark.parametrize("body", [b"<html>Bad Gateway</html>", b"", b"[1]", b'"text"'])
def test_a_body_that_is_no_object_is_replaced(body: bytes) -> None:
    said = orjson.loads(write_error_body(UpstreamStatus("bad gateway", status=502, body=body)))
    assert said["message"] == said["error"]["message"] == "bad gateway"
    assert said["status"] == "failure"


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (StreamBroken("x"), "upstream_error", "stream_truncated"),
        (GatewayError("x"), "gateway_error", "internal_error"),
        (UpstreamStatus("x", status=500), "upstream_error", "upstream_status"),
        (UpstreamStatus("x", status=500, error_type="server_error"), "server_error", None),
        (UpstreamStatus("x", status=500, error_type="t", error_code="c"), "t", "c"),
    ],
)
def test_type_and_code(error: GatewayError, kind: str, code: str | None) -> None:
    assert describe(error) == {"message": "x", "type": kind, "param": None, "code": code}
