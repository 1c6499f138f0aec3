"""OpenAI's ``/v1/embeddings``. A vector is a list of numbers, or base64 of little-endian float32."""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from aiogateway.dialects.fields import take_count, take_optional_text, take_text
from aiogateway.dialects.openai_stream import OpenAIStream
from aiogateway.dialects.payload import as_count, as_dict, as_list, as_text, parse_object
from aiogateway.dialects.usage import read_usage
from aiogateway.errors import Unsupported
from aiogateway.neutral import (
    Begin,
    EmbedRequest,
    Envelope,
    Event,
    NeutralRequest,
    UsageReport,
    Vectors,
    Written,
)
from aiogateway.types import Endpoint

_READ = frozenset({"model", "input", "dimensions", "encoding_format"})


class OpenAIEmbeddings(OpenAIStream):
    """Unary only; texts translate, token ids don't."""

    name = "openai_embeddings"
    endpoint = Endpoint.EMBEDDINGS
    finish_marks = ()
    done = b""
    usage_marks = ()

    def read_request(self, body: Mapping[str, Any]) -> NeutralRequest:
        inputs = body.get("input")
        if isinstance(inputs, str):
            inputs = [inputs]
        if not isinstance(inputs, list) or not all(isinstance(text, str) for text in inputs):
            raise Unsupported("input must be text where the provider is not asked in this format", param="input")
        return EmbedRequest(
            model=take_text(body, "model"),
            inputs=tuple(inputs),
            dimensions=take_count(body, "dimensions"),
            encoding=take_optional_text(body, "encoding_format") or "float",
            extra={name: value for name, value in body.items() if name not in _READ},
        )

    def write_request(self, request: NeutralRequest) -> Written:
        if not isinstance(request, EmbedRequest):
            raise Unsupported("only texts can be embedded")
        body: dict[str, Any] = {"model": request.model, "input": list(request.inputs)}
        if request.dimensions is not None:
            body["dimensions"] = request.dimensions
        if request.encoding != "float":
            body["encoding_format"] = request.encoding
        return Written(body | dict(request.extra))

    def read_answer(self, body: bytes) -> Sequence[Event]:
        answer = parse_object(body)
        rows = sorted((as_dict(row) for row in as_list(answer.get("data"))), key=lambda row: as_count(row.get("index")))
        events: list[Event] = [
            Begin(model=as_text(answer.get("model"))),
            Vectors(tuple(_read_vector(row.get("embedding")) for row in rows)),
        ]
        usage = read_usage(answer.get("usage"))
        if usage is not None:
            events.append(UsageReport(usage))
        return events

    def write_answer(self, events: Sequence[Event], envelope: Envelope) -> bytes:
        answer: dict[str, Any] = {"object": "list", "data": [], "model": envelope.model}
        for event in events:
            if isinstance(event, Vectors):
                answer["data"] = [
                    {"object": "embedding", "index": index, "embedding": _write_vector(vector, envelope.encoding)}
                    for index, vector in enumerate(event.vectors)
                ]
            elif isinstance(event, UsageReport):
                answer["usage"] = {"prompt_tokens": event.usage.input, "total_tokens": event.usage.input}
            elif isinstance(event, Begin) and event.model is not None:
                answer["model"] = event.model
        return orjson.dumps(answer)


def _read_vector(value: Any) -> tuple[float, ...]:
    if isinstance(value, list) and all(isinstance(number, (int, float)) for number in value):
        return tuple(value)
    if not isinstance(value, str):
        raise ValueError("an embedding is neither numbers nor base64")
    try:
        data = base64.b64decode(value, validate=True)
        return struct.unpack(f"<{len(data) // 4}f", data)
    except (binascii.Error, struct.error) as error:
        raise ValueError("an embedding is not base64 of float32") from error


def _write_vector(vector: tuple[float, ...], encoding: str) -> Any:
    if encoding == "base64":
        return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
    return vector
