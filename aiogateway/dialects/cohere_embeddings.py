"""Cohere's v2 embeddings: ``POST /v2/embed``.

Facts: ``EmbedByTypeResponse`` and the request of ``/v2/embed`` in Cohere's OpenAPI document (cohere-openapi.yaml of
cohere-ai/cohere-developer-experience). ``input_type`` is a must there and unknown elsewhere: a client sets it beside
its own fields, and texts are documents when it doesn't.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiogateway.dialects.base import BaseDialect
from aiogateway.dialects.cohere_chat import as_whole, find_failure
from aiogateway.dialects.cohere_messages import read_fields
from aiogateway.dialects.payload import as_dict, as_list, parse_object
from aiogateway.errors import Unsupported, UpstreamStatus
from aiogateway.neutral import Begin, EmbedRequest, Event, NeutralRequest, UsageReport, Vectors, Written
from aiogateway.types import Endpoint, Usage

INPUT_TYPE = "search_document"
OWN = ("input_type", "embedding_types", "truncate", "max_tokens", "priority")
"""Fields of Cohere's own that a client may set."""

TYPES = ("float", "int8", "uint8", "binary", "ubinary")
"""Kinds of vectors whose items are numbers; whatever they are, the client gets numbers."""


class CohereEmbeddings(BaseDialect):
    """Texts out, one kind of vectors in."""

    name = "cohere_embeddings"
    endpoint = Endpoint.EMBEDDINGS

    def write_request(self, request: NeutralRequest) -> Written:
        """Raises Unsupported for several kinds of vectors at once, and for a kind that is no numbers."""
        if not isinstance(request, EmbedRequest):
            raise Unsupported("only texts can be written for /v2/embed")
        own = read_fields(request.extra, OWN)
        kinds = own.setdefault("embedding_types", ["float"])
        if not isinstance(kinds, list) or len(kinds) != 1 or kinds[0] not in TYPES:
            raise Unsupported(f"embedding_types must be a list of one of {', '.join(TYPES)}", param="embedding_types")
        body: dict[str, Any] = {"model": request.model, "texts": list(request.inputs), "input_type": INPUT_TYPE}
        if request.dimensions is not None:
            body["output_dimension"] = request.dimensions
        rest = [name for name, value in request.extra.items() if name not in own and value is not None]
        return Written(body | own, tuple(rest))

    def read_body_failure(self, body: bytes) -> UpstreamStatus | None:
        try:
            return find_failure(parse_object(body), body)
        except ValueError:
            return None

    def read_usage(self, tail: bytes) -> Usage | None:
        try:
            return _count(parse_object(tail))
        except ValueError:
            return None

    def read_answer(self, body: bytes) -> Sequence[Event]:
        """Raises ValueError when there are no vectors."""
        answer = parse_object(body)
        found = as_dict(answer.get("embeddings"))
        vectors = next((found[kind] for kind in TYPES if found.get(kind)), None)
        if vectors is None:
            raise ValueError("the answer holds no vectors")
        events: list[Event] = [Begin(), Vectors(tuple(_read_vector(vector) for vector in as_list(vectors)))]
        usage = _count(answer)
        if usage is not None:
            events.append(UsageReport(usage))
        return events


def _read_vector(value: Any) -> tuple[float, ...]:
    if not isinstance(value, list) or not all(isinstance(number, (int, float)) for number in value):
        raise ValueError("an embedding is no list of numbers")
    return tuple(value)


def _count(answer: dict[str, Any]) -> Usage | None:
    """Only the billed units are told."""
    units = as_dict(as_dict(answer.get("meta")).get("billed_units"))
    counts = [as_whole(units[name]) for name in ("input_tokens", "image_tokens") if name in units]
    return Usage(input=sum(counts)) if counts else None
