"""The resolved config: what routing walks. Leaves are `Target`s, everything else a `Branch`."""

from __future__ import annotations

import msgspec

from aiogateway.config.conditions import Query
from aiogateway.config.model import Mode
from aiogateway.types import Target


class Rule(msgspec.Struct, frozen=True):
    """A condition of a `conditional` branch; `child` is the index of the node it leads to."""

    query: Query
    child: int


class Branch(msgspec.Struct, frozen=True, kw_only=True):
    """A strategy over `children`. `path` is its address: ``config``, ``config.targets[0]``.

    `weights` go with the children, by position. `on_status_codes` narrows what a fallback (or a loadbalance with
    `failover`) falls through on; None is everything. `default` is the index of a conditional's last resort.
    """

    path: str
    mode: Mode
    children: tuple[Branch | Target, ...]
    name: str | None = None
    weights: tuple[float, ...] = ()
    on_status_codes: frozenset[int] | None = None
    failover: bool = False
    rules: tuple[Rule, ...] = ()
    default: int | None = None


Tree = Branch | Target
