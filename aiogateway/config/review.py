"""What is odd about a config that is right: fields without effect, targets that are never reached, limits at odds."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec
import orjson

from aiogateway.config.bounds import goes_on
from aiogateway.config.conditions import Either, Query, find_contradiction
from aiogateway.config.inherit import Leaf, Node, find_source, inherit, iterate_leaves
from aiogateway.config.leaf import describe_no_vault, needs_vault
from aiogateway.config.legacy import is_old, modernize
from aiogateway.config.mistakes import Mistakes
from aiogateway.config.model import Config, Mode, Strategy
from aiogateway.config.section import join_path, spell_fields
from aiogateway.types import Deadlines, Recovery

LONGEST_WAIT = 60.0
"""Seconds; the engine waits no longer than this between two tries."""


class Remark(NamedTuple):
    """A warning; `path` is empty where the whole config is meant."""

    path: str
    message: str


def review(config: Config, text: str, *, deadlines: Deadlines, first_wait: float) -> list[Remark]:
    """Every warning, in the order of the nodes. `text` is the JSON that `config` was parsed from.

    `deadlines` are the settings' own, `first_wait` is how long the first retry waits (seconds).
    """
    root = inherit(config)
    raw: dict[str, Any] = orjson.loads(text.encode("utf-8", "surrogateescape"))
    remarks = [*_review_node(root, modernize(raw) if is_old(raw) else raw, None), *_review_recovery(root)]
    leaf, *others = iterate_leaves(root)
    circuit = find_source(leaf, "circuit")
    if circuit is not None and not others:
        path = join_path(circuit.path, "strategy")
        remarks.append(Remark(f"{path}.cb_config", "has no effect: there is no other target to go to"))
    late = _find_late(root, 0.0, deadlines, first_wait)
    if isinstance(late, Remark):
        remarks.append(late)
    return remarks


def _review_node(node: Node | Leaf, raw: Mapping[str, Any], above: Strategy | None) -> Iterator[Remark]:
    written = node.lineage[-1] if isinstance(node, Leaf) else node.config
    yield from _review_fields(written, raw, above)
    if isinstance(node, Leaf):
        yield from _review_leaf(written)
        return
    yield from _review_branch(node)
    targets = spell_fields(raw, "", Mistakes())["targets"]
    for child, below in zip(node.children, targets, strict=True):
        yield from _review_node(child, below, node.strategy)


# ---------------------------------------------------------------- fields


def _review_fields(config: Config, raw: Mapping[str, Any], above: Strategy | None) -> Iterator[Remark]:
    fields = spell_fields(raw, "", Mistakes())

    def remark(field: str, message: str) -> Remark:
        return Remark(join_path(config.path, field), message)

    if "on_status_codes" in fields:
        yield remark("on_status_codes", "has no effect here: it belongs into strategy or retry")
    if "strict_open_ai_compliance" in fields:
        yield remark("strict_open_ai_compliance", "has no effect: an answer keeps the provider's bytes")
    if "weight" in fields and (above is None or above.mode is not Mode.LOADBALANCE):
        yield remark("weight", "has no effect: only the targets of a loadbalance are weighed")
    if config.cache is not None:
        yield remark("cache", "has no effect yet: nothing is cached")
    if isinstance(config.recovery, Recovery) and config.recovery.mode == "continue":
        yield Remark(f"{join_path(config.path, 'stream_recovery')}.mode", "continue means restart for now")
    if config.strategy is not None:
        yield from _review_strategy(config, config.strategy)


def _review_strategy(config: Config, strategy: Strategy) -> Iterator[Remark]:
    path, mode = join_path(config.path, "strategy"), strategy.mode
    if strategy.on_status_codes is not None and not goes_on(strategy):
        yield Remark(
            f"{path}.on_status_codes", f"has no effect: a {mode} strategy tries one target{_failover_hint(mode)}"
        )
    if strategy.failover and mode is not Mode.LOADBALANCE:
        yield Remark(f"{path}.failover", "has no effect: it is for a loadbalance")
    if mode is not Mode.CONDITIONAL:
        for field in ("conditions", "default"):
            if getattr(strategy, field):
                yield Remark(f"{path}.{field}", "has no effect: it is for a conditional strategy")
    codes = strategy.circuit.status_codes if strategy.circuit is not None else None
    never = sorted(code for code in codes or () if code < 500)
    if never:
        listed = ", ".join(map(str, never))
        yield Remark(f"{path}.cb_config.failure_status_codes", f"{listed}: below 500 nothing opens a circuit")


def _failover_hint(mode: Mode) -> str:
    return ' unless it says "failover": true' if mode is Mode.LOADBALANCE else ""


def _review_leaf(config: Config) -> Iterator[Remark]:
    field = needs_vault(config)
    if field is not None:
        yield Remark(join_path(config.path, field), describe_no_vault(config, field))
    elif config.provider is None and not config.path:
        yield Remark("", "names no provider: calls have to send x-portkey-provider")


# ---------------------------------------------------------------- branches


def _review_branch(node: Node) -> Iterator[Remark]:
    config = node.config
    for field in ("provider", "api_key", "virtual_key", *config.options):
        if field in config.options or getattr(config, field) is not None:
            yield Remark(join_path(config.path, field), "has no effect beside targets: they don't inherit it")
    yield from _REVIEWS[node.strategy.mode](node, node.strategy)


def _review_single(node: Node, strategy: Strategy) -> Iterator[Remark]:
    for target in node.config.targets[1:]:
        yield Remark(target.path, "is never reached: a single strategy has its first target only")


def _review_fallback(node: Node, strategy: Strategy) -> Iterator[Remark]:
    codes = strategy.on_status_codes
    if codes is not None and all(code < 300 for code in codes):
        for target in node.config.targets[1:]:
            yield Remark(
                target.path,
                "is only reached when the target before it can't be connected to or stays silent: on_status_codes "
                "lists no failure",
            )


def _review_loadbalance(node: Node, strategy: Strategy) -> Iterator[Remark]:
    for target in node.config.targets:
        if target.weight == 0:
            yield Remark(target.path, "is never reached: its weight is 0")


def _review_conditional(node: Node, strategy: Strategy) -> Iterator[Remark]:
    config = node.config
    named = {condition.then for condition in strategy.conditions} | {strategy.default}
    for target in config.targets:
        if target.name not in named or target.name is None:
            yield Remark(target.path, "is never reached: no condition leads to it, and it is not the default")
    first: dict[str, int] = {}
    guarded = {child.config.name for child in node.children if any(leaf.circuit for leaf in iterate_leaves(child))}
    for index, condition in enumerate(strategy.conditions):
        path = f"{join_path(config.path, 'strategy')}.conditions[{index}]"
        reason = find_contradiction(condition.query)
        if reason is not None:
            yield Remark(f"{path}.query", f"can never match: {reason}")
            continue
        spelled = _spell(condition.query)
        before = first.get("[]", first.get(spelled))
        if before is not None:
            what = "matches everything" if "[]" in first else "asks the same"
            yield Remark(path, f"is never reached: conditions[{before}] comes first and {what}")
        elif condition.then not in guarded:  # an open circuit is passed over
            first[spelled] = index
    if "[]" in first and strategy.default is not None:
        path = f"{join_path(config.path, 'strategy')}.default"
        yield Remark(path, f"is never reached: conditions[{first['[]']}] matches everything")


_REVIEWS: Mapping[Mode, Callable[[Node, Strategy], Iterator[Remark]]] = {
    Mode.SINGLE: _review_single,
    Mode.FALLBACK: _review_fallback,
    Mode.LOADBALANCE: _review_loadbalance,
    Mode.CONDITIONAL: _review_conditional,
}


def _spell(query: Query) -> str:
    """The same text for queries that ask the same, in whatever order; ``[]`` for one that asks nothing."""
    return json.dumps(sorted(
        json.dumps([_spell(one) for one in part.queries])
        if isinstance(part, Either)
        else json.dumps([str(part.key), part.operator, part.operand], sort_keys=True)
        for part in query.parts
    ))  # fmt: skip


# ---------------------------------------------------------------- recovery


def _review_recovery(root: Node | Leaf) -> Iterator[Remark]:
    """A word on stream_recovery that helps none of the leaves that have it."""
    helped: dict[str, bool] = {}
    followed = _find_followed(root, followed=False)
    for leaf in iterate_leaves(root):
        source = find_source(leaf, "recovery")
        if source is not None and isinstance(source.recovery, Recovery):
            path = join_path(source.path, "stream_recovery")
            helped[path] = helped.get(path, False) or leaf.config.path in followed
    for path, helps in helped.items():
        if not helps:
            yield Remark(path, "has no effect: there is no other target that could take over")


def _find_followed(node: Node | Leaf, *, followed: bool) -> set[str]:
    """The paths of the leaves that another target may follow; `followed`: one may follow this whole node."""
    if isinstance(node, Leaf):
        return {node.config.path} if followed else set()
    found: set[str] = set()
    strategy = node.strategy
    for index, child in enumerate(node.children):
        more = False
        if strategy.mode is Mode.FALLBACK:
            more = index < len(node.children) - 1
        elif strategy.mode is Mode.LOADBALANCE and strategy.failover:
            more = sum(target.weight > 0 for target in node.config.targets) > 1
        found |= _find_followed(child, followed=followed or more)
    return found


# ---------------------------------------------------------------- time


def _find_late(node: Node | Leaf, start: float, deadlines: Deadlines, first_wait: float) -> Remark | float:
    """When the attempts below `node` have ended at the latest (seconds), or the first leaf for which that is too late.

    What is counted is silence: a first-token limit for each target, after all the waits between its tries.
    """
    if isinstance(node, Leaf):
        return _time_leaf(node, start, deadlines, first_wait)
    ends = [start]
    for child in node.children[:1] if node.strategy.mode is Mode.SINGLE else node.children:
        begin = ends[-1] if goes_on(node.strategy) else start
        end = _find_late(child, begin, deadlines, first_wait)
        if isinstance(end, Remark):
            return end
        ends.append(end)
    return max(ends)


def _time_leaf(leaf: Leaf, start: float, deadlines: Deadlines, first_wait: float) -> Remark | float:
    config = leaf.config
    said = {name: value / 1000 for name, value in config.timeouts.items()}
    limits = msgspec.structs.replace(deadlines, **said)
    tries = 0 if config.retry is None else config.retry.attempts
    waits = sum(min(first_wait * 2.0**number, LONGEST_WAIT) for number in range(tries))
    end = start + waits + limits.first_token
    if end <= limits.total:
        return end
    return Remark(
        config.path,
        f"may come too late: a call is over after {limits.total:g} s, and with the retries and first-token limits of "
        f"it and what is tried before it {end:g} s may have passed",
    )
