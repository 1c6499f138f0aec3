"""Gemini's ``batchEmbedContents``: texts out, vectors in (ai.google.dev/api/embeddings; google-genai 3.4.0).

One text goes the same way as many. Older models report no token counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiogateway.dialects.base import BaseDialect
from aiogateway.dialects.gemini_failures import read_body_failure
from aiogateway.dialects.gemini_usage import count_usage, find_usage
from aiogateway.dialects.payload import as_dict, parse_object
from aiogateway.errors import Unsupported, UpstreamStatus
from aiogateway.neutral import EmbedRequest, Event, NeutralRequest, UsageReport, Vectors, Written
from aiogateway.types import Endpoint, Usage

FIELDS = {"task_type": "taskType", "taskType": "taskType", "title": "title"}
"""Gemini's own fields that a client may set beside OpenAI's."""


class GeminiEmbeddings(BaseDialect):
    """Unary only. Base64 is made of the floats on the client's side."""

    name = "gemini_embeddings"
    endpoint = Endpoint.EMBEDDINGS

    def read_body_failure(self, body: bytes) -> UpstreamStatus | None:
        return read_body_failure(body)

    def read_usage(self, tail: bytes) -> Usage | None:
        return find_usage(tail)

    def write_request(self, request: NeutralRequest) -> Written:
        if not isinstance(request, EmbedRequest):
            raise Unsupported("only texts can be written for batchEmbedContents")
        own, dropped = take_own_fields(request)
        if request.dimensions is not None:
            own["outputDimensionality"] = request.dimensions
        model = name_model(request.model)
        requests = [{"model": model, "content": {"parts": [{"text": text}]}, **own} for text in request.inputs]
        return Written({"requests": requests}, dropped)

    def read_answer(self, body: bytes) -> Sequence[Event]:
        answer = parse_object(body)
        embeddings = answer.get("embeddings")
        if not isinstance(embeddings, list):
            raise ValueError("no list of embeddings")
        events: list[Event] = [Vectors(tuple(read_vector(as_dict(one).get("values")) for one in embeddings))]
        usage = count_usage(answer.get("usageMetadata"))
        if usage is not None:
            events.append(UsageReport(usage))
        return events


def take_own_fields(request: EmbedRequest) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Gemini's own fields of a request under their own names, and the names of the others."""
    own = {FIELDS[name]: value for name, value in request.extra.items() if name in FIELDS and value is not None}
    others = (name for name, value in request.extra.items() if name not in FIELDS and value is not None)
    return own, tuple(others)


def name_model(model: str) -> str:
    """``models/gemini-embedding-001``; a name with a collection of its own (``tunedModels/…``) stays."""
    return model if "/" in model else f"models/{model}"


def read_vector(values: Any) -> tuple[float, ...]:
    """Raises ValueError for what is no list of numbers."""
    try:
        return tuple(map(float, values))
    except TypeError as error:
        raise ValueError("an embedding is no list of numbers") from error
