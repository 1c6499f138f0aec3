"""Token counts: finding them without parsing what surrounds them, and OpenAI's two ways of writing them."""

from __future__ import annotations

import re
from typing import Any

import orjson

from aiogateway.dialects.payload import as_count, as_dict
from aiogateway.types import Usage

_KEY = b'"usage"'  # can't stand inside a JSON string: there the quotes are escaped
_OPENING = re.compile(rb'"usage"\s*:\s*(?=\{)')
_LIMIT = 16_384  # bytes of one usage object
_PARTS = frozenset({"prompt_tokens", "completion_tokens", "input_tokens", "output_tokens"})
_COUNTS = _PARTS | {"total_tokens"}


def find_usage(tail: bytes) -> Usage | None:
    """The last usage object in `tail`, which may be cut anywhere; only that object is parsed."""
    position = tail.rfind(_KEY)
    while position >= 0:
        opening = _OPENING.match(tail, position)
        if opening is not None:
            usage = read_usage(_parse_first(tail, opening.end()))
            if usage is not None:
                return usage
        position = tail.rfind(_KEY, 0, position)
    return None


def _parse_first(tail: bytes, start: int) -> Any:
    """The object that begins at `start`, where its braces balance: a usage object holds no strings with braces."""
    limit = start + _LIMIT
    end = tail.find(b"}", start, limit) + 1
    while end and tail.count(b"{", start, end) > tail.count(b"}", start, end):
        end = tail.find(b"}", end, limit) + 1
    try:
        return orjson.loads(tail[start:end])
    except orjson.JSONDecodeError:
        return None


def read_usage(value: Any) -> Usage | None:
    """A usage object of any OpenAI endpoint; None when it is none."""
    counts = as_dict(value)
    if _COUNTS.isdisjoint(counts):
        return None
    prompt = as_dict(counts.get("prompt_tokens_details") or counts.get("input_tokens_details"))
    completion = as_dict(counts.get("completion_tokens_details") or counts.get("output_tokens_details"))
    whole = counts.get("total_tokens") if _PARTS.isdisjoint(counts) else None  # Voyage's embeddings: all is input
    return Usage(
        input=as_count(counts.get("prompt_tokens", counts.get("input_tokens", whole))),
        output=as_count(counts.get("completion_tokens", counts.get("output_tokens"))),
        cached=as_count(prompt.get("cached_tokens", counts.get("prompt_cache_hit_tokens"))),  # the latter is DeepSeek's
        cache_write=as_count(prompt.get("cache_write_tokens", prompt.get("cache_creation_tokens"))),  # and LiteLLM's
        reasoning=as_count(completion.get("reasoning_tokens")),
    )


def write_usage(usage: Usage) -> dict[str, Any]:
    """Usage as chat and text completions say it; ``cache_write_tokens`` is OpenAI's name, and OpenRouter's."""
    prompt = {"cached_tokens": usage.cached}
    if usage.cache_write:
        prompt["cache_write_tokens"] = usage.cache_write
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": prompt,
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }
