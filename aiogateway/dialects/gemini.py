"""Gemini's ``generateContent`` and ``streamGenerateContent?alt=sse``: the half that a provider needs.

A stream has no closing event: it ends behind a chunk with a ``finishReason`` for each candidate, or with one that says
why the prompt was blocked. The translating half lives next door: requests in `gemini_request` and `gemini_contents`,
answers in `gemini_decode`, errors in `gemini_failures`.
"""

from __future__ import annotations

from collections.abc import Sequence

from aiogateway.contracts import Decoder
from aiogateway.dialects import gemini_decode, gemini_request
from aiogateway.dialects.base import BaseDialect
from aiogateway.dialects.gemini_failures import read_body_failure, read_payloads
from aiogateway.dialects.gemini_usage import find_usage
from aiogateway.errors import UpstreamStatus
from aiogateway.neutral import Event, NeutralRequest, Written
from aiogateway.types import Endpoint, Usage


class Gemini(BaseDialect):
    """Neutral chats out, Google's chunks in."""

    name = "gemini"
    endpoint = Endpoint.CHAT
    finish_marks = tuple(f'"{field}":{gap}"'.encode() for field in ("finishReason", "blockReason") for gap in ("", " "))

    def data_of(self, frame: bytes) -> bytes:
        return gemini_decode.data_of(frame)

    def is_malformed(self, frame: bytes) -> bool:
        data = self.data_of(frame)
        try:
            return bool(data) and not read_payloads(data)
        except ValueError:
            return True

    def read_failure(self, frame: bytes) -> UpstreamStatus | None:
        return read_body_failure(self.data_of(frame))

    def read_body_failure(self, body: bytes) -> UpstreamStatus | None:
        return read_body_failure(body)

    def read_usage(self, tail: bytes) -> Usage | None:
        return find_usage(tail)

    def write_request(self, request: NeutralRequest) -> Written:
        return gemini_request.write_request(request)

    def read_answer(self, body: bytes) -> Sequence[Event]:
        return gemini_decode.read_answer(body)

    def decoder(self) -> Decoder:
        return gemini_decode.GeminiDecoder()
