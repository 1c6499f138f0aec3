"""The nodes of a config, from the root down: which fields each has, and what must come together."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import msgspec

from aiogateway.config.bounds import Bounds, check_attempts
from aiogateway.config.fields import (
    name_kind,
    read_flag,
    read_forwarded,
    read_milliseconds,
    read_number,
    read_option,
    read_secret,
    read_statuses,
    read_text,
    show,
    suggest,
)
from aiogateway.config.hosts import parse_base_url
from aiogateway.config.labels import LABELS
from aiogateway.config.mistakes import Mistakes
from aiogateway.config.model import FIELDS, MAX_DEPTH, MAX_LEAVES, Config, Mode, State
from aiogateway.config.rules import read_cache, read_recovery, read_retry, read_timeouts
from aiogateway.config.section import Reader, join_path, read_fields, spell_fields
from aiogateway.config.strategy import WrittenStrategy, check_targets, read_strategy
from aiogateway.errors import ConfigError
from aiogateway.types import Option, Origin

Options = Mapping[str, Mapping[str, Option]]
"""Every known provider's own fields, by provider and field name."""

_MAX_WEIGHT = 1_000_000
_A_TARGET = 'a target has a "provider", a "virtual_key", or a "strategy" with "targets" of its own'
# "options" were targets once, so they are a mistake of their own.
_ENOUGH = frozenset(("provider", "virtual_key", "strategy", "options"))
# What people write on the node itself, and where it belongs.
_BELONGS = {
    **dict.fromkeys(("model", "max_tokens", "messages", "stop", "stream", "temperature", "top_p"), "override_params"),
    **dict.fromkeys(("cb_config", "conditions", "default", "failover", "mode"), "strategy"),
    **dict.fromkeys(("attempts", "use_retry_after_header"), "retry"),
    **dict.fromkeys(("connect", "first_token", "idle", "client_stall", "total"), "timeouts"),
    "max_age": "cache",
}
_HEADERS = {"metadata": "x-portkey-metadata", "trace_id": "x-portkey-trace-id"}


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """Under which terms a config is read. `labelled`: its nodes may have a trace_id and metadata, as old ones do."""

    origin: Origin
    source: str
    options: Options
    bounds: Bounds
    labelled: bool = False


def read_config(raw: dict[str, Any], terms: Terms) -> Config:
    """Raises ConfigError with every mistake in it."""
    mistakes = Mistakes()
    nodes = _Nodes(terms, mistakes)
    root = nodes.read(raw, "", 1)
    if nodes.leaves > MAX_LEAVES:
        mistakes.note(f"holds more than {MAX_LEAVES} targets that have no targets of their own", "")
    else:
        check_attempts(root, terms.bounds, mistakes)
    mistakes.check()
    return root


