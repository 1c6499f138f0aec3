"""Embeddings by InvokeModel, in the wire of whose model it is: Titan's and Cohere's.

Sources: "Amazon Titan Embeddings" and "Cohere Embed" (v3, v4), Amazon Bedrock user guide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiogateway.dialects.payload import as_count, parse_object
from aiogateway.errors import Unsupported
from aiogateway.neutral import EmbedRequest, Event, Failure, NeutralRequest, UsageReport, Vectors, Written
from aiogateway.types import Endpoint, Usage
from aiogateway_plugin_bedrock.failures import find_body_failure
from aiogateway_plugin_bedrock.models import find_vendor
from aiogateway_plugin_bedrock.stream import BedrockDialect

_TITAN = ("normalize",)
_COHERE = ("input_type", "truncate", "max_tokens")
INPUT_TYPE = "search_document"
"""What texts are embedded for, where the client does not say: Cohere wants to know."""


class BedrockEmbed(BedrockDialect):
    """Texts out, vectors in; there is no stream. Base64 is made of the floats on the client's side."""

    name = "bedrock_embed"
    endpoint = Endpoint.EMBEDDINGS

    def write_request(self, request: NeutralRequest) -> Written:
        if not isinstance(request, EmbedRequest):
            raise Unsupported("only texts can be embedded")
        extra = {name: value for name, value in request.extra.items() if value is not None}
        vendor = find_vendor(request.model)
        if vendor == "cohere":
            body = _write_cohere(request, extra)
        elif vendor == "amazon" and "titan" in request.model:
            body = _write_titan(request, extra)
        else:
            raise Unsupported(f"bedrock's embeddings are Titan's and Cohere's, not {request.model}'s", param="model")
        return Written(body, tuple(extra))

    def read_answer(self, body: bytes) -> Sequence[Event]:
        payload = parse_object(body)
        failure = find_body_failure(payload)
        if failure is not None:
            return [Failure(failure)]
        try:
            vectors = tuple(tuple(map(float, vector)) for vector in _find_vectors(payload))
        except TypeError as error:
            raise ValueError("no list of embeddings") from error
        events: list[Event] = [Vectors(vectors)]
        usage = _count(payload)
        if usage is not None:
            events.append(UsageReport(usage))
        return events

    def read_usage(self, tail: bytes) -> Usage | None:
        try:
            return _count(parse_object(tail))
        except ValueError:
            return None


def _write_titan(request: EmbedRequest, extra: dict[str, Any]) -> dict[str, Any]:
    """One text a call: that is all InvokeModel takes for Titan."""
    if len(request.inputs) != 1:
        raise Unsupported(f"{request.model} embeds one text per call, not {len(request.inputs)}", param="input")
    body: dict[str, Any] = {"inputText": request.inputs[0]}
    if request.dimensions is not None:
        body["dimensions"] = request.dimensions
    return body | _take(extra, _TITAN)


def _write_cohere(request: EmbedRequest, extra: dict[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = {"texts": list(request.inputs), "input_type": INPUT_TYPE, "embedding_types": ["float"]}
    if request.dimensions is not None:
        body["output_dimension"] = request.dimensions
    return body | _take(extra, _COHERE)


def _take(extra: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: extra.pop(name) for name in names if name in extra}


def _find_vectors(payload: Mapping[str, Any]) -> Any:
    """Titan has one vector, Cohere a list of them, or several by type."""
    if "embedding" in payload:
        return [payload["embedding"]]
    found = payload.get("embeddings")
    return found.get("float") if isinstance(found, dict) else found


def _count(payload: Mapping[str, Any]) -> Usage | None:
    """Titan counts in the body; Cohere's count is in a header that dialects don't see."""
    if "inputTextTokenCount" not in payload:
        return None
    return Usage(input=as_count(payload["inputTextTokenCount"]))
