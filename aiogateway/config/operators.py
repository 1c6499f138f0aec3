"""The operators of a query: what each takes, and which values it accepts.

Equality is JSON's: "1" is not 1 and true is not 1, but 1 is 1.0. ``$gt $gte $lt $lte`` read numbers out of strings on
both sides. ``$regex`` is a search in a string. Nothing here raises for a value, whatever JSON it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from aiogateway.config.fields import show
from aiogateway.config.patterns import Patience, read_pattern, search
from aiogateway.errors import ConfigError

MAX_NESTING = 8
"""Levels of objects and lists in a value that is compared with."""

_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,5})?")
_LONGEST_NUMBER = 64


class Operator(msgspec.Struct, frozen=True):
    """`read` (operand, path) makes what `accepts` (value, that, patience) works with, or raises ConfigError."""

    read: Callable[[Any, str], Any]
    accepts: Callable[[Any, Any, Patience], bool]


class _Values(msgspec.Struct, frozen=True):
    """The values of ``$in``: plain ones by their `_tag`, and the rest."""

    plain: frozenset[Any]
    others: tuple[Any, ...]

    def __contains__(self, value: Any) -> bool:
        if isinstance(value, dict | list):
            return any(_is_same(value, other) for other in self.others)
        return _tag(value) in self.plain


def _tag(value: Any) -> Any:
    return (value,) if isinstance(value, bool) else value  # True is 1 in a set


def _is_same(one: Any, other: Any) -> bool:
    """JSON equality; goes no deeper than the shallower of the two."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list):
        same = isinstance(other, list) and len(one) == len(other)
        return same and all(map(_is_same, one, other))
    if isinstance(one, dict):
        same = isinstance(other, dict) and one.keys() == other.keys()
        return same and all(_is_same(value, other[name]) for name, value in one.items())
    return bool(one == other)


def _to_number(value: Any) -> int | float | None:
    """The number that `value` is or spells; true is none."""
    if isinstance(value, str) and len(value) <= _LONGEST_NUMBER and _NUMBER.fullmatch(value.strip()):
        text = value.strip()
        return int(text) if text.lstrip("+-").isdigit() else float(text)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _compare(holds: Callable[[Any, Any], bool]) -> Callable[[Any, Any, Patience], bool]:
    def accepts(value: Any, limit: Any, patience: Patience) -> bool:
        number = _to_number(value)
        return number is not None and holds(number, limit)

    return accepts


def _read_value(value: Any, path: str) -> Any:
    level = [value]
    for _ in range(MAX_NESTING + 1):
        lists = [list(one.values()) if isinstance(one, dict) else one for one in level if isinstance(one, dict | list)]
        level = [item for items in lists for item in items]
    if level:
        raise ConfigError(f"is nested too deep: at most {MAX_NESTING} levels", path=path)
    return value


def _read_values(value: Any, path: str) -> _Values:
    if not isinstance(value, list):
        raise ConfigError(f"must be a list of values, got {show(value)}", path=path)
    _read_value(value, path)
    return _Values(
        frozenset(_tag(one) for one in value if not isinstance(one, dict | list)),
        tuple(one for one in value if isinstance(one, dict | list)),
    )


def _read_limit(value: Any, path: str) -> int | float:
    number = _to_number(value)
    if number is None:
        raise ConfigError(f"must be a number, got {show(value)}", path=path)
    return number


OPERATORS: Mapping[str, Operator] = {
    "$eq": Operator(_read_value, lambda value, operand, patience: _is_same(value, operand)),
    "$ne": Operator(_read_value, lambda value, operand, patience: not _is_same(value, operand)),
    "$gt": Operator(_read_limit, _compare(lambda value, limit: value > limit)),
    "$gte": Operator(_read_limit, _compare(lambda value, limit: value >= limit)),
    "$lt": Operator(_read_limit, _compare(lambda value, limit: value < limit)),
    "$lte": Operator(_read_limit, _compare(lambda value, limit: value <= limit)),
    "$in": Operator(_read_values, lambda value, operand, patience: value in operand),
    "$nin": Operator(_read_values, lambda value, operand, patience: value not in operand),
    "$regex": Operator(
        read_pattern, lambda value, operand, patience: isinstance(value, str) and search(operand, value, patience)
    ),
}
"""By name, as a query writes it."""
