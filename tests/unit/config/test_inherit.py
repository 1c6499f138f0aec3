from __future__ import annotations

from typing import Any

import pytest

from aiogateway.config.inherit import Leaf, Node, find_source, inherit, iterate_leaves
from aiogateway.config.model import Config, Mode, Strategy
from aiogateway.types import CacheRules, CircuitRules, Origin, Recovery, Retry, Secret


def node(path: str = "", *targets: Config, **fields: Any) -> Config:
    strategy = fields.pop("strategy", Strategy(mode=Mode.FALLBACK) if targets else None)
    return Config(source="test", origin=Origin.REQUEST, path=path, targets=targets, strategy=strategy, **fields)


def only(config: Config) -> Leaf:
    """The one leaf below the node."""
    (leaf,) = iterate_leaves(inherit(config))
    return leaf


def nest(root: dict[str, Any], middle: dict[str, Any], leaf: dict[str, Any]) -> Leaf:
    below = node("targets[0]", node("targets[0].targets[0]", **leaf), **middle)
    return only(node("", below, **root))


# What a field may be at the root, in the middle and at the leaf.
FIELDS: dict[str, tuple[Any, Any, Any]] = {
    "custom_host": ("http://a", "http://b", "http://c"),
    "forward_headers": (("x-a",), ("x-b",), ()),
    "retry": (Retry(attempts=1), Retry(attempts=2, on_status_codes=(500,)), Retry(attempts=0)),
    "cache": (CacheRules(mode="simple"), CacheRules(mode="semantic", max_age=1), CacheRules(mode="simple", max_age=2)),
    "recovery": (Recovery(), Recovery(attempts=2), False),
}


@pytest.mark.parametrize("field", FIELDS)
def test_the_nearest_nodes_word_is_taken_whole(field: str) -> None:
    top, middle, own = FIELDS[field]
    for root, between, leaf, expected, source in (
        ({}, {}, {}, None, None),
        ({field: top}, {}, {}, top, ""),
        ({field: top}, {field: middle}, {}, middle, "targets[0]"),
        ({field: top}, {field: middle}, {field: own}, own, "targets[0].targets[0]"),
        ({}, {}, {field: own}, own, "targets[0].targets[0]"),
    ):
        found = nest(root, between, leaf)
        assert getattr(found.config, field) == expected
        where = find_source(found, field)
        assert (where and where.path) == source


@pytest.mark.parametrize("field", ["override_params", "timeouts"])
def test_some_are_merged_by_key_and_the_childs_word_wins(field: str) -> None:
    found = nest({field: {"a": 1, "b": 1, "c": 1}}, {field: {"b": 2, "c": 2}}, {field: {"c": 3, "d": 3}})
    assert getattr(found.config, field) == {"a": 1, "b": 2, "c": 3, "d": 3}
    sources = {key: find_source(found, field, key) for key in "abcde"}
    assert {key: source and source.path for key, source in sources.items()} == {
        "a": "", "b": "targets[0]", "c": "targets[0].targets[0]", "d": "targets[0].targets[0]", "e": None
    }  # fmt: skip


def test_merging_is_shallow() -> None:
    found = nest({"override_params": {"a": {"x": 1, "y": 1}}}, {}, {"override_params": {"a": {"x": 2}}})
    assert found.config.override_params == {"a": {"x": 2}}


def test_what_nobody_adds_to_is_shared() -> None:
    overrides = {"a": 1}
    assert nest({"override_params": overrides}, {}, {}).config.override_params is overrides
    assert nest({}, {}, {"override_params": overrides}).config.override_params is overrides


def test_who_is_asked_goes_to_nobody() -> None:
    above = {
        "provider": "openai", "api_key": Secret("k"), "virtual_key": "vk", "name": "n", "weight": 3.0,
        "options": {"openai_organization": "o"}, "trace_id": "t", "metadata": {"a": 1},
    }  # fmt: skip
    found = nest(above, above, {}).config
    assert found == node("targets[0].targets[0]")


def test_the_nearest_strategy_with_circuit_rules_counts() -> None:
    outer, inner = CircuitRules(failures=1), CircuitRules(failures=2)

    def strategy(circuit: CircuitRules | None) -> dict[str, Any]:
        return {"strategy": Strategy(mode=Mode.SINGLE, circuit=circuit)}

    for root, between, leaf, expected, source in (
        (strategy(None), strategy(None), {}, None, None),
        (strategy(outer), strategy(None), {}, outer, ""),
        (strategy(outer), strategy(inner), {}, inner, "targets[0]"),
        (strategy(outer), strategy(None), strategy(inner), inner, "targets[0].targets[0]"),
    ):
        found = nest(root, between, leaf)
        assert found.circuit == expected
        where = find_source(found, "circuit")
        assert (where and where.path) == source


def test_a_tree_keeps_its_shape_and_its_branches_their_words() -> None:
    inner = node("targets[1]", node("targets[1].targets[0]"), node("targets[1].targets[1]"))
    root = node("", node("targets[0]"), inner, retry=Retry(attempts=1))
    tree = inherit(root)
    assert isinstance(tree, Node)
    assert tree.config is root
    first, second = tree.children
    assert isinstance(first, Leaf)
    assert isinstance(second, Node)
    assert second.config is inner
    assert [leaf.config.path for leaf in iterate_leaves(tree)] == [
        "targets[0]", "targets[1].targets[0]", "targets[1].targets[1]"
    ]  # fmt: skip
    assert [leaf.lineage for leaf in iterate_leaves(second)] == [(root, inner, target) for target in inner.targets]


def test_a_root_that_is_a_leaf_is_in_force_as_it_is() -> None:
    config = node(provider="openai", retry=Retry(attempts=1))
    assert inherit(config) == Leaf(config=config, lineage=(config,))
