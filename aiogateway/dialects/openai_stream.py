"""What chat and text completions share on the wire: chunks with `choices`, ``[DONE]``, errors as an `error` object.

Facts: OpenAI's API reference (streaming, errors); faults.md.
"""

from __future__ import annotations

import orjson

from aiogateway.dialects.base import BaseDialect
from aiogateway.dialects.failures import describe, read_failure_body
from aiogateway.dialects.payload import parse_object
from aiogateway.dialects.usage import find_usage
from aiogateway.errors import GatewayError, UpstreamStatus
from aiogateway.types import Usage
from aiogateway.wire import sse

DONE = b"[DONE]"

# First letters of the reasons in use: stop, tool_calls, length, content_filter, function_call, eos, end_turn,
# max_tokens, and Google's in capitals. An empty reason, as some servers put into every chunk, is none; nor is null. A
# quote inside a JSON string is escaped, so no text can imitate these.
_LETTERS = "stlcfemSM"


class OpenAIStream(BaseDialect):
    """Base of OpenAI's dialects whose streams are chunks."""

    finish_marks: tuple[bytes, ...] = tuple(
        f'"finish_reason":{gap}"{letter}'.encode() for letter in _LETTERS for gap in ("", " ")
    )
    done: bytes = b"data: [DONE]\n\n"
    resumable: bool = True
    usage_marks: tuple[bytes, ...] = (b'"choices":[]', b'"choices": []')

    def is_usage_only(self, frame: bytes) -> bool:
        data = self.data_of(frame)
        if b'"usage"' not in data:
            return False
        try:
            chunk = parse_object(data)
        except ValueError:
            return False
        return chunk.get("choices") == [] and isinstance(chunk.get("usage"), dict)

    def read_failure(self, frame: bytes) -> UpstreamStatus | None:
        return read_failure_body(self.data_of(frame)) if b'"error"' in frame else None

    def read_body_failure(self, body: bytes) -> UpstreamStatus | None:
        return read_failure_body(body)

    def read_usage(self, tail: bytes) -> Usage | None:
        return find_usage(tail)

    def write_failure(self, error: GatewayError) -> bytes:
        return sse.frame(orjson.dumps({"error": describe(error)}))
