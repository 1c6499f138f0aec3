"""What a config's leaves inherit from the nodes above them, and from which of them (portkey.md 2.2). Pure.

override_params and timeouts are merged by key, the child's word wins; retry, cache, stream_recovery, strict,
custom_host and forward_headers are the nearest node's, whole. provider, api_key, virtual_key and a provider's options
go to nobody.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import msgspec

from aiogateway.config.model import Config, Strategy
from aiogateway.types import CircuitRules

T = TypeVar("T")


class Leaf(msgspec.Struct, frozen=True, kw_only=True):
    """A leaf as it is in force: `config` with everything inherited filled in.

    `lineage` is the nodes as they were written, from the root down to the leaf itself. `circuit` is the rules of the
    nearest strategy that has some.
    """

    config: Config
    lineage: tuple[Config, ...]
    circuit: CircuitRules | None = None


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """A branch, as it was written, over what its targets became."""

    config: Config
    strategy: Strategy
    children: tuple[Node | Leaf, ...]


def inherit(config: Config) -> Node | Leaf:
    """The same tree with every leaf in force."""
    return _descend(config, (), config)


def iterate_leaves(node: Node | Leaf) -> Iterator[Leaf]:
    """The leaves below a node, in the order in which they were written."""
    if isinstance(node, Leaf):
        yield node
    else:
        for child in node.children:
            yield from iterate_leaves(child)


def find_source(leaf: Leaf, field: str, key: str | None = None) -> Config | None:
    """The node whose word on `field` (on `key` of it, for a merged one) the leaf has; None where nobody says a word.

    `field` is `Config`'s name for it, or ``circuit``.
    """
    for node in reversed(leaf.lineage):
        value: Any = _read_circuit(node) if field == "circuit" else getattr(node, field)
        if value is not None if key is None else key in value:
            return node
    return None


def _descend(written: Config, above: tuple[Config, ...], inherited: Config) -> Node | Leaf:
    lineage = (*above, written)
    effective = _overlay(inherited, written) if above else written
    if written.targets and written.strategy is not None:
        children = tuple(_descend(target, lineage, effective) for target in written.targets)
        return Node(config=written, strategy=written.strategy, children=children)
    circuit = next((rules for node in reversed(lineage) if (rules := _read_circuit(node)) is not None), None)
    return Leaf(config=effective, lineage=lineage, circuit=circuit)


def _overlay(parent: Config, child: Config) -> Config:
    return msgspec.structs.replace(
        child,
        custom_host=parent.custom_host if child.custom_host is None else child.custom_host,
        forward_headers=parent.forward_headers if child.forward_headers is None else child.forward_headers,
        override_params=_merge(parent.override_params, child.override_params),
        timeouts=_merge(parent.timeouts, child.timeouts),
        retry=parent.retry if child.retry is None else child.retry,
        cache=parent.cache if child.cache is None else child.cache,
        recovery=parent.recovery if child.recovery is None else child.recovery,
        strict=parent.strict if child.strict is None else child.strict,
    )


def _merge(parent: Mapping[str, T], child: Mapping[str, T]) -> Mapping[str, T]:
    if not parent or not child:  # shared: a large one above many leaves is held once
        return parent or child
    return {**parent, **child}


def _read_circuit(node: Config) -> CircuitRules | None:
    return None if node.strategy is None else node.strategy.circuit