class _Nodes:
    """The nodes of one config while they are read; `leaves` counts those without targets."""

    def __init__(self, terms: Terms, mistakes: Mistakes) -> None:
        self.terms = terms
        self.mistakes = mistakes
        self.leaves = 0
        self._listed = False
        self._readers = self._make_readers()
        self._any_option = {name: option for known in terms.options.values() for name, option in known.items()}

    def read(self, raw: dict[str, Any], path: str, depth: int) -> Config:
        """As much of a node as could be read."""
        fields = spell_fields(raw, path, self.mistakes)
        self.leaves += "targets" not in fields
        known = self._find_options(fields.get("provider"))
        readers: dict[str, Reader] = {
            **{name: partial(_read_option, known[name]) for name in known.keys() & fields.keys()},
            **self._readers,
            "targets": partial(self._read_targets, depth=depth),
        }
        read = read_fields(fields, path, readers, self.mistakes, partial(self._refuse, provider=fields.get("provider")))
        config = self._make(read, known, path)
        self._check_shape(config, fields, read.get("strategy"))
        return config

    def _make_readers(self) -> dict[str, Reader]:
        mistakes = self.mistakes
        readers: dict[str, Reader] = {
            "provider": self._read_provider,
            "api_key": read_secret,
            "virtual_key": read_text,
            "custom_host": _read_host,
            "override_params": _read_overrides,
            "forward_headers": read_forwarded,
            "request_timeout": read_milliseconds,
            "timeouts": partial(read_timeouts, mistakes=mistakes),
            "name": read_text,
            "weight": partial(read_number, most=_MAX_WEIGHT, zero=True),
            "retry": partial(read_retry, policies=self.terms.bounds.policies, mistakes=mistakes),
            "cache": partial(read_cache, mistakes=mistakes),
            "stream_recovery": partial(read_recovery, mistakes=mistakes),
            "strategy": partial(read_strategy, mistakes=mistakes),
            "on_status_codes": read_statuses,
            "strict": read_flag,
            "strict_open_ai_compliance": read_flag,
        }
        if self.terms.labelled:
            readers.update(LABELS)
        return readers

    def _make(self, read: Mapping[str, Any], known: Mapping[str, Option], path: str) -> Config:
        timeouts: dict[str, int] = dict(read.get("timeouts", {}))
        request_timeout = read.get("request_timeout")
        if request_timeout is not None and timeouts.setdefault("first_token", request_timeout) != request_timeout:
            self.mistakes.note(
                f"is {timeouts['first_token']}, but request_timeout, its other name, is {request_timeout}: give one",
                join_path(join_path(path, "timeouts"), "first_token"),
            )
        written: WrittenStrategy | None = read.get("strategy")
        return Config(
            source=self.terms.source,
            origin=self.terms.origin,
            path=path,
            provider=read.get("provider"),
            api_key=read.get("api_key"),
            virtual_key=read.get("virtual_key"),
            custom_host=read.get("custom_host"),
            override_params=read.get("override_params", {}),
            forward_headers=read.get("forward_headers"),
            timeouts=timeouts,
            name=read.get("name"),
            weight=read.get("weight", 1.0),
            retry=read.get("retry"),
            cache=read.get("cache"),
            recovery=read.get("stream_recovery"),
            strict=read.get("strict"),
            strategy=written.strategy if written else None,
            targets=read.get("targets", ()),
            options={name: read[name] for name in known if name in read},
            trace_id=read.get("trace_id"),
            metadata=read.get("metadata", {}),
        )

    def _check_shape(self, config: Config, fields: Mapping[str, Any], written: WrittenStrategy | None) -> None:
        path, strategy = join_path(config.path, "targets"), config.strategy
        if "targets" in fields:
            if written is None:
                self.mistakes.note(
                    'is missing: targets need one, such as {"mode": "fallback"}', join_path(config.path, "strategy")
                )
            else:
                check_targets(written, config.targets, path, self.mistakes)
        elif strategy is not None and strategy.mode is not Mode.SINGLE:
            self.mistakes.note(f"is missing: a {strategy.mode} strategy needs a list of them", path)
        elif config.path and not fields.keys() & _ENOUGH:
            self.mistakes.note(f"does not say whom to ask: {_A_TARGET}", config.path)

    def _read_targets(self, value: Any, path: str, *, depth: int) -> tuple[Config, ...]:
        if not isinstance(value, list) or not value:
            raise ConfigError(f"must be a list of at least one target, got {name_kind(value)}", path=path)
        if depth == MAX_DEPTH:
            raise ConfigError(f"are nested too deep: a config has at most {MAX_DEPTH} levels", path=path)
        targets: list[Config] = []
        for index, one in enumerate(value):
            if self.leaves > MAX_LEAVES:  # refused anyway, and there may be very many
                break
            where = f"{path}[{index}]"
            if isinstance(one, dict):
                targets.append(self.read(one, where, depth + 1))
            else:
                self.leaves += 1
                self.mistakes.note(f"must be an object, got {name_kind(one)}: {_A_TARGET}", where)
        return tuple(targets)

    def _read_provider(self, value: Any, path: str) -> str:
        name = read_text(value, path)
        if not name.startswith("@") and name not in self.terms.options:
            told = "" if self.mistakes.full else describe_unknown_provider(name, self.terms.options)
            raise ConfigError(told, path=path)
        return name

    def _find_options(self, provider: Any) -> Mapping[str, Option]:
        """The chosen provider's fields, or any provider's while something else may still choose."""
        return self.terms.options.get(provider, self._any_option) if isinstance(provider, str) else self._any_option

    def _refuse(self, name: str, *, provider: Any) -> str:
        elsewhere = sorted(other for other, options in self.terms.options.items() if name in options)
        if FIELDS.get(name) is State.LATER:
            return "is not available yet"
        if elsewhere:
            return f"is an option of {', '.join(elsewhere)}, not of {provider}"
        if name == "options":
            return 'is not a config field: "targets" is what "options" were in the format of before 2024'
        if name in _HEADERS:
            return f"is not a config field: send it as the header {_HEADERS[name]}"
        if name in _BELONGS:
            return f"is not a config field: it belongs in {_BELONGS[name]}"
        near = suggest(name, [*FIELDS, *self._any_option])
        return f"is not a config field{near or self._list_fields()}"

    def _list_fields(self) -> str:
        """Once is enough."""
        if self._listed:
            return ""
        self._listed = True
        used = ", ".join(sorted(name for name, state in FIELDS.items() if state is State.USED))
        return f" (there are: {used}, and options of the provider)"


def describe_unknown_provider(name: str, known: Mapping[str, object]) -> str:
    """What to say about a provider that no plugin registered."""
    return f"no provider is called {show(name)}{suggest(name, known)} (there are: {', '.join(sorted(known))})"


def _read_option(option: Option, value: Any, path: str) -> Any:
    return read_option(value, option, path)


def _read_host(value: Any, path: str) -> str:
    return parse_base_url(read_text(value, path), path=path)


def _read_overrides(value: Any, path: str) -> dict[str, Any]:
    """Top-level nulls go: callers of LlamaIndex send ``"temperature": null`` for what a template left open."""
    if not isinstance(value, dict):
        raise ConfigError(f"must be an object of request fields, got {name_kind(value)}", path=path)
    kept = {name: item for name, item in value.items() if item is not None}
    if not isinstance(kept.get("model", ""), str):
        raise ConfigError(f"must be a string, got {show(kept['model'])}", path=f"{path}.model")
    return kept
