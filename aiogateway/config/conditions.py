"""Queries of conditional routing: what they may say, and whether a request is like that.

Where it is not Portkey's router (portkey.md 2.3): any depth instead of two levels, headers may be asked too, and
``$regex`` does not end the comparisons of its key. A value that is absent equals null, so ``$ne`` and ``$nin`` match
it, and of the others only ``{"$eq": null}`` does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from aiogateway.config.fields import name_kind, show, suggest
from aiogateway.config.mistakes import Mistakes
from aiogateway.config.operators import OPERATORS
from aiogateway.config.patterns import Patience
from aiogateway.errors import ConfigError
from aiogateway.types import GATEWAY_PREFIXES

MAX_NESTING = 8
"""Levels of ``$and`` and ``$or`` in each other."""
MAX_CLAUSES = 64
"""Comparisons in one query."""

_SHOWN = 80
_WORD = re.compile(r"[A-Za-z0-9_.$-]{1,64}")
_ASKED = "metadata.<key>, params.<field>, url.pathname, headers.<name>"
_PLACES = ("metadata", "params", "url", "headers")
# What `Facts.headers` never holds, so that no condition waits for it in vain.
_UNSEEN = frozenset(("api-key", "authorization", "cookie", "host", "x-api-key", "x-goog-api-key"))


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What a query may look at. `params` is the client's body before any override; `path` is the URL's.

    `headers` have lower-case names; no query can be written that asks for a credential or for what is spoken to the
    gateway. `patience` is what the searches of all queries over these facts share.
    """

    metadata: Mapping[str, Any] = {}
    params: Mapping[str, Any] = {}
    path: str = ""
    headers: Mapping[str, str] = {}
    patience: Patience = msgspec.field(default_factory=Patience)


class Key(msgspec.Struct, frozen=True):
    """Where a comparison looks: `name` below `place`, or step by step; a number is an index into a list."""

    place: str
    name: str
    steps: tuple[str, ...] = ()

    def find(self, facts: Facts) -> Any:
        """The value there; None when there is none. A name with dots in it comes before the path it could be."""
        if self.place == "url":
            return facts.path
        if self.place == "headers":
            return facts.headers.get(self.name)
        value: Any = facts.metadata if self.place == "metadata" else facts.params
        if self.name in value:
            return value[self.name]
        for step in self.steps:
            if isinstance(value, Mapping):
                value = value.get(step)
            elif isinstance(value, list) and len(step) < 10 and step.isascii() and step.isdigit():
                value = value[int(step)] if int(step) < len(value) else None
            else:
                return None
        return value

    def may_be(self, value: Any) -> bool:
        """Whether a request can hold such a value there at all."""
        if self.place in ("url", "headers"):
            return isinstance(value, str) or (value is None and self.place == "headers")
        return self.place == "params" or not isinstance(value, dict | list)

    def __str__(self) -> str:
        return f"{self.place}.{self.name}"


class Comparison(msgspec.Struct, frozen=True):
    """One operator of one key. `operand` is as it was written, `ready` what the operator works with."""

    key: Key
    operator: str
    operand: Any
    ready: Any

    def accepts(self, value: Any, patience: Patience) -> bool:
        """Whether `value`, any JSON, compares as asked. Never raises."""
        return OPERATORS[self.operator].accepts(value, self.ready, patience)

    def describe(self) -> str:
        """One line of ASCII: ``metadata.plan $eq "paid"``."""
        value = json.dumps(self.operand)
        return f"{json.dumps(str(self.key))[1:-1]} {self.operator} {_cut(value)}"


class Either(msgspec.Struct, frozen=True):
    """``$or``."""

    queries: tuple[Query, ...]

    def describe(self) -> str:
        """One line of ASCII, in brackets."""
        texts = [f"({query.describe()})" if len(query.parts) > 1 else query.describe() for query in self.queries]
        return f"({' or '.join(texts)})"


class Query(msgspec.Struct, frozen=True):
    """A parsed query: all of `parts` have to hold, and of none everything does. Unchanging, so configs share it."""

    parts: tuple[Comparison | Either, ...] = ()

    def matches(self, facts: Facts) -> bool:
        """Whether the request is like that. Never raises; takes no longer than the patience of `facts`."""
        for part in self.parts:
            if isinstance(part, Either):
                if not any(query.matches(facts) for query in part.queries):
                    return False
            elif not part.accepts(part.key.find(facts), facts.patience):
                return False
        return True

    def describe(self) -> str:
        """One line of ASCII: ``metadata.plan $eq "paid" and params.max_tokens $gt 5``."""
        return " and ".join([part.describe() for part in self.parts]) or "anything"


def parse_query(raw: Any, path: str) -> Query:
    """Reads a query. Raises ConfigError with every mistake in it."""
    mistakes = Mistakes()
    reading = _Reading(mistakes)
    query = reading.read(raw, path, 1)
    if reading.clauses > MAX_CLAUSES:
        mistakes.note(f"holds {reading.clauses} comparisons, at most {MAX_CLAUSES}", path)
    mistakes.check()
    return query


