"""Ollama's native embeddings: ``POST /api/embed`` (``docs/api.md``, "Generate Embeddings"; ``api/types.go``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiogateway.dialects.payload import as_text, parse_object
from aiogateway.errors import Unsupported
from aiogateway.neutral import Begin, EmbedRequest, Event, Failure, NeutralRequest, UsageReport, Vectors, Written
from aiogateway.types import Endpoint
from aiogateway_plugin_ollama.chat_request import take_options, take_own_fields
from aiogateway_plugin_ollama.wire import OllamaDialect, count_usage, find_failure

KEPT = ("keep_alive", "truncate")


class OllamaEmbed(OllamaDialect):
    """Texts out, vectors in; there is no stream. Base64 is made of the floats on the client's side."""

    name = "ollama_embed"
    endpoint = Endpoint.EMBEDDINGS

    def write_request(self, request: NeutralRequest) -> Written:
        if not isinstance(request, EmbedRequest):
            raise Unsupported("only texts can be written for /api/embed")
        extra = {name: value for name, value in request.extra.items() if value is not None}
        body: dict[str, Any] = {"model": request.model, "input": list(request.inputs)}
        if request.dimensions is not None:
            body["dimensions"] = request.dimensions
        body |= take_own_fields(extra, KEPT)
        if options := take_options(extra):
            body["options"] = options
        return Written(body, tuple(extra))

    def read_answer(self, body: bytes) -> Sequence[Event]:
        payload = parse_object(body)
        failure = find_failure(payload)
        if failure is not None:
            return [Failure(failure)]
        try:
            vectors = tuple(tuple(map(float, vector)) for vector in payload["embeddings"])
        except (KeyError, TypeError) as error:
            raise ValueError("no list of embeddings") from error
        events: list[Event] = [Begin(model=as_text(payload.get("model"))), Vectors(vectors)]
        usage = count_usage(payload)
        if usage is not None:
            events.append(UsageReport(usage))
        return events
