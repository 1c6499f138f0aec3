"""JSON as providers send it, which is not always JSON as it should be."""

from __future__ import annotations

import json
from typing import Any

import orjson


def parse_json(data: bytes) -> Any:
    """The value of `data`. Raises ValueError when it is no JSON.

    Bytes that are no UTF-8, and halves of surrogate pairs (a model's token may end between them, and some servers
    escape each token for itself), become U+FFFD: a few lost characters are no reason to lose an answer.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        if not is_damaged(data):
            raise
    text = json.dumps(json.loads(data.decode("utf-8", "replace")), ensure_ascii=False)
    return orjson.loads(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))


def is_damaged(data: bytes) -> bool:
    """Whether `data` may hold text that is no Unicode, so that `parse_json` may have had to replace some of it."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return True
    return "\\ud" in text or "\\uD" in text


def parse_object(data: bytes) -> dict[str, Any]:
    """The JSON object that `data` is. Raises ValueError when it is something else."""
    value = parse_json(data)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def as_dict(value: Any) -> dict[str, Any]:
    """`value` if it is an object, else an empty one: what a provider left out or got wrong reads as absent."""
    return value if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    """`value` if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def as_text(value: Any) -> str | None:
    """`value` if it is a string, else None."""
    return value if isinstance(value, str) else None


def as_count(value: Any) -> int:
    """`value` if it is a whole number, else 0."""
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
