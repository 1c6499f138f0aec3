"""What a client said and a target's wire has no place for, by the client's own names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def name_leftovers(fields: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """The names of the fields that say something; ``"store": false`` and ``"logprobs": null`` don't."""
    return (path + name for name, value in fields.items() if says_something(value))


def says_something(value: Any) -> bool:
    """Whether leaving a field out could change the answer: nothing, false and empty values ask for nothing."""
    return value is not None and value is not False and value not in ("", [], {})
