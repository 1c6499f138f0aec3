"""Anthropic's ``/v1/messages``: named events, ``message_stop`` at the end, pings in between.

Facts: platform.claude.com, "Streaming messages", API reference. The translating half lives next door: requests in
`anthropic_read` and `anthropic_parts`, `anthropic_write` and `anthropic_blocks`; answers in `anthropic_decode` and
`anthropic_encode`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiogateway.contracts import Decoder, Encoder
from aiogateway.dialects import anthropic_decode, anthropic_encode, anthropic_read, anthropic_words, anthropic_write
from aiogateway.dialects.base import BaseDialect
from aiogateway.dialects.payload import as_dict, parse_object
from aiogateway.errors import GatewayError, UpstreamStatus
from aiogateway.neutral import Envelope, Event, NeutralRequest, Written
from aiogateway.types import Endpoint, Usage
from aiogateway.wire import sse

_COUNTING = (b"message_start", b"message_delta")


class AnthropicErrors(BaseDialect):
    """Errors in Anthropic's shape, in a body and in a stream."""

    def read_failure(self, frame: bytes) -> UpstreamStatus | None:
        return anthropic_words.read_failure(self.data_of(frame)) if b'"error"' in frame else None

    def read_body_failure(self, body: bytes) -> UpstreamStatus | None:
        return anthropic_words.read_failure(body)

    def write_failure(self, error: GatewayError) -> bytes:
        return sse.frame(self.write_error(error), "error")

    def write_error(self, error: GatewayError) -> bytes:
        return anthropic_words.write_error(error)


class Anthropic(AnthropicErrors):
    """Same bytes in and out, and everything translates.

    Anthropic pads its events with blanks, so its last one has no fixed bytes, and none is added where it is missing:
    such a stream was cut.
    """

    name = anthropic_words.NAME
    endpoint = Endpoint.MESSAGES
    finish_marks = (b'"type":"message_stop"', b'"type": "message_stop"')

    def is_keepalive(self, frame: bytes) -> bool:
        """A ping; before `message_start` there is nothing else that says nothing."""
        data = self.data_of(frame)
        return not data or (b'"ping"' in data[:32] and data[:32].replace(b" ", b"").startswith(b'{"type":"ping"'))

    def read_usage(self, tail: bytes) -> Usage | None:
        """Of a stream, by the events that count: the last one's counts are all of them, but for servers that tell the
        input in `message_start` only, and then only while that is still in the tail.
        """
        whole = _parse(tail) if tail.lstrip().startswith(b"{") else {}
        if whole:
            return anthropic_words.read_usage(as_dict(whole.get("usage")))
        counts: dict[str, Any] = {}
        for line in tail.split(b"\n"):
            if not line.startswith(b"data:") or not any(mark in line[:64] for mark in _COUNTING):
                continue
            event = _parse(line[5:])
            counts = anthropic_words.merge_usage(counts, as_dict(event.get("message")).get("usage"))
            counts = anthropic_words.merge_usage(counts, event.get("usage"))
        return anthropic_words.read_usage(counts)

    def read_request(self, body: Mapping[str, Any]) -> NeutralRequest:
        return anthropic_read.read_request(body)

    def write_request(self, request: NeutralRequest) -> Written:
        return anthropic_write.write_request(request)

    def read_answer(self, body: bytes) -> Sequence[Event]:
        return anthropic_decode.read_answer(body)

    def write_answer(self, events: Sequence[Event], envelope: Envelope) -> bytes:
        return anthropic_encode.write_answer(events, envelope)

    def decoder(self) -> Decoder:
        return anthropic_decode.AnthropicDecoder()

    def encoder(self, envelope: Envelope) -> Encoder:
        return anthropic_encode.AnthropicEncoder(envelope)


def _parse(data: bytes) -> dict[str, Any]:
    """Empty for what was cut."""
    try:
        return parse_object(data)
    except ValueError:
        return {}


class AnthropicTokens(AnthropicErrors):
    """Anthropic's ``/v1/messages/count_tokens``: a number for an answer, the same wire in and out.

    How many tokens a prompt has is another question at every provider, so it is not translated.
    """

    name = "anthropic_tokens"
    endpoint = Endpoint.COUNT_TOKENS
