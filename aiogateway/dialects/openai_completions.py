"""OpenAI's legacy ``/v1/completions``: a prompt goes in, bare text comes out.

Translated, a prompt is one user message. A list of prompts, and prompts of token ids, have no neutral form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from aiogateway.contracts import Decoder, Encoder
from aiogateway.dialects.chat_decode import AnswerReader, ChatDecoder
from aiogateway.dialects.chat_encode import AnswerWriter
from aiogateway.dialects.chat_request import read_sampling, sift, write_sampling
from aiogateway.dialects.failures import describe
from aiogateway.dialects.fields import take_optional_text, take_text
from aiogateway.dialects.openai_stream import OpenAIStream
from aiogateway.dialects.payload import parse_object
from aiogateway.dialects.usage import write_usage
from aiogateway.errors import Unsupported
from aiogateway.neutral import (
    Begin,
    ChatRequest,
    Envelope,
    Event,
    Failure,
    Finish,
    Message,
    NeutralRequest,
    Text,
    TextPart,
    UsageReport,
    Written,
)
from aiogateway.types import Endpoint, Usage
from aiogateway.wire import sse

_OBJECT = "text_completion"
_READ = frozenset(
    {
        "model", "prompt", "stream", "stream_options", "stop", "max_tokens", "max_completion_tokens", "temperature",
        "top_p", "frequency_penalty", "presence_penalty", "seed", "n", "user",
    }
)  # fmt: skip


class OpenAICompletions(OpenAIStream):
    """Same bytes in and out; a plain text prompt also translates."""

    name = "openai_completions"
    endpoint = Endpoint.COMPLETIONS

    def read_request(self, body: Mapping[str, Any]) -> NeutralRequest:
        prompt = body.get("prompt")
        if isinstance(prompt, list) and len(prompt) == 1:
            prompt = prompt[0]
        if not isinstance(prompt, str):
            raise Unsupported(
                "prompt must be one string where the provider is not asked in this format", param="prompt"
            )
        extra = {name: value for name, value in body.items() if name not in _READ}
        return ChatRequest(
            model=take_text(body, "model"),
            messages=(Message("user", (TextPart(prompt),)),),
            dialect=self.name,
            user=take_optional_text(body, "user"),
            **read_sampling(body, extra),
            extra=extra,
        )

    def write_request(self, request: NeutralRequest) -> Written:
        if not isinstance(request, ChatRequest):
            raise Unsupported("only text can be completed")
        texts = []
        for number, message in enumerate(request.messages):
            for part in message.parts:
                if not isinstance(part, TextPart):
                    raise Unsupported("the target completes plain text only", param=f"messages[{number}].content")
                texts.append(part.text)
        extra, dropped = sift(request)
        body = {"model": request.model, "prompt": "\n\n".join(texts)}
        body |= write_sampling(request, extra, limit="max_tokens")
        if request.user is not None:
            body["user"] = request.user
        fields = ("tools", "tool_choice", "response_format", "thinking", "top_k")
        dropped += [field for field in fields if getattr(request, field) not in (None, ()) or extra.pop(field, None)]
        return Written(body | extra, tuple(dropped))

    def read_answer(self, body: bytes) -> Sequence[Event]:
        return list(AnswerReader().read(parse_object(body), "text"))

    def write_answer(self, events: Sequence[Event], envelope: Envelope) -> bytes:
        writer = AnswerWriter(envelope)
        writer.head["object"] = _OBJECT
        for event in events:
            writer.add(event)
        choices = [writer.choices[index] for index in sorted(writer.choices)]
        return writer.write(
            [
                {
                    "index": choice.index,
                    "text": "".join(choice.text),
                    "logprobs": None,
                    "finish_reason": choice.reason(),
                }
                for choice in choices
            ]
        )

    def decoder(self) -> Decoder:
        return CompletionDecoder()

    def encoder(self, envelope: Envelope) -> Encoder:
        return CompletionEncoder(envelope)


class CompletionDecoder(ChatDecoder):
    """Chunks whose choices hold bare text."""

    part = "text"


class CompletionEncoder:
    """Text and finish reasons; a text completion has no place for thoughts and tool calls."""

    def __init__(self, envelope: Envelope) -> None:
        self._include_usage = envelope.include_usage
        self._head: dict[str, Any] = {"id": envelope.id, "object": _OBJECT, "created": envelope.created}
        self._head["model"] = envelope.model
        self._usage: Usage | None = None

    def feed(self, event: Event) -> bytes:
        if isinstance(event, Text):
            return self._write(event.index, event.text, None)
        if isinstance(event, Finish):
            return self._write(event.index, "", event.reason)
        if isinstance(event, Begin):
            said = {"id": event.id, "model": event.model, "created": event.created}
            self._head |= {name: value for name, value in said.items() if value is not None}
        elif isinstance(event, UsageReport):
            self._usage = event.usage
        elif isinstance(event, Failure):
            return sse.frame(orjson.dumps({"error": describe(event.error)}))
        return b""

    def _write(self, index: int, text: str, finish: str | None) -> bytes:
        choice = {"text": text, "index": index, "logprobs": None, "finish_reason": finish}
        usage = {"usage": None} if self._include_usage else {}
        return sse.frame(orjson.dumps({**self._head, "choices": [choice], **usage}))

    def end(self) -> bytes:
        if not self._include_usage or self._usage is None:
            return OpenAIStream.done
        chunk = {**self._head, "choices": [], "usage": write_usage(self._usage)}
        return sse.frame(orjson.dumps(chunk)) + OpenAIStream.done
