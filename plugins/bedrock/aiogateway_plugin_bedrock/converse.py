"""Bedrock's Converse, which is the same for every model: the half that a provider needs.

The wire of requests is in `converse_request`, that of answers in `converse_answer`.
"""

from __future__ import annotations

from collections.abc import Sequence

from aiogateway.dialects.payload import parse_object
from aiogateway.errors import Unsupported
from aiogateway.neutral import ChatRequest, Event, NeutralRequest, Written
from aiogateway.types import Endpoint, Usage
from aiogateway_plugin_bedrock import converse_answer
from aiogateway_plugin_bedrock.converse_request import write_chat
from aiogateway_plugin_bedrock.stream import BedrockDialect, find_frames


class BedrockConverse(BedrockDialect):
    """Neutral chats out; JSON, or frames of it, in."""

    name = converse_answer.NAME
    endpoint = Endpoint.CHAT
    finish_marks = (b"\x07\x00\x0bmessageStop",)  # the value of a header, with its type and length

    def write_request(self, request: NeutralRequest) -> Written:
        if not isinstance(request, ChatRequest):
            raise Unsupported("only a chat can be written for Converse")
        return write_chat(request)

    def read_answer(self, body: bytes) -> Sequence[Event]:
        return converse_answer.read_answer(body)

    def decoder(self) -> converse_answer.ConverseDecoder:
        return converse_answer.ConverseDecoder()

    def read_usage(self, tail: bytes) -> Usage | None:
        """From a unary body, or from the last frames of a stream."""
        try:
            return converse_answer.read_usage(parse_object(tail).get("usage"))
        except ValueError:
            pass
        usage = None
        for frame in find_frames(tail):
            if frame.name == "metadata":
                try:
                    usage = converse_answer.read_usage(parse_object(frame.payload).get("usage")) or usage
                except ValueError:
                    continue
        return usage