def find_contradiction(query: Query) -> str | None:
    """Why no request can match; None when one may. Says only what is certain."""
    by_key: dict[str, list[Comparison]] = {}
    for part in query.parts:
        if isinstance(part, Comparison):
            by_key.setdefault(str(part.key), []).append(part)
    for comparisons in by_key.values():
        if not _can_hold(comparisons):
            return f"nothing can be {' and '.join([one.describe() for one in comparisons])}"
    always = tuple(part for part in query.parts if isinstance(part, Comparison))
    for part in query.parts:
        if isinstance(part, Either):
            reasons = [find_contradiction(Query(always + one.parts)) for one in part.queries]
            if reasons and all(reasons):
                return "; ".join(dict.fromkeys([reason for reason in reasons if reason]))
    return None


class _Reading:
    """One query while it is read; `clauses` counts its comparisons."""

    def __init__(self, mistakes: Mistakes) -> None:
        self.clauses = 0
        self._mistakes = mistakes

    def read(self, raw: Any, path: str, depth: int) -> Query:
        if not isinstance(raw, dict):
            self._mistakes.note(f'must be an object such as {{"metadata.plan": "paid"}}, got {name_kind(raw)}', path)
            return Query()
        parts: list[Comparison | Either] = []
        for name, value in raw.items():
            where = _join(path, name)
            if name in ("$and", "$or"):
                queries = self._read_list(value, where, depth)
                parts += [Either(queries)] if name == "$or" else [part for one in queries for part in one.parts]
            elif (key := self._mistakes.take(_read_key, name, where)) is not None:
                parts += self._read_comparisons(key, value, where)
        return Query(tuple(parts))

    def _read_list(self, value: Any, path: str, depth: int) -> tuple[Query, ...]:
        if not isinstance(value, list) or not value:
            self._mistakes.note(f"must be a list of at least one query, got {name_kind(value)}", path)
            return ()
        if depth > MAX_NESTING:
            self._mistakes.note(f"is nested too deep: at most {MAX_NESTING} levels of $and and $or", path)
            return ()
        queries = []
        for index, one in enumerate(value):
            if one == {}:
                self._mistakes.note("is empty, so it matches everything: leave it out", f"{path}[{index}]")
            queries.append(self.read(one, f"{path}[{index}]", depth + 1))
        return tuple(queries)

    def _read_comparisons(self, key: Key, value: Any, path: str) -> list[Comparison]:
        if not isinstance(value, dict):
            return self._read_comparison(key, "$eq", value, path)
        if not value:
            known = ", ".join(OPERATORS)
            self._mistakes.note(f"is an empty object: it needs an operator (there are: {known})", path)
        return [
            comparison
            for operator, operand in value.items()
            for comparison in self._read_comparison(key, operator, operand, _join(path, operator))
        ]

    def _read_comparison(self, key: Key, name: str, operand: Any, path: str) -> list[Comparison]:
        """One comparison, or none when there is a mistake in it."""
        self.clauses += 1
        operator = OPERATORS.get(name)
        if operator is None:
            self._mistakes.note("" if self._mistakes.full else _describe_operator(name), path)
            return []
        if self.clauses > MAX_CLAUSES:  # refused anyway
            return []
        ready = self._mistakes.take(lambda value, where: (operator.read(value, where),), operand, path)
        return [] if ready is None else [Comparison(key, name, operand, ready[0])]


def _read_key(name: str, path: str) -> Key:
    place, dot, rest = name.partition(".")
    if name in OPERATORS:
        raise ConfigError(f'belongs inside a key: {{"metadata.plan": {{"{name}": …}}}}', path=path)
    if name.startswith("$"):
        near = suggest(name, ("$and", "$or"))
        raise ConfigError(f"is not an operator over queries{near or ' (there are: $and, $or)'}", path=path)
    if not dot or not rest or place not in _PLACES or (place == "url" and rest != "pathname"):
        near = suggest(place, _PLACES) if place not in _PLACES else ""
        raise ConfigError(f"is nothing that a query can ask{near} (there are: {_ASKED})", path=path)
    if place == "headers":
        rest = rest.lower()
        if rest in _UNSEEN or rest.startswith(GATEWAY_PREFIXES):
            raise ConfigError("is a header that conditions don't get to see", path=path)
    return Key(place, rest, tuple(rest.split(".")))


def _describe_operator(name: str) -> str:
    hint = "" if name.startswith("$") else '; to compare with an object, write {"$eq": {…}}'
    return f"is not an operator{suggest(name, OPERATORS)} (there are: {', '.join(OPERATORS)}){hint}"


def _join(path: str, name: str) -> str:
    return f"{path}.{name if _WORD.fullmatch(name) else show(name)}"


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


# ------------------------------------------------------------- contradictions


def _can_hold(comparisons: list[Comparison]) -> bool:
    """Whether one value may pass all of one key's comparisons."""
    for exact in comparisons:
        if exact.operator in ("$eq", "$in"):
            values = exact.operand if exact.operator == "$in" else [exact.operand]
            return any(_passes(value, comparisons) for value in values)
    low = [(one.ready, one.operator == "$gt") for one in comparisons if one.operator in ("$gt", "$gte")]
    high = [(one.ready, one.operator == "$lt") for one in comparisons if one.operator in ("$lt", "$lte")]
    return not any(least > most or (least == most and (above or below)) for least, above in low for most, below in high)


def _passes(value: Any, comparisons: list[Comparison]) -> bool:
    patience = Patience()
    return comparisons[0].key.may_be(value) and all(one.accepts(value, patience) for one in comparisons)
