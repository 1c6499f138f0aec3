"""OpenAI's ``/v1/responses``: named events, no closing event; served as it is, not translated.

Facts: OpenAI's API reference ("Streaming events"). The last event is ``response.completed``, ``.incomplete`` or
``.failed`` and holds the whole response. ``error`` events are documented with their fields at the top; openai-python
raises on a nested `error`, so we read both and write both.
"""

from __future__ import annotations

import orjson

from aiogateway.dialects.base import BaseDialect
from aiogateway.dialects.failures import describe, find_status, make_failure, read_failure_body
from aiogateway.dialects.payload import as_dict, parse_object
from aiogateway.dialects.usage import find_usage
from aiogateway.errors import GatewayError, UpstreamStatus
from aiogateway.types import Endpoint, Usage
from aiogateway.wire import sse

_ENDINGS = ("response.completed", "response.incomplete", "response.failed")


class OpenAIResponses(BaseDialect):
    """Same wire in and out."""

    name = "openai_responses"
    endpoint = Endpoint.RESPONSES
    # The type stands at the start of the last event, which may be long; usage stands at its end, and in no other event.
    finish_marks = tuple(
        mark.encode()
        for gap in ("", " ")
        for mark in (*(f'"type":{gap}"{ending}"' for ending in _ENDINGS), f'"usage":{gap}{{"input_tokens"')
    )

    def is_keepalive(self, frame: bytes) -> bool:
        data = self.data_of(frame)
        return not data or (b"keepalive" in data[:80] and sse.event_name(frame) == "keepalive")

    def read_failure(self, frame: bytes) -> UpstreamStatus | None:
        if b'"error"' not in frame:
            return None
        data = self.data_of(frame)
        try:
            event = parse_object(data)
        except ValueError:
            return None
        if event.get("type") == "response.failed":
            error = as_dict(as_dict(event.get("response")).get("error"))
        elif event.get("type") == "error":
            fields = ("code", "message", "param")
            error = as_dict(event.get("error")) or {field: event[field] for field in fields if field in event}
        else:
            return read_failure_body(data)
        # Should it still become an error status, its body has to look like one.
        return make_failure(error, status=find_status(event, error), body=orjson.dumps({"error": error}))

    def read_body_failure(self, body: bytes) -> UpstreamStatus | None:
        return read_failure_body(body)

    def read_usage(self, tail: bytes) -> Usage | None:
        return find_usage(tail)

    def write_failure(self, error: GatewayError) -> bytes:
        said = describe(error)
        event = {
            "type": "error",
            "code": said["code"],
            "message": said["message"],
            "param": said["param"],
            "sequence_number": 0,
            "error": said,
        }
        return sse.frame(orjson.dumps(event), "error")
