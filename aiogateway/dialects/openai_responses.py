"""OpenAI's ``/v1/responses``: named events, no closing event.

The translating half lives next door: requests in `responses_request` (`responses_items`, `responses_parts`,
`responses_tools`), answers in `responses_decode` and `responses_encode` (`responses_output`), thoughts that only their
provider can read in `responses_seals`.

Facts: OpenAI's API reference ("Streaming events"). The last event is ``response.completed``, ``.incomplete`` or
``.failed`` and holds the whole response; before the last there may be an ``error`` (vercel/ai, openai-error.1.chunks).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from aiogateway.contracts import Decoder, Encoder
from aiogateway.dialects import responses_decode, responses_encode, responses_request
from aiogateway.dialects.base import BaseDialect
from aiogateway.dialects.failures import read_failure_body
from aiogateway.dialects.payload import parse_object
from aiogateway.dialects.usage import find_usage
from aiogateway.errors import GatewayError, UpstreamStatus
from aiogateway.neutral import Envelope, Event, NeutralRequest, Written
from aiogateway.types import Endpoint, Usage
from aiogateway.wire import sse

_ENDINGS = ("response.completed", "response.incomplete", "response.failed")


class OpenAIResponses(BaseDialect):
    """Same bytes in and out, and everything translates."""

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
        return responses_decode.find_failure(event, data)

    def read_body_failure(self, body: bytes) -> UpstreamStatus | None:
        return read_failure_body(body)

    def read_usage(self, tail: bytes) -> Usage | None:
        return find_usage(tail)

    def write_failure(self, error: GatewayError) -> bytes:
        """Both events that clients look for. Of the response, nothing is known here but that it failed; an encoder,
        told of the `Failure`, writes the whole one.
        """
        event = {"type": "error", "sequence_number": 0, **responses_encode.describe_event(error)}
        response: dict[str, Any] = {
            "object": "response",
            "status": "failed",
            "error": responses_encode.describe_failure(error),
            "incomplete_details": None,
            "output": [],
            "usage": None,
        }
        failed = {"type": "response.failed", "sequence_number": 0, "response": response}
        return sse.frame(orjson.dumps(event), "error") + sse.frame(orjson.dumps(failed), "response.failed")

    def read_request(self, body: Mapping[str, Any]) -> NeutralRequest:
        return responses_request.read_request(body)

    def write_request(self, request: NeutralRequest) -> Written:
        return responses_request.write_request(request)

    def read_answer(self, body: bytes) -> Sequence[Event]:
        return responses_decode.read_answer(body)

    def write_answer(self, events: Sequence[Event], envelope: Envelope) -> bytes:
        return responses_encode.write_answer(events, envelope, envelope.request)

    def decoder(self) -> Decoder:
        return responses_decode.ResponseDecoder()

    def encoder(self, envelope: Envelope) -> Encoder:
        return responses_encode.ResponseEncoder(envelope, envelope.request)
