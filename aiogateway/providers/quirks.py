"""Where a provider's OpenAI-shaped wire is not quite OpenAI's: fields written otherwise, on the way out.

A quirk changes how something is said, never what: it renames, or rewrites a word. A field that a provider does not know
at all is the provider's to refuse. A request that holds none of the fields in question keeps its bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import orjson

from aiogateway.dialects.payload import parse_object
from aiogateway.types import Request

Quirk = Callable[[Any], Mapping[str, Any] | None]
"""A field's value to the fields that stand in its place; None where it stays as it is."""

Quirks = Mapping[str, Quirk]
"""By the field's name."""


def bend(request: Request, quirks: Quirks) -> Request:
    """The request as the provider writes it; the same value where no quirk applies."""
    if quirks.keys().isdisjoint(request.body):
        return request
    kept: dict[str, Any] = {}
    bent: dict[str, Any] = {}
    changed = False
    # `raw` may hold a wish of the gateway's own that `body` doesn't (usage in a stream).
    for name, value in parse_object(request.raw).items():
        instead = quirks[name](value) if name in quirks else None
        if instead is None:
            kept[name] = value
        else:
            bent |= instead
            changed = True
    if not changed:
        return request
    body = kept | bent
    return msgspec.structs.replace(request, raw=orjson.dumps(body), body=body)


def rename(name: str) -> Quirk:
    """The value under another name, which wins over one that was there."""
    return lambda value: {name: value}


def put(name: str, value: Any) -> Quirk:
    """Always this value."""
    return lambda said: None if said == value else {name: value}


def omit(_: Any) -> Mapping[str, Any]:
    """Nothing: for a wish that the provider grants unasked and refuses to be asked for."""
    return {}


def reword(name: str, words: Mapping[str, Any]) -> Quirk:
    """Another word for some of the field's values."""

    def quirk(value: Any) -> Mapping[str, Any] | None:
        return {name: words[value]} if isinstance(value, str) and value in words else None

    return quirk


def rename_role(old: str, new: str) -> Quirk:
    """Messages of the role `old` get the role `new`."""

    def quirk(messages: Any) -> Mapping[str, Any] | None:
        if not isinstance(messages, list) or not any(_role(message) == old for message in messages):
            return None
        return {"messages": [{**message, "role": new} if _role(message) == old else message for message in messages]}

    return quirk


def _role(message: Any) -> Any:
    return message.get("role") if isinstance(message, Mapping) else None


__all__ = ["Quirk", "Quirks", "bend", "omit", "put", "rename", "rename_role", "reword"]
