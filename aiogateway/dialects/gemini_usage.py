"""Token counts as Gemini reports them (``UsageMetadata`` in Google's reference of generateContent)."""

from __future__ import annotations

import json
from typing import Any

from aiogateway.dialects.payload import as_count, as_dict
from aiogateway.types import Usage

_KEY = b'"usageMetadata"'  # can't stand inside a JSON string: there the quotes are escaped
_LIMIT = 16_384  # bytes of one object
_COUNTS = frozenset({"promptTokenCount", "candidatesTokenCount", "totalTokenCount"})
_DECODER = json.JSONDecoder()


def count_usage(value: Any) -> Usage | None:
    """What a tool of Google's own put into the prompt counts as input, and thoughts as output. None: no counts."""
    counts = as_dict(value)
    if _COUNTS.isdisjoint(counts):
        return None
    thoughts = as_count(counts.get("thoughtsTokenCount"))
    return Usage(
        input=as_count(counts.get("promptTokenCount")) + as_count(counts.get("toolUsePromptTokenCount")),
        output=as_count(counts.get("candidatesTokenCount")) + thoughts,
        cached=as_count(counts.get("cachedContentTokenCount")),
        reasoning=thoughts,
    )


def find_usage(tail: bytes) -> Usage | None:
    """The last usage object in `tail`, which may be cut anywhere; only that object is parsed."""
    position = tail.rfind(_KEY)
    while position >= 0:
        start = tail.find(b"{", position)
        between = tail[position + len(_KEY) : start].strip() if start >= 0 else b""
        if between == b":":
            usage = count_usage(_parse_first(tail[start : start + _LIMIT]))
            if usage is not None:
                return usage
        position = tail.rfind(_KEY, 0, position)
    return None


def _parse_first(data: bytes) -> Any:
    try:
        return _DECODER.raw_decode(data.decode("utf-8", "replace"))[0]
    except ValueError:
        return None
