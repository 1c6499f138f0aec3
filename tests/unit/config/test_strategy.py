from __future__ import annotations

from typing import Any

import pytest

from aiogateway.config.conditions import parse_query
from aiogateway.config.mistakes import Mistakes
from aiogateway.config.model import Condition, Config, Mode, Strategy
from aiogateway.config.strategy import WrittenStrategy, check_targets, read_strategy
from aiogateway.types import CircuitRules, Origin

QUERY = {"metadata.plan": "paid"}


def read(value: Any) -> tuple[WrittenStrategy, dict[str, str]]:
    mistakes = Mistakes()
    written = read_strategy(value, "s", mistakes=mistakes)
    return written, list_all(mistakes)


def list_all(mistakes: Mistakes) -> dict[str, str]:
    if not len(mistakes):
        return {}
    error = mistakes.join()
    return {one.path: one.reason for one in error.errors or (error,)}


def check(value: Any, *targets: dict[str, Any]) -> dict[str, str]:
    mistakes = Mistakes()
    written = read_strategy(value, "s", mistakes=mistakes)
    nodes = [
        Config(source="x", origin=Origin.REQUEST, path=f"t[{index}]", **target) for index, target in enumerate(targets)
    ]
    check_targets(written, nodes, "t", mistakes)
    return list_all(mistakes)


def conditional(*conditions: Any, **more: Any) -> dict[str, Any]:
    return {"mode": "conditional", "conditions": list(conditions), **more}


@pytest.mark.parametrize(
    ("word", "mode"),
    [
        ("single", Mode.SINGLE),
        ("fallback", Mode.FALLBACK),
        ("loadbalance", Mode.LOADBALANCE),
        ("ab_test", Mode.LOADBALANCE),
    ],
)
def test_modes(word: str, mode: Mode) -> None:
    assert read({"mode": word}) == (WrittenStrategy(Strategy(mode=mode), []), {})


def test_everything_is_read() -> None:
    written, mistakes = read(
        {
            "mode": "conditional",
            "onStatusCodes": [429, 500],
            "conditions": [{"query": QUERY, "then": "big"}],
            "default": "small",
            "cbConfig": {"failureThreshold": 3},
            "failover": True,
        }
    )
    assert mistakes == {}
    assert written.strategy == Strategy(
        mode=Mode.CONDITIONAL,
        on_status_codes=frozenset((429, 500)),
        conditions=(Condition(parse_query(QUERY, ""), "big"),),
        default="small",
        circuit=CircuitRules(failures=3),
        failover=True,
    )
    assert written.names == [("s.conditions[0].then", "big"), ("s.default", "small")]


@pytest.mark.parametrize(
    ("value", "paths"),
    [
        ("fallback", {"s"}),
        ({}, {"s.mode"}),
        ({"mode": "fastest"}, {"s.mode"}),
        ({"mode": ["fallback"]}, {"s.mode"}),
        ({"mode": "fallback", "on_status_codes": "429"}, {"s.on_status_codes"}),
        ({"mode": "fallback", "cb_config": 3, "failover": "yes"}, {"s.cb_config", "s.failover"}),
        ({"mode": "fallback", "targets": []}, {"s.targets"}),
        ({"mode": "fallback", "default": ""}, {"s.default"}),
        ({"mode": "fallback", "conditions": {}}, {"s.conditions"}),
        ({"mode": "conditional"}, {"s.conditions"}),
        ({"mode": "conditional", "conditions": None}, {"s.conditions"}),
        (conditional(), {"s.conditions"}),
        (conditional(*[{"query": QUERY, "then": "a"}] * 257), {"s.conditions"}),
        (conditional({}), {"s.conditions[0].query", "s.conditions[0].then"}),
        (conditional(1), {"s.conditions[0]"}),
        (conditional({"query": {"x": 1}, "then": 3}), {"s.conditions[0].query.x", "s.conditions[0].then"}),
    ],
)
def test_mistakes_name_their_place(value: Any, paths: set[str]) -> None:
    assert set(read(value)[1]) == paths


def test_an_unknown_name_is_told_with_those_there_are() -> None:
    rule = {"query": QUERY, "then": "bigg"}
    assert check(conditional(rule, default="big"), {"name": "big"}, {}, {"name": "small"}) == {
        "s.conditions[0].then": "no target of this strategy is called 'bigg'; did you mean 'big'? "
        "(there are: 'big', 'small')"
    }
    assert check(conditional(rule), {}) == {
        "s.conditions[0].then": "no target of this strategy is called 'bigg' (none of them has a name)"
    }


def test_names_are_checked_beside_other_mistakes() -> None:
    mistakes = check(conditional({"query": {"x": 1}, "then": "a"}, default="b"), {"name": "c"})
    assert set(mistakes) == {"s.conditions[0].query.x", "s.conditions[0].then", "s.default"}


def test_two_targets_of_one_name_are_one_too_many_where_names_count() -> None:
    rule = {"query": QUERY, "then": "a"}
    assert check(conditional(rule), {"name": "a"}, {"name": "b"}, {"name": "a"}) == {
        "t[2].name": "'a' is already the name of t[0]"
    }
    assert check({"mode": "fallback", "default": "x"}, {"name": "a"}, {"name": "a"}) == {}


def test_a_loadbalance_needs_a_weight() -> None:
    assert set(check({"mode": "loadbalance"}, {"weight": 0.0}, {"weight": 0.0})) == {"t"}
    assert check({"mode": "loadbalance"}, {"weight": 0.0}, {"weight": 0.1}) == {}
    assert check({"mode": "fallback"}, {"weight": 0.0}) == {}
    assert set(check({"mode": "x"}, {"weight": 0.0})) == {"s.mode"}
