"""Words of Anthropic's Messages API and what they are elsewhere: stop reasons, error types, token counts.

Facts: platform.claude.com, API reference "Messages", "Errors" and "Streaming"; the types of anthropic-sdk-python 2.12.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from aiogateway.dialects.failures import find_status, make_failure
from aiogateway.dialects.payload import as_count, as_dict, as_text, parse_object
from aiogateway.errors import GatewayError, UpstreamStatus
from aiogateway.neutral import Finish
from aiogateway.types import Usage

NAME = "anthropic"

REASONS: Mapping[str, str] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
_STOPS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_WORDS = frozenset({*_TYPES.values(), "api_error"})


def write_stop(finish: Finish | None, *, calling: bool) -> str | None:
    """Anthropic's stop reason; the provider's own word where it is one of Anthropic's."""
    if finish is None:
        return None
    if calling and finish.reason == "stop":
        return "tool_use"
    return finish.raw if REASONS.get(finish.raw or "") == finish.reason else _STOPS.get(finish.reason, "end_turn")


# --- token counts -------------------------------------------------------------------------------------------------


def merge_usage(known: dict[str, Any], value: Any) -> dict[str, Any]:
    """A later ``usage`` object over an earlier one: counts are cumulative, and what is absent stays as it was."""
    return known | {name: count for name, count in as_dict(value).items() if count is not None}


def read_usage(counts: Mapping[str, Any]) -> Usage | None:
    """``input_tokens`` counts only what was neither read from the cache nor written to it."""
    if "input_tokens" not in counts and "output_tokens" not in counts:
        return None
    cached, written = (as_count(counts.get(f"cache_{name}_input_tokens")) for name in ("read", "creation"))
    return Usage(
        input=as_count(counts.get("input_tokens")) + cached + written,
        output=as_count(counts.get("output_tokens")),
        cached=cached,
        cache_write=written,
        reasoning=as_count(as_dict(counts.get("output_tokens_details")).get("thinking_tokens")),
    )


def write_usage(usage: Usage) -> dict[str, Any]:
    """The counterpart of `read_usage`."""
    written: dict[str, Any] = {
        "input_tokens": max(0, usage.input - usage.cached - usage.cache_write),
        "cache_creation_input_tokens": usage.cache_write,
        "cache_read_input_tokens": usage.cached,
        "output_tokens": usage.output,
    }
    if usage.reasoning:
        written["output_tokens_details"] = {"thinking_tokens": usage.reasoning}
    return written


# --- errors -------------------------------------------------------------------------------------------------------


def read_failure(data: bytes) -> UpstreamStatus | None:
    """The error that an event's data or a 2xx body is: ``{"type": "error", "error": {"type", "message"}}``."""
    if b'"error"' not in data:
        return None
    try:
        payload = parse_object(data)
    except ValueError:
        return None
    return find_failure(payload, data)


def find_failure(payload: dict[str, Any], data: bytes) -> UpstreamStatus | None:
    error = as_dict(payload.get("error"))
    if payload.get("type") not in ("error", None) or not error:
        return None
    return make_failure(error, status=find_status(payload, error), body=data)


def write_error(error: GatewayError) -> bytes:
    """An error body. A type that is none of Anthropic's, and the code, go to ``details``, where SDKs leave them be."""
    if isinstance(error, UpstreamStatus) and _is_object(error.body):
        return error.body
    return orjson.dumps(describe(error))


def describe(error: GatewayError) -> dict[str, Any]:
    """Anthropic's error object."""
    said: str | None = error.type
    code: str | None = error.code
    if isinstance(error, UpstreamStatus):
        said = error.error_type or error.type
        code = error.error_code or (None if error.error_type else error.code)
    word = said if said in _WORDS else _name_status(error.status)
    details = {"type": None if said == word else said, "error_code": code, "param": error.param}
    described: dict[str, Any] = {"type": word, "message": error.message}
    if any(details.values()):
        described["details"] = {name: value for name, value in details.items() if value}
    return {"type": "error", "error": described}


def _name_status(status: int) -> str:
    return _TYPES.get(status) or ("invalid_request_error" if status < 500 else "api_error")


def _is_object(body: bytes) -> bool:
    try:
        return as_text(parse_object(body).get("type")) == "error"
    except ValueError:
        return False
