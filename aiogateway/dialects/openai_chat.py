"""OpenAI's ``/v1/chat/completions``, which most of the world speaks.

The translating half lives next door: requests in `chat_request` and `chat_messages`, answers in `chat_decode` and
`chat_encode`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiogateway.contracts import Decoder, Encoder
from aiogateway.dialects import chat_decode, chat_encode, chat_request
from aiogateway.dialects.openai_stream import OpenAIStream
from aiogateway.neutral import Envelope, Event, NeutralRequest, Written
from aiogateway.types import Endpoint


class OpenAIChat(OpenAIStream):
    """Same bytes in and out, and everything translates."""

    name = "openai_chat"
    endpoint = Endpoint.CHAT

    def read_request(self, body: Mapping[str, Any]) -> NeutralRequest:
        return chat_request.read_request(body)

    def write_request(self, request: NeutralRequest) -> Written:
        return chat_request.write_request(request)

    def read_answer(self, body: bytes) -> Sequence[Event]:
        return chat_decode.read_answer(body)

    def write_answer(self, events: Sequence[Event], envelope: Envelope) -> bytes:
        return chat_encode.write_answer(events, envelope)

    def decoder(self) -> Decoder:
        return chat_decode.ChatDecoder()

    def encoder(self, envelope: Envelope) -> Encoder:
        return chat_encode.ChatEncoder(envelope)
