"""A config's JSON text to a tree of `Config` nodes; every mistake in it is reported, not only the first."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable
from typing import Any

import orjson

from aiogateway.config import legacy
from aiogateway.config.bounds import Bounds as Bounds
from aiogateway.config.mistakes import join_errors as join_errors
from aiogateway.config.model import Config
from aiogateway.config.nodes import Options as Options
from aiogateway.config.nodes import Terms, read_config
from aiogateway.config.nodes import describe_unknown_provider as describe_unknown_provider
from aiogateway.config.patterns import MAX_PATTERNS
from aiogateway.config.shelf import Shelf
from aiogateway.errors import ConfigError
from aiogateway.types import Origin

MAX_TEXT = 256 * 1024
"""Characters of a config; a header has less room, an old call's body and the settings would have more."""
MAX_NESTING = 100
"""Levels of objects and lists in the JSON: less than any of those who read or write it later can take."""

_SLUG = re.compile(r"pc-[A-Za-z0-9_-]{1,64}")
_NO_BOUNDS = Bounds()
# Bytes. `{},` is three characters of text and a dict of 64 bytes with its reference; a node has tables of its own.
_CHARACTER, _NODE = 24, 1024


def parse_config(text: str, *, origin: Origin, source: str, options: Options, bounds: Bounds = _NO_BOUNDS) -> Config:
    """Reads a config. `source` names it in messages; paths in errors are relative to its root.

    Raises ConfigError: with the field's path for one mistake, and with all of them in ``errors`` for several.
    """
    if len(text) > MAX_TEXT:
        raise ConfigError(f"{source} is longer than {MAX_TEXT} characters")
    raw = _load(text, source)
    old = legacy.is_old(raw)
    terms = Terms(origin=origin, source=source, options=options, bounds=bounds, labelled=old)
    return read_config(legacy.modernize(raw) if old else raw, terms)


def _load(text: str, source: str) -> dict[str, Any]:
    stripped = text.strip(" \t\r\n")  # JSON's white space, and no other
    if not stripped.startswith("{"):
        slug = f" {stripped}" if _SLUG.fullmatch(stripped) else ""  # anything else may be a pasted key
        raise ConfigError(
            f"{source} must be a JSON object; anything else is the slug of a saved config, and saved configs are not "
            f"available yet, so the slug{slug} can't be looked up"
        )
    try:
        raw: dict[str, Any] = orjson.loads(stripped.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:
        raise ConfigError(f"{source} is not valid JSON: it is not Unicode text") from None
    except orjson.JSONDecodeError as error:
        hint = " (JSON takes double quotes only)" if stripped[error.pos : error.pos + 1] == "'" else ""
        raise ConfigError(f"{source} is not valid JSON: {error.msg} at character {error.pos}{hint}") from None
    patterns = _count_patterns(raw) if len(stripped) > MAX_PATTERNS * len('"$regex":"",') else 0
    if patterns > MAX_PATTERNS:  # before any of them is compiled
        raise ConfigError(f"{source} holds {patterns} patterns of $regex, at most {MAX_PATTERNS}")
    if stripped.count("{") + stripped.count("[") > MAX_NESTING and _is_deep(raw):
        raise ConfigError(f"{source} nests its JSON deeper than {MAX_NESTING} levels")
    return raw


def _count_patterns(raw: Any) -> int:
    found, rest = 0, [raw]
    while rest:
        value = rest.pop()
        if isinstance(value, dict):
            found += "$regex" in value
            rest.extend(value.values())
        elif isinstance(value, list):
            rest.extend(value)
    return found


def _is_deep(raw: Any) -> bool:
    level = [raw]
    for _ in range(MAX_NESTING):
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                below.extend(value.values())
            elif isinstance(value, list):
                below.extend(value)
        level = below
    return any(isinstance(value, dict | list) for value in level)


class ConfigCache:
    """Parsed configs by the SHA-256 of their text, least recently used out first; refused ones are not kept.

    `limit` bounds the bytes held, counted as the worst that JSON of that length can grow to in Python objects. What
    was not used for `idle` seconds goes at the next use of the cache.
    """

    def __init__(
        self,
        options: Options,
        *,
        bounds: Bounds = _NO_BOUNDS,
        limit: int = 16 * 1024 * 1024,
        idle: float = 600.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._options = options
        self._bounds = bounds
        self._held: Shelf[tuple[bytes, Origin, str], Config] = Shelf(limit, idle, clock)

    def __len__(self) -> int:
        return len(self._held)

    @property
    def size(self) -> int:
        """Bytes held, by the same count as `limit`."""
        return self._held.size

    def parse(self, text: str, *, origin: Origin, source: str) -> Config:
        """`parse_config`, once per distinct text."""
        key = (hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest(), origin, source)
        config = self._held.get(key)
        if config is None:
            config = parse_config(text, origin=origin, source=source, options=self._options, bounds=self._bounds)
            self._held.put(key, config, _CHARACTER * len(text) + _NODE * _count_nodes(config))
        return config


def _count_nodes(config: Config) -> int:
    return 1 + sum(map(_count_nodes, config.targets))
