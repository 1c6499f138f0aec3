"""Bedrock's errors: as answers, as frames of a stream, and what their names mean.

Names and statuses: the exceptions of the service model ``bedrock-runtime/2023-09-30`` (botocore 1.44). A body is
``{"message": …}`` with the name in the header ``x-amzn-errortype`` or in ``__type``; what AWS's front refuses says
``Message``, or wraps it in ``Output``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from aiogateway.dialects.failures import MESSAGE_LIMIT
from aiogateway.dialects.payload import as_count, as_dict, as_text, parse_object
from aiogateway.errors import GatewayError, Headers, UpstreamStatus
from aiogateway_plugin_bedrock.frames import Frame, write_event

STATUSES: Mapping[str, int] = {
    "accessdeniedexception": 403,
    "conflictexception": 400,
    "expiredtokenexception": 403,
    "internalserverexception": 500,
    "invalidsignatureexception": 403,
    "modelerrorexception": 424,
    "modelnotreadyexception": 429,
    "modelstreamerrorexception": 424,
    "modeltimeoutexception": 408,
    "resourcenotfoundexception": 404,
    "servicequotaexceededexception": 400,
    "serviceunavailableexception": 503,
    "throttlingexception": 429,
    "unrecognizedclientexception": 403,
    "validationexception": 400,
}


def read_status_error(status: int, headers: Headers, body: bytes) -> UpstreamStatus:
    """An answer that is not 2xx; body and headers are kept as they came."""
    try:
        payload = parse_object(body)
    except ValueError:
        payload = {}
    name = next((value for header, value in headers if header == "x-amzn-errortype"), "")
    name = _clean(name) or _find_name(payload)
    return UpstreamStatus(
        _find_message(payload) or f"bedrock answered with status {status}{f' ({name})' if name else ''}",
        status=status,
        body=body,
        headers=headers,
        error_type=name or None,
    )


def find_body_failure(payload: Mapping[str, Any]) -> UpstreamStatus | None:
    """The error that a 2xx body stands for: AWS's front answers so for a path it does not know."""
    name = _find_name(payload)
    if not name:
        return None
    return UpstreamStatus(
        _find_message(payload) or f"bedrock failed ({name})", status=STATUSES.get(name.lower(), 502), error_type=name
    )


def find_failure(frame: Frame) -> UpstreamStatus | None:
    """The error a frame stands for. An exception has a JSON payload, an error says all in its headers."""
    if frame.kind == "event":
        return None
    if frame.kind == "error":
        name = frame.headers.get(":error-code", "")
        message = frame.headers.get(":error-message", "")
        return UpstreamStatus(message or "bedrock's stream failed", status=_find_status(name), error_type=name or None)
    try:
        payload = parse_object(frame.payload)
    except ValueError:
        payload = {}
    name = frame.name
    message = _find_message(payload) or f"bedrock's stream failed ({name})"
    cause = as_text(payload.get("originalMessage"))
    if cause and cause not in message:
        message = f"{message}: {cause}"[:MESSAGE_LIMIT]
    original = as_count(payload.get("originalStatusCode"))
    status = original if 400 <= original <= 599 else _find_status(name)
    return UpstreamStatus(message, status=status, error_type=name or None)


def write_failure(error: GatewayError) -> bytes:
    """An error of ours as a frame."""
    return write_event("internalServerException", write_error(error), kind="exception")


def write_error(error: GatewayError) -> bytes:
    return orjson.dumps({"message": error.message})


def _find_status(name: str) -> int:
    return STATUSES.get(name.lower(), 502)


def _find_name(payload: Mapping[str, Any]) -> str:
    return _clean(as_text(payload.get("__type")) or as_text(as_dict(payload.get("Output")).get("__type")) or "")


def _clean(name: str) -> str:
    """``com.amazon.coral.service#ThrottlingException:http://internal.amazon.com/…`` is a ThrottlingException."""
    return name.partition(":")[0].rpartition("#")[2].strip()


def _find_message(payload: Mapping[str, Any]) -> str | None:
    for field in ("message", "Message"):
        value = payload.get(field)
        if isinstance(value, str) and value:
            return value[:MESSAGE_LIMIT]
    return None
