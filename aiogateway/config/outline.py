"""A config as text, the way it will be followed: every target with each value in force and where that comes from.

Where a value comes from is one of: own, inherited from a node, settings, default, caller (the call's own headers). No
secret is ever in it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from aiogateway.config.inherit import Leaf, Node, find_source, inherit
from aiogateway.config.leaf import OwnProvider, make_address, needs_vault, show_slug
from aiogateway.config.model import Config, Mode, Strategy
from aiogateway.contracts import Provider
from aiogateway.types import CacheRules, CircuitRules, Deadlines, Recovery, Retry, Secret

_SHOWN = 160
_HIDDEN = "***"
# A field of a request that may carry a key; max_tokens is none.
_SECRET = re.compile(r"(key|secret|password|token|authorization|credentials?)$", re.IGNORECASE)
_DEFAULT = "default"


class _Row(NamedTuple):
    name: str
    value: str
    source: str


class Outline:
    """Writes configs as text. `ours` and `deadlines` are the settings' words."""

    def __init__(
        self, providers: Mapping[str, Provider], ours: Mapping[str, OwnProvider], deadlines: Deadlines
    ) -> None:
        self._providers = providers
        self._ours = ours
        self._deadlines = deadlines

    def write(self, config: Config) -> str:
        """One line for each node, followed by its rows; a node is indented below its parent."""
        return "".join(f"{line}\n" for line in self._write_node(inherit(config), ""))

    def _write_node(self, node: Node | Leaf, share: str) -> Iterator[str]:
        config = node.config
        indent = "  " * config.path.count("targets[")
        name = f" {json.dumps(config.name)}" if config.name is not None else ""
        if isinstance(node, Leaf):
            yield f"{indent}{make_address(config)}{name}: {_describe_target(config)}{share}"
            for row in self._list_rows(node):
                yield f"{indent}    {row.name}: {row.value}  [{row.source}]"
            return
        strategy = node.strategy
        yield f"{indent}{make_address(config)}{name}: {_describe_strategy(strategy)}{share}"
        for line in _list_rules(config, strategy):
            yield f"{indent}    {line}"
        total = sum(target.weight for target in config.targets)
        for child, target in zip(node.children, config.targets, strict=True):
            weighed = strategy.mode is Mode.LOADBALANCE
            yield from self._write_node(child, f", weight {target.weight:g} of {total:g}" if weighed else "")

    # ------------------------------------------------------------- one target's rows

    def _list_rows(self, leaf: Leaf) -> Iterator[_Row]:
        config = leaf.config
        saved = needs_vault(config)
        if saved is not None:
            yield _Row(saved, show_slug(getattr(config, saved), hidden=_HIDDEN), "own")
        else:
            yield self._credential_row(config)
            yield self._host_row(leaf)
        yield from self._option_rows(config)
        for name, value in config.override_params.items():
            shown = _show(_hide(name, value))
            yield _Row(f"override_params.{json.dumps(name)[1:-1]}", shown, _name_source(leaf, "override_params", name))
        forwarded = ", ".join(config.forward_headers or ()) or "none"
        yield _Row("forward_headers", forwarded, _name_source(leaf, "forward_headers"))
        yield _Row("retry", _describe_retry(config.retry), _name_source(leaf, "retry"))
        yield _Row("cache", _describe_cache(config.cache), _name_source(leaf, "cache"))
        if config.strict is not None:
            yield _Row("strict", str(config.strict).lower(), _name_source(leaf, "strict"))
        yield _Row("stream_recovery", _describe_recovery(config.recovery), _name_source(leaf, "recovery"))
        yield _Row("circuit", _describe_circuit(leaf.circuit), _name_source(leaf, "circuit"))
        yield from self._deadline_rows(leaf)
        if config.trace_id is not None:
            yield _Row("trace_id", json.dumps(config.trace_id), "own")
        if config.metadata:
            yield _Row("metadata", _show(_hide("", dict(config.metadata))), "own")

    def _credential_row(self, config: Config) -> _Row:
        own = self._ours.get(config.provider or "")
        if config.api_key is not None:
            return _Row("api_key", _HIDDEN, "own")
        if own is not None and own.api_key is not None:
            return _Row("api_key", _HIDDEN, "settings")
        return _Row("api_key", "the key in the call's headers, if any", "caller")

    def _host_row(self, leaf: Leaf) -> _Row:
        name = leaf.config.provider or ""
        own, provider = self._ours.get(name), self._providers.get(name)
        if leaf.config.custom_host is not None:
            return _Row("host", leaf.config.custom_host, _name_source(leaf, "custom_host"))
        if own is not None and own.base_url is not None:
            return _Row("host", own.base_url, "settings")
        return _Row("host", str(getattr(provider, "base_url", "the provider's own")), _DEFAULT)

    def _option_rows(self, config: Config) -> Iterator[_Row]:
        name = config.provider or ""
        own, provider = self._ours.get(name), self._providers.get(name)
        known = provider.options if provider is not None else {}
        said = {option: (value, "settings") for option, value in (own.options if own is not None else {}).items()}
        said |= {option: (value, "own") for option, value in config.options.items()}
        for option in sorted(said):
            value, source = said[option]
            hidden = isinstance(value, Secret) or (option in known and known[option].secret)
            yield _Row(option, _HIDDEN if hidden else _show(_hide(option, value)), source)

    def _deadline_rows(self, leaf: Leaf) -> Iterator[_Row]:
        for name in Deadlines.__struct_fields__:
            key = "first_token" if name == "unary" else name  # said by somebody, it limits both
            if key in leaf.config.timeouts:
                yield _Row(
                    f"deadlines.{name}", f"{leaf.config.timeouts[key] / 1000:g} s", _name_source(leaf, "timeouts", key)
                )
                continue
            value = getattr(self._deadlines, name)
            source = _DEFAULT if value == getattr(Deadlines(), name) else "settings"
            yield _Row(f"deadlines.{name}", f"{value:g} s", source)


