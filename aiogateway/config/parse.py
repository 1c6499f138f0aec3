"""A config's JSON text to a `Config`; every mistake in it is reported, not only the first."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from aiogateway.config.fields import (
    read_forwarded,
    read_option,
    read_secret,
    read_text,
    read_timeout,
    show,
    suggest,
)
from aiogateway.config.hosts import parse_base_url
from aiogateway.config.model import FIELDS, Config, State
from aiogateway.errors import ConfigError
from aiogateway.types import Option, Origin

Options = Mapping[str, Mapping[str, Option]]
"""Every known provider's own fields, by provider and field name."""

_OLD_FORMAT = "belongs to the config format of before 2024, which is not supported: name a provider"
_SLUG = re.compile(r"pc-[A-Za-z0-9_-]{1,64}")
_WORD = re.compile(r"[A-Za-z0-9_-]{1,64}")


def parse_config(text: str, *, origin: Origin, source: str, options: Options) -> Config:
    """Reads a config for one target. `source` names it in messages.

    Raises ConfigError: with the field's path for one mistake, and with all of them in ``errors`` for several.
    """
    stripped = text.strip()
    if not stripped.startswith("{"):
        slug = stripped if _SLUG.fullmatch(stripped) else "this"  # anything else may be a pasted key
        raise ConfigError(
            f"must be a JSON object; saved configs are not available yet, {slug} can't be used", path=source
        )
    try:
        raw = orjson.loads(stripped.encode("utf-8", "surrogateescape"))
    except orjson.JSONDecodeError as error:
        raise ConfigError(f"is not valid JSON: {error.msg} at character {error.pos}", path=source) from None
    return _Reading(raw, options).read(origin, source)


class ConfigCache:
    """Parsed configs by their text, least recently used out first; refused ones are not kept.

    `limit` bounds the bytes held, counted as the worst that JSON of that length can grow to in Python objects.
    """

    def __init__(self, options: Options, *, limit: int = 16 * 1024 * 1024) -> None:
        self._options = options
        self._limit = limit
        self._held: OrderedDict[tuple[str, Origin, str], Config] = OrderedDict()
        self._size = 0

    def __len__(self) -> int:
        return len(self._held)

    @property
    def size(self) -> int:
        """Bytes held, by the same count as `limit`."""
        return self._size

    def parse(self, text: str, *, origin: Origin, source: str) -> Config:
        """`parse_config`, once per distinct text."""
        key = (text, origin, source)
        config = self._held.get(key)
        if config is not None:
            self._held.move_to_end(key)
            return config
        config = parse_config(text, origin=origin, source=source, options=self._options)
        if _weigh(text) > self._limit:
            return config
        self._held[key] = config
        self._size += _weigh(text)
        while self._size > self._limit:
            dropped, _ = self._held.popitem(last=False)
            self._size -= _weigh(dropped[0])
        return config


def _weigh(text: str) -> int:
    return 1024 + 24 * len(text)  # `{},` is three characters and a dict of 64 bytes with its reference


def join_errors(errors: list[ConfigError]) -> ConfigError:
    """One error for all of a config's mistakes; the only one, when there is just one."""
    if len(errors) == 1:
        return errors[0]
    return ConfigError(f"{len(errors)} mistakes: " + "; ".join(map(str, errors)), errors=tuple(errors))


class _Reading:
    """One config while it is read: its fields by their snake_case names, and the mistakes found so far."""

    def __init__(self, raw: dict[str, Any], options: Options) -> None:
        self.options = options
        self.errors: list[ConfigError] = []
        self.fields: dict[str, Any] = {}
        for key, value in raw.items():
            name = re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", key).lower()
            if name in self.fields:
                self._add("is given twice, in two spellings", name)
            elif value is not None:
                self.fields[name] = value

    def read(self, origin: Origin, source: str) -> Config:
        provider = self._take("provider", self._read_provider)
        custom_host = self._take("custom_host", lambda value, path: parse_base_url(read_text(value, path), path=path))
        config = Config(
            source=source,
            origin=origin,
            provider=provider,
            api_key=self._take("api_key", read_secret),
            custom_host=custom_host,
            override_params=self._take("override_params", _read_overrides) or {},
            forward_headers=self._take("forward_headers", read_forwarded),
            request_timeout=self._take("request_timeout", read_timeout),
            name=self._take("name", read_text),
            options=self._read_options(provider),
        )
        self._take("strict_open_ai_compliance", _read_flag)
        for name in self.fields:
            self._refuse(name, provider)
        if self.errors:
            raise join_errors(self.errors)
        return config

    def _add(self, message: str, name: str) -> None:
        self.errors.append(ConfigError(message, path=name if _WORD.fullmatch(name) else show(name)))

    def _take(self, name: str, reader: Callable[[Any, str], Any]) -> Any:
        if name not in self.fields:
            return None
        try:
            return reader(self.fields.pop(name), name)
        except ConfigError as error:
            self.errors.append(error)
            return None

    def _read_provider(self, value: Any, path: str) -> str:
        name = read_text(value, path)
        if name.startswith("@"):
            raise ConfigError(f"saved providers are not available yet, so {show(name)} can't be looked up", path=path)
        if name not in self.options:
            raise ConfigError(describe_unknown_provider(name, self.options), path=path)
        return name

    def _read_options(self, provider: str | None) -> dict[str, Any]:
        """The chosen provider's fields, or any provider's while a header may still choose."""
        known: dict[str, Option] = {}
        for name in (provider,) if provider else self.options:
            known.update(self.options[name])
        return {
            name: value
            for name in known.keys() & self.fields.keys()
            if (value := self._take(name, lambda value, path: read_option(value, known[path], path))) is not None
        }

    def _refuse(self, name: str, provider: str | None) -> None:
        elsewhere = sorted(other for other, options in self.options.items() if name in options)
        if FIELDS.get(name) is State.LATER:
            self._add("is not available yet", name)
        elif name in ("mode", "options"):
            self._add(_OLD_FORMAT, name)
        elif provider and elsewhere:
            self._add(f"is an option of {', '.join(elsewhere)}, not of {provider}", name)
        else:
            known = [*FIELDS, *(option for options in self.options.values() for option in options)]
            self._add(f"is not a config field{suggest(name, known)}", name)


def describe_unknown_provider(name: str, known: Mapping[str, object]) -> str:
    """What to say about a provider that no plugin registered."""
    return f"no provider is called {show(name)}{suggest(name, known)} (there are: {', '.join(sorted(known))})"


def _read_overrides(value: Any, path: str) -> dict[str, Any]:
    """Top-level nulls go: callers of LlamaIndex send ``"temperature": null`` for what a template left open."""
    if not isinstance(value, dict):
        raise ConfigError(f"must be an object of request fields, got {show(value)}", path=path)
    kept = {name: item for name, item in value.items() if item is not None}
    if not isinstance(kept.get("model", ""), str):
        raise ConfigError(f"must be a string, got {show(kept['model'])}", path=f"{path}.model")
    return kept


def _read_flag(value: Any, path: str) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"must be true or false, got {show(value)}", path=path)
    return value
