"""What an option of the old format says about the call's record: its own trace id and metadata."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from aiogateway.config.fields import name_kind, read_text, show
from aiogateway.config.headers import MAX_ID, MAX_METADATA
from aiogateway.config.section import Reader
from aiogateway.errors import ConfigError


def _read_trace_id(value: Any, path: str) -> str:
    text = read_text(value, path)
    if len(text) > MAX_ID or not text.isprintable():
        raise ConfigError(f"must be at most {MAX_ID} printable characters", path=path)
    return text


def _read_metadata(value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"must be an object, got {name_kind(value)}", path=path)
    for key, item in value.items():
        if isinstance(item, dict | list):
            raise ConfigError(f"must hold plain values only, but {show(key)} is {name_kind(item)}", path=path)
    if len(orjson.dumps(value)) > MAX_METADATA:
        raise ConfigError(f"must be at most {MAX_METADATA} bytes of JSON", path=path)
    return value


LABELS: Mapping[str, Reader] = {"trace_id": _read_trace_id, "metadata": _read_metadata}
"""Readers by field. The limits are those of the headers that say the same of a whole call."""
