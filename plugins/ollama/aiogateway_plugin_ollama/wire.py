"""What both of Ollama's dialects have in common: JSON in lines, and its errors and counts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from aiogateway.contracts import MAX_EVENT
from aiogateway.dialects.base import BaseDialect
from aiogateway.dialects.failures import find_status
from aiogateway.dialects.payload import as_count, as_text, parse_object
from aiogateway.errors import GatewayError, UpstreamStatus
from aiogateway.types import Usage
from aiogateway.wire import ndjson


class OllamaDialect(BaseDialect):
    """Ollama's wire without what an endpoint means."""

    media_type = "application/x-ndjson"

    def splitter(self, max_event: int = MAX_EVENT) -> ndjson.Splitter:
        return ndjson.Splitter(max_event)

    def frame_end(self, data: bytes, start: int) -> int:
        return data.find(b"\n", start) + 1

    def data_of(self, frame: bytes) -> bytes:
        return ndjson.data_of(frame)

    def read_failure(self, frame: bytes) -> UpstreamStatus | None:
        return self.read_body_failure(frame)

    def read_body_failure(self, body: bytes) -> UpstreamStatus | None:
        try:
            return find_failure(parse_object(self.data_of(body)))
        except ValueError:
            return None

    def read_usage(self, tail: bytes) -> Usage | None:
        """From a unary body, or from the last line of a stream."""
        for candidate in (tail, tail.rstrip().rpartition(b"\n")[2]):
            try:
                return count_usage(parse_object(self.data_of(candidate)))
            except ValueError:
                continue
        return None

    def write_failure(self, error: GatewayError) -> bytes:
        return ndjson.frame(self.write_error(error))

    def write_error(self, error: GatewayError) -> bytes:
        return orjson.dumps({"error": error.message})


def find_failure(payload: Mapping[str, Any]) -> UpstreamStatus | None:
    """The error a line or body stands for.

    ``{"error": "text"}``: ``docs/api/errors.mdx``, "Errors that occur while streaming". What comes through from
    ollama.com is Go's ``api.StatusError`` with its ``StatusCode``.
    """
    message = as_text(payload.get("error"))
    if not message:
        return None
    status = payload.get("StatusCode", payload.get("status"))
    return UpstreamStatus(message, status=find_status({"status": status}, {}))


def count_usage(payload: Mapping[str, Any]) -> Usage | None:
    """``prompt_eval_count`` and ``eval_count`` of the last line (``api.Metrics``); a zero is left out there."""
    if "prompt_eval_count" not in payload and "eval_count" not in payload:
        return None
    return Usage(input=as_count(payload.get("prompt_eval_count")), output=as_count(payload.get("eval_count")))


def read_time(payload: Mapping[str, Any]) -> int | None:
    """``created_at`` (RFC 3339, nanoseconds) in Unix seconds."""
    try:
        moment = datetime.fromisoformat(payload["created_at"])
    except (KeyError, TypeError, ValueError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp()) if moment.year >= 1970 else None
