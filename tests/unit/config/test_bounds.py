from __future__ import annotations

from typing import Any

import pytest

from aiogateway.config.bounds import Bounds, count_attempts
from tests.unit.config.configs import list_mistakes, parse

LEAF: dict[str, Any] = {"provider": "openai"}


def retried(attempts: int) -> dict[str, Any]:
    return {**LEAF, "retry": {"attempts": attempts}}


def branch(mode: str, *targets: dict[str, Any], **more: Any) -> dict[str, Any]:
    strategy: dict[str, Any] = {"mode": mode}
    if mode == "conditional":
        targets = tuple({**target, "name": f"n{index}"} for index, target in enumerate(targets))
        strategy["conditions"] = [{"query": {"metadata.a": 1}, "then": "n0"}]
    if "failover" in more:
        strategy["failover"] = more.pop("failover")
    return {"strategy": strategy, "targets": list(targets), **more}


@pytest.mark.parametrize(
    ("config", "attempts"),
    [
        (LEAF, 1),
        (retried(5), 6),
        (branch("fallback", LEAF, retried(2)), 4),
        (branch("loadbalance", LEAF, retried(2)), 3),
        (branch("loadbalance", LEAF, retried(2), failover=True), 4),
        (branch("conditional", LEAF, retried(2)), 3),
        (branch("single", LEAF, retried(2)), 3),
        (branch("single", LEAF, retried(2), failover=True), 3),
        (branch("fallback", LEAF, retried(1), retry={"attempts": 3}), 6),
        (branch("fallback", branch("loadbalance", retried(1), LEAF), branch("fallback", LEAF, LEAF)), 4),
    ],
)
def test_the_worst_case(config: dict[str, Any], attempts: int) -> None:
    assert count_attempts(parse(config)) == attempts


def test_more_attempts_than_the_settings_allow_are_a_mistake_of_the_root() -> None:
    config = branch("fallback", LEAF, LEAF, LEAF)
    parse(config, bounds=Bounds(max_attempts=3))
    mistakes = list_mistakes(config, bounds=Bounds(max_attempts=2))
    assert list(mistakes) == [""]
    assert "3 upstream attempts" in mistakes[""]
    assert "at most 2" in mistakes[""]
    parse(branch("fallback", *[retried(4)] * 4))
    assert list(list_mistakes(branch("fallback", *[retried(4)] * 4, LEAF))) == [""]


def test_a_misspelled_retry_does_not_take_the_parents_attempts() -> None:
    config = branch("fallback", *[retried(9)] * 5, retry={"attempts": 5})
    assert "" not in list_mistakes(config)
