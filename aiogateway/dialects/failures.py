"""Errors as JSON: reading what providers say, writing what OpenAI's and Portkey's clients read."""

from __future__ import annotations

import re
from typing import Any

import orjson

from aiogateway.dialects.payload import as_dict, as_text, parse_object
from aiogateway.errors import ConfigError, GatewayError, UpstreamStatus

# The rule of DESIGN.md section 3 for errors that come without a number; the first name found counts.
_STATUS_BY_NAME = {
    "rate_limit": 429,
    "overloaded": 529,
    "invalid_request": 400,
    "authentication": 401,
    "permission": 403,
    "not_found": 404,
}

MESSAGE_LIMIT = 2000

_INDEX = re.compile(r"\[([0-9]+)\]")


def find_error(payload: dict[str, Any]) -> dict[str, Any] | None:
    """The error that a JSON object stands for; None when it holds an answer, or no error.

    Known shapes: ``{"error": {...}}`` and ``{"error": "text"}`` (also beside an empty ``choices``), vLLM's
    ``{"object": "error", "message": ...}``, and in any chunk Groq's ``{"x_groq": {"error": "text"}}``: why its stream
    was stopped early (groq-python, ``XGroq``).
    """
    stopped = as_text(as_dict(payload.get("x_groq")).get("error"))
    if stopped:
        return {"message": stopped}
    if any(payload.get(name) for name in ("choices", "data", "output")) or payload.get("object") == "response":
        return None
    error = payload.get("error")
    if isinstance(error, dict) and error:
        return error
    if isinstance(error, str) and error:
        return {"message": error}
    return payload if payload.get("object") == "error" else None


def find_status(payload: dict[str, Any], error: dict[str, Any]) -> int:
    """The HTTP status of an in-band error: a number in `code` or `status`, else by name, else 502."""
    words = [source.get(field) for source in (error, payload) for field in ("code", "status")]
    for word in words:
        number = _as_status(word)
        if number is not None:
            return number
    for word in (error.get("type"), *words):
        name = (as_text(word) or "").lower()
        for part, status in _STATUS_BY_NAME.items():
            if part in name:
                return status
    return 502


def _as_status(value: Any) -> int | None:
    if isinstance(value, str) and len(value) == 3 and value.isdecimal():
        value = int(value)
    return value if isinstance(value, int) and 400 <= value <= 599 else None


def make_failure(error: dict[str, Any], *, status: int, body: bytes, **kept: Any) -> UpstreamStatus:
    """The exception for an error object; `body` is the JSON it came in."""
    return UpstreamStatus(
        find_message(error) or f"the provider failed ({status})",
        status=status,
        body=body,
        error_type=as_text(error.get("type")),
        error_code=_as_word(error.get("code")),
        param=as_text(error.get("param")),
        **kept,
    )


def find_message(error: dict[str, Any]) -> str | None:
    """An error object's text, wherever it keeps it (FastAPI's servers say ``detail``)."""
    for field in ("message", "error", "detail"):
        value = error.get(field)
        if isinstance(value, str) and value:
            return value[:MESSAGE_LIMIT]
        if isinstance(value, (dict, list)) and value:
            return as_text(as_dict(value).get("message")) or orjson.dumps(value).decode()[:MESSAGE_LIMIT]
    return None


def _as_word(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return None
    return str(value)


def read_failure_body(data: bytes) -> UpstreamStatus | None:
    """The error that a JSON body or an event's data stands for, if it holds nothing else."""
    if b'"error"' not in data:
        return None
    try:
        payload = parse_object(data)
    except ValueError:
        return None
    error = find_error(payload)
    return None if error is None else make_failure(error, status=find_status(payload, error), body=data)


def describe(error: GatewayError) -> dict[str, Any]:
    """OpenAI's error object."""
    kind: str = error.type
    code: str | None = error.code
    if isinstance(error, UpstreamStatus):
        kind = error.error_type or error.type
        code = error.error_code or (None if error.error_type else error.code)
    return {"message": error.message, "type": kind, "param": error.param, "code": code}


def write_error_body(error: GatewayError) -> bytes:
    """An error body: a provider's own as it came if it is JSON, else OpenAI's shape and Portkey's in one."""
    if isinstance(error, UpstreamStatus) and _is_object(error.body):
        return error.body
    return write_both_shapes(error, describe(error))


def write_both_shapes(error: GatewayError, described: dict[str, Any]) -> bytes:
    """OpenAI's error object, `described`, and Portkey's ``status`` and ``message`` (portkey.md 2.5) in one body.

    A ConfigError also has Portkey's ``errors``, one line for each mistake: ``path: targets,0, message: …``.
    """
    body: dict[str, Any] = {"error": described, "status": "failure", "message": error.message}
    if isinstance(error, ConfigError):
        body["errors"] = [_write_mistake(one) for one in error.errors or (error,)]
    return orjson.dumps(body)


def _write_mistake(error: ConfigError) -> str:
    path = _INDEX.sub(r".\1", error.path).replace(".", ",")
    return f"path: {path}, message: {error.reason}"


def _is_object(body: bytes) -> bool:
    try:
        parse_object(body)
    except ValueError:
        return False
    return True
