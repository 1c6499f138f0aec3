"""The strategy of a node: how it chooses among its targets, and whether the two fit together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from aiogateway.config.conditions import parse_query
from aiogateway.config.fields import read_choice, read_flag, read_statuses, read_text, show, suggest
from aiogateway.config.mistakes import Mistakes
from aiogateway.config.model import Condition, Config, Mode, Strategy
from aiogateway.config.rules import read_circuit
from aiogateway.config.section import Reader, read_object

MAX_CONDITIONS = 256
"""Conditions of one strategy: a call may have to look at each."""

_AB_TEST = "ab_test"  # loadbalance's name in the old format
_CONDITION = '{"query": {"metadata.plan": "paid"}, "then": "big"}'


class WrittenStrategy(NamedTuple):
    """`strategy` is None when its mode could not be read; `names` are the targets it speaks of, each with its path."""

    strategy: Strategy | None
    names: Sequence[tuple[str, str]] = ()


class _WrittenCondition(NamedTuple):
    condition: Condition | None
    then: tuple[str, str] | None


def read_strategy(value: Any, path: str, *, mistakes: Mistakes) -> WrittenStrategy:
    """``{"mode": "fallback", "on_status_codes": [429]}``. Returns as much as could be read."""
    readers: Mapping[str, Reader] = {
        "mode": _read_mode,
        "on_status_codes": read_statuses,
        "conditions": partial(_read_conditions, mistakes=mistakes),
        "default": read_text,
        "cb_config": partial(read_circuit, mistakes=mistakes),
        "failover": read_flag,
    }
    required = {"mode": f"it must be one of: {', '.join(Mode)}"}
    read = read_object(value, path, readers, mistakes, required=required, example='{"mode": "fallback"}')
    written: list[_WrittenCondition] = read.get("conditions", [])
    names = [one.then for one in written if one.then is not None]
    if "default" in read:
        names.append((f"{path}.default", read["default"]))
    if "mode" not in read:
        return WrittenStrategy(None)
    if read["mode"] is Mode.CONDITIONAL and "conditions" not in read:
        mistakes.note(f"is missing: a conditional strategy needs a list such as [{_CONDITION}]", f"{path}.conditions")
    strategy = Strategy(
        mode=read["mode"],
        on_status_codes=frozenset(read["on_status_codes"]) if "on_status_codes" in read else None,
        conditions=tuple(one.condition for one in written if one.condition is not None),
        default=read.get("default"),
        circuit=read.get("cb_config"),
        failover=read.get("failover", False),
    )
    return WrittenStrategy(strategy, names)


def _read_mode(value: Any, path: str) -> Mode:
    if value == _AB_TEST:
        return Mode.LOADBALANCE
    return Mode(read_choice(value, path, choices=tuple(Mode)))


def _read_conditions(value: Any, path: str, *, mistakes: Mistakes) -> list[_WrittenCondition]:
    if not isinstance(value, list) or not value:
        mistakes.note(f"must be a list of conditions such as {_CONDITION}, got {show(value)}", path)
        return []
    if len(value) > MAX_CONDITIONS:
        mistakes.note(f"must be at most {MAX_CONDITIONS} conditions, got {len(value)}", path)
        return []
    return [_read_condition(one, f"{path}[{index}]", mistakes) for index, one in enumerate(value)]


def _read_condition(value: Any, path: str, mistakes: Mistakes) -> _WrittenCondition:
    readers: Mapping[str, Reader] = {"query": parse_query, "then": read_text}
    required = {"query": "it says what a request must be like", "then": "it names the target to take"}
    read = read_object(value, path, readers, mistakes, required=required, example=_CONDITION)
    then = (f"{path}.then", read["then"]) if "then" in read else None
    condition = Condition(read["query"], read["then"]) if len(read) == len(readers) else None
    return _WrittenCondition(condition, then)


def check_targets(written: WrittenStrategy, targets: Sequence[Config], path: str, mistakes: Mistakes) -> None:
    """Whether `targets` are what the strategy needs; `path` is the address of the list."""
    mode = written.strategy.mode if written.strategy else None
    if mode is Mode.LOADBALANCE and targets and not any(target.weight for target in targets):
        mistakes.note("have a weight of 0 each: at least one needs a weight above 0", path)
    if mode is Mode.CONDITIONAL:
        _check_names(written.names, targets, mistakes)


def _check_names(names: Sequence[tuple[str, str]], targets: Sequence[Config], mistakes: Mistakes) -> None:
    known: dict[str, Config] = {}
    for target in targets:
        if target.name is None:
            continue
        if (other := known.setdefault(target.name, target)) is not target:
            mistakes.note(f"{show(target.name)} is already the name of {other.path}", f"{target.path}.name")
    for path, name in names:
        if name not in known:
            told = "" if mistakes.full else _describe_unknown_target(name, known)
            mistakes.note(told, path)


def _describe_unknown_target(name: str, known: Iterable[str]) -> str:
    shown = ", ".join(map(show, known))
    there_are = f"there are: {shown}" if shown else "none of them has a name"
    return f"no target of this strategy is called {show(name)}{suggest(name, known)} ({there_are})"
