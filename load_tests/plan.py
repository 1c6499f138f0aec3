"""What a load generator is told to do in one window, and what it reports; both cross a process border as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import orjson

Kind = Literal["unary", "burst", "paced"]


@dataclass(frozen=True, slots=True)
class Plan:
    """`connections` clients, each asking again as soon as its answer is whole, measured for `seconds`.

    `proxy` and `upstream` are the processes whose CPU time is read at both ends of the window. `rate` is chunks per
    second.
    """

    url: str
    headers: Mapping[str, str]
    kind: Kind
    connections: int
    seconds: float
    chunks: int = 0
    rate: int = 0
    usage: bool = False
    proxy: list[int] = field(default_factory=list)
    upstream: list[int] = field(default_factory=list)
    ca_file: str | None = None

    def dump(self) -> bytes:
        """As JSON."""
        return orjson.dumps(asdict(self))

    @classmethod
    def load(cls, data: bytes | str) -> Plan:
        """From JSON."""
        fields: dict[str, Any] = orjson.loads(data)
        return cls(**fields)


@dataclass(frozen=True, slots=True)
class Report:
    """What one window or probe measured (each figure is explained in README.md), and what went wrong, by kind."""

    values: Mapping[str, float]
    errors: Mapping[str, int]

    def dump(self) -> bytes:
        """As JSON."""
        return orjson.dumps(asdict(self))

    @classmethod
    def load(cls, data: bytes | str) -> Report:
        """From JSON."""
        fields: dict[str, Any] = orjson.loads(data)
        return cls(fields["values"], fields["errors"])
