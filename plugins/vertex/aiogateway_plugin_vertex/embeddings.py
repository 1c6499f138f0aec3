"""Texts to vectors on Vertex AI, in its two ways.

``predict`` (text-embedding-005 and its like): cloud.google.com, "Text embeddings API". ``embedContent``, and
``batchEmbedContents`` for several texts (Gemini's models): the reference of ``publishers.models`` and
``_EmbedContentParametersPrivate_to_vertex`` in google-genai 3.4.0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiogateway.dialects.base import BaseDialect
from aiogateway.dialects.gemini_embeddings import GeminiEmbeddings, read_vector
from aiogateway.dialects.gemini_failures import read_body_failure
from aiogateway.dialects.gemini_usage import count_usage
from aiogateway.dialects.payload import as_dict, as_list, parse_object
from aiogateway.errors import Unsupported, UpstreamStatus
from aiogateway.neutral import EmbedRequest, Event, NeutralRequest, UsageReport, Vectors, Written
from aiogateway.types import Endpoint, Usage

OWN = {
    "task_type": "task_type",
    "taskType": "task_type",
    "title": "title",
    "auto_truncate": "autoTruncate",
    "autoTruncate": "autoTruncate",
}
"""Vertex's own fields that a client may set beside OpenAI's, under the names that ``predict`` has for them."""


class VertexEmbeddings(BaseDialect):
    """``predict``: an instance for each text, and a count of tokens with each prediction."""

    name = "vertex_embeddings"
    endpoint = Endpoint.EMBEDDINGS

    def read_body_failure(self, body: bytes) -> UpstreamStatus | None:
        return read_body_failure(body)

    def read_usage(self, tail: bytes) -> Usage | None:
        try:
            return _count(_read_embeddings(tail))
        except ValueError:
            return None

    def write_request(self, request: NeutralRequest) -> Written:
        request, own, dropped = _take_own(request)
        parameters = {"autoTruncate": own.pop("autoTruncate")} if "autoTruncate" in own else {}
        if request.dimensions is not None:
            parameters["outputDimensionality"] = request.dimensions
        body: dict[str, Any] = {"instances": [{"content": text, **own} for text in request.inputs]}
        return Written(body | ({"parameters": parameters} if parameters else {}), dropped)

    def read_answer(self, body: bytes) -> Sequence[Event]:
        embeddings = _read_embeddings(body)
        usage = _count(embeddings)
        vectors = Vectors(tuple(read_vector(one.get("values")) for one in embeddings))
        return [vectors] if usage is None else [vectors, UsageReport(usage)]


class VertexContentEmbeddings(GeminiEmbeddings):
    """``embedContent`` for one text, ``batchEmbedContents`` for several."""

    name = "vertex_content_embeddings"

    def write_request(self, request: NeutralRequest) -> Written:
        request, own, dropped = _take_own(request)
        config = {"taskType" if name == "task_type" else name: value for name, value in own.items()}
        if request.dimensions is not None:
            config["outputDimensionality"] = request.dimensions
        settled = {"embedContentConfig": config} if config else {}
        contents = [{"role": "user", "parts": [{"text": text}]} for text in request.inputs]
        if len(contents) == 1:
            return Written({"content": contents[0], **settled}, dropped)
        return Written({"requests": [{"content": content, **settled} for content in contents]}, dropped)

    def read_answer(self, body: bytes) -> Sequence[Event]:
        answer = parse_object(body)
        if "embedding" not in answer:
            return super().read_answer(body)
        vectors = Vectors((read_vector(as_dict(answer["embedding"]).get("values")),))
        usage = count_usage(answer.get("usageMetadata"))
        return [vectors] if usage is None else [vectors, UsageReport(usage)]


def _take_own(request: NeutralRequest) -> tuple[EmbedRequest, dict[str, Any], tuple[str, ...]]:
    """The request, its fields of Vertex's own, and the names of the others."""
    if not isinstance(request, EmbedRequest):
        raise Unsupported("only texts can be embedded")
    extra = {name: value for name, value in request.extra.items() if value is not None}
    own = {OWN[name]: value for name, value in extra.items() if name in OWN}
    return request, own, tuple(name for name in extra if name not in OWN)


def _read_embeddings(body: bytes) -> list[dict[str, Any]]:
    predictions = parse_object(body).get("predictions")
    if not isinstance(predictions, list):
        raise ValueError("no list of predictions")
    return [as_dict(as_dict(one).get("embeddings")) for one in predictions]


def _count(embeddings: list[dict[str, Any]]) -> Usage | None:
    """The counts are numbers with a fraction of zero, or whole ones."""
    counts = [as_dict(one.get("statistics")).get("token_count") for one in as_list(embeddings)]
    known = [int(count) for count in counts if isinstance(count, (int, float))]
    return Usage(input=sum(known)) if known else None
