from __future__ import annotations

import json

import pytest
from aiogateway_plugin_bedrock.failures import (
    STATUSES,
    find_body_failure,
    find_failure,
    read_status_error,
    write_failure,
)
from aiogateway_plugin_bedrock.frames import Frame, read_frame, write_event
from botocore.loaders import Loader  # type: ignore[import-untyped,import-not-found,unused-ignore]

from aiogateway.errors import IdleTimeout


def exception(name: str, payload: bytes) -> Frame:
    return read_frame(write_event(name, payload, kind="exception"))


def test_statuses_are_the_service_models() -> None:
    shapes = Loader().load_service_model("bedrock-runtime", "service-2")["shapes"]
    modelled = {name.lower(): shape["error"]["httpStatusCode"] for name, shape in shapes.items() if "error" in shape}
    assert {name: STATUSES.get(name) for name in modelled} == modelled


@pytest.mark.parametrize(
    ("headers", "body", "message", "kind"),
    [
        ((), {"message": "no"}, "no", None),
        ((("x-amzn-errortype", "ThrottlingException"),), {"message": "slow"}, "slow", "ThrottlingException"),
        (
            (),
            {"__type": "com.amazon.coral.service#AccessDeniedException", "Message": "x"},
            "x",
            "AccessDeniedException",
        ),
        (
            (),
            {"Output": {"__type": "com.amazon.coral.service#UnknownOperationException"}, "Version": "1.0"},
            "bedrock answered with status 404 (UnknownOperationException)",
            "UnknownOperationException",
        ),
        ((), None, "bedrock answered with status 404", None),
    ],
)
def test_errors_by_status(headers: tuple[tuple[str, str], ...], body: object, message: str, kind: str | None) -> None:
    raw = json.dumps(body).encode()
    error = read_status_error(404, headers, raw)
    assert (error.status, error.message, error.error_type) == (404, message, kind)
    assert (error.body, error.headers) == (raw, headers)


def test_exceptions_in_a_stream() -> None:
    throttled = find_failure(exception("throttlingException", b'{"message":"slow down"}'))
    assert throttled is not None
    assert (throttled.status, throttled.message, throttled.error_type) == (429, "slow down", "throttlingException")
    broken = find_failure(
        exception("modelStreamErrorException", b'{"message":"m","originalStatusCode":503,"originalMessage":"busy"}')
    )
    assert broken is not None
    assert (broken.status, broken.message) == (503, "m: busy")
    strange = find_failure(exception("novelException", b"no json"))
    assert strange is not None
    assert (strange.status, strange.message) == (502, "bedrock's stream failed (novelException)")
    assert find_failure(read_frame(write_event("messageStop", b"{}"))) is None


def test_errors_in_a_stream_say_all_in_their_headers() -> None:
    headers = {":message-type": "error", ":error-code": "InternalServerException", ":error-message": "oh"}
    error = find_failure(Frame(headers, b""))
    assert error is not None
    assert (error.status, error.message, error.error_type) == (500, "oh", "InternalServerException")
    bare = find_failure(Frame({":message-type": "error"}, b""))
    assert bare is not None
    assert (bare.status, bare.message, bare.error_type) == (502, "bedrock's stream failed", None)


def test_an_error_in_a_good_answer() -> None:
    error = find_body_failure({"Output": {"__type": "x#ThrottlingException"}})
    assert error is not None
    assert (error.status, error.message) == (429, "bedrock failed (ThrottlingException)")
    assert find_body_failure({"output": {}, "message": "x"}) is None


def test_our_own_error_is_an_exception_of_theirs() -> None:
    error = find_failure(read_frame(write_failure(IdleTimeout("silence"))))
    assert error is not None
    assert (error.status, error.message) == (500, "silence")