def _name_source(leaf: Leaf, field: str, key: str | None = None) -> str:
    source = find_source(leaf, field, key)
    if source is None:
        return _DEFAULT
    return "own" if source is leaf.lineage[-1] else f"inherited from {make_address(source)}"


# ---------------------------------------------------------------- words


def _describe_target(config: Config) -> str:
    if needs_vault(config) is not None:
        return "a saved key"
    return config.provider or "the provider of x-portkey-provider"


def _describe_strategy(strategy: Strategy) -> str:
    text = str(strategy.mode)
    if strategy.mode is Mode.LOADBALANCE and strategy.failover:
        text += " with failover"
    elif strategy.mode is not Mode.FALLBACK:
        return text
    codes = strategy.on_status_codes
    if codes is None:
        return f"{text} on every failure but a content-policy rejection"
    listed = f"{', '.join(map(str, sorted(codes)))} and " if codes else ""
    return f"{text} on {listed}no connection or first token"


def _list_rules(config: Config, strategy: Strategy) -> Iterator[str]:
    if strategy.mode is not Mode.CONDITIONAL:
        return
    places = {target.name: index for index, target in enumerate(config.targets) if target.name is not None}
    for index, condition in enumerate(strategy.conditions):
        yield f"conditions[{index}]: {condition.query.describe()} -> targets[{places[condition.then]}]"
    if strategy.default is None:
        yield "default: none, the call is refused"
    else:
        yield f"default: targets[{places[strategy.default]}]"


def _describe_retry(retry: Retry | None) -> str:
    if retry is None or not retry.attempts:
        return "none"
    codes = ", ".join(map(str, retry.on_status_codes)) or "no status"
    waits = "waits as told by retry-after" if retry.use_retry_after else "takes no retry-after"
    return f"{retry.attempts} on {codes}, {retry.policy}, {waits}"


def _describe_cache(cache: CacheRules | None) -> str:
    if cache is None:
        return "none"
    age = f", {cache.max_age} s" if cache.max_age is not None else ""
    return f"{cache.mode}{age}{', asks anew' if cache.refresh else ''}"


def _describe_recovery(recovery: Recovery | bool | None) -> str:
    return f"{recovery.mode}, {recovery.attempts} at most" if isinstance(recovery, Recovery) else "off"


def _describe_circuit(rules: CircuitRules | None) -> str:
    if rules is None:
        return "none"
    opens = []
    if rules.failures is not None:
        opens.append(f"{rules.failures} failure{'s' if rules.failures != 1 else ''}")
    if rules.failure_percentage is not None:
        opens.append(f"{rules.failure_percentage:g} % of at least {rules.minimum_requests} calls")
    codes = "500 and above" if rules.status_codes is None else ", ".join(map(str, sorted(rules.status_codes)))
    return f"opens after {' or '.join(opens)} (status {codes or 'none'}), for {rules.cooldown:g} s"


def _hide(name: str, value: Any) -> Any:
    """`value` without what is likely a key, at any depth."""
    if _SECRET.search(name):
        return _HIDDEN
    if isinstance(value, dict):
        return {key: _hide(key, item) for key, item in value.items()}
    if isinstance(value, list):
        return [_hide("", item) for item in value]
    return value


def _show(value: Any) -> str:
    text = _HIDDEN if value == _HIDDEN else json.dumps(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
