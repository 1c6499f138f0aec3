"""The request body that a target gets: overrides merged, usage asked for. Untouched bytes stay the client's own."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import msgspec
import orjson

from ..contracts import Dialect
from ..errors import RequestError
from ..neutral import Envelope
from ..types import Endpoint, Request, Target

ASK_USAGE = b'"stream_options":{"include_usage":true}'
USAGE_ENDPOINTS = (Endpoint.CHAT, Endpoint.COMPLETIONS)


def merge_overrides(request: Request, target: Target) -> Request:
    """The request with the target's `override_params` on top (shallow, the override wins)."""
    if not target.override_params:
        return request
    body = {**request.body, **target.override_params}
    return rebuild(request, body)


def rebuild(request: Request, body: dict[str, Any]) -> Request:
    model = body.get("model")
    return msgspec.structs.replace(
        request,
        raw=encode(body),
        body=body,
        model=model if isinstance(model, str) else "",
        stream=body.get("stream") is True,
    )


def encode(body: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(body)
    except TypeError as error:  # a lone surrogate, or an integer beyond 64 bits
        raise RequestError(f"the body can't be written as JSON: {error}") from error


def may_add_usage(request: Request) -> bool:
    """Whether `stream_options` can take our wish: what is no object is the provider's to refuse, not ours to mend."""
    options = request.body.get("stream_options", {})
    return options is None or isinstance(options, Mapping)


def asks_usage(request: Request) -> bool:
    """Whether the client itself wants the usage event."""
    options = request.body.get("stream_options")
    return isinstance(options, Mapping) and options.get("include_usage") is True


def ask_usage(request: Request) -> Request:
    """Asks for the usage event on the client's behalf; the rest of the client's bytes stay as they are."""
    options = request.body.get("stream_options")
    if options is None and "stream_options" not in request.body:
        head, brace, rest = request.raw.partition(b"{")
        comma = b"" if rest.lstrip().startswith(b"}") else b","
        return msgspec.structs.replace(request, raw=b"".join((head, brace, ASK_USAGE, comma, rest)))
    kept = dict(options) if isinstance(options, Mapping) else {}
    return rebuild(request, {**request.body, "stream_options": {**kept, "include_usage": True}})


def leave_usage(request: Request) -> Request:
    """Takes the wish for the usage event out; other options stay."""
    options = {**request.body["stream_options"]}
    del options["include_usage"]
    body = {name: value for name, value in request.body.items() if name != "stream_options"}
    return rebuild(request, body | ({"stream_options": options} if options else {}))


def count_choices(request: Request) -> int:
    """How many answers were asked for."""
    n = request.body.get("n")
    return n if isinstance(n, int) and n > 1 else 1


def translate(
    request: Request, client: Dialect, upstream: Dialect, endpoint: Endpoint
) -> tuple[Request, tuple[str, ...]]:
    """The request in the provider's dialect and for its `endpoint`, and the parameters that found no place in it."""
    written = upstream.write_request(client.read_request(request.body))
    translated = msgspec.structs.replace(
        request, endpoint=endpoint, dialect=upstream.name, raw=encode(written.body), body=written.body, query=""
    )
    return translated, written.dropped


def envelope_for(call_id: str, request: Request) -> Envelope:
    """What an answer of ours is wrapped in when the provider does not say."""
    encoding = request.body.get("encoding_format")
    return Envelope(
        id=call_id,
        model=request.model,
        created=int(time.time()),
        include_usage=asks_usage(request),
        encoding=encoding if isinstance(encoding, str) else "float",
        request=request.body,
    )
