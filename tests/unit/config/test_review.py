from __future__ import annotations

import json
from typing import Any

import pytest

from aiogateway.config.parse import parse_config
from aiogateway.config.review import review
from aiogateway.types import Deadlines, Option, Origin

OPTIONS: dict[str, dict[str, Option]] = {"openai": {"openai_organization": Option()}, "mock": {}}
MOCK = {"provider": "mock"}


def warn(config: Any, *, deadlines: Deadlines | None = None, first_wait: float = 1.0) -> dict[str, str]:
    """Every warning by its path."""
    text = json.dumps(config)
    parsed = parse_config(text, origin=Origin.REQUEST, source="x-portkey-config", options=OPTIONS)
    remarks = review(parsed, text, deadlines=deadlines or Deadlines(), first_wait=first_wait)
    assert len(dict(remarks)) == len(remarks)
    return dict(remarks)


def over(*targets: Any, mode: str = "fallback", strategy: Any = None, **fields: Any) -> dict[str, Any]:
    return {"strategy": {"mode": mode, **(strategy or {})}, "targets": list(targets), **fields}


@pytest.mark.parametrize(
    "config",
    [
        MOCK,
        over(MOCK, {"provider": "openai", "openai_organization": "o"}),
        over({**MOCK, "weight": 1}, {**MOCK, "weight": 0.1}, mode="loadbalance", strategy={"failover": True}),
        over(MOCK, MOCK, strategy={"on_status_codes": [429]}, stream_recovery={"mode": "restart"}),
        over(MOCK, MOCK, strategy={"cb_config": {"failure_status_codes": [500]}}, retry={"attempts": 2}),
        {"mode": "single", "options": [MOCK]},
    ],
)
def test_a_plain_config_has_no_warning(config: Any) -> None:
    assert warn(config) == {}


@pytest.mark.parametrize("field", ["on_status_codes", "onStatusCodes"])
def test_fields_that_are_accepted_without_effect(field: str) -> None:
    config = over({**MOCK, field: [429], "strict_open_ai_compliance": True, "weight": 2}, MOCK)
    found = warn(config)
    assert list(found) == ["targets[0].on_status_codes", "targets[0].strict_open_ai_compliance", "targets[0].weight"]
    assert all("no effect" in message for message in found.values())


def test_a_weight_counts_in_a_loadbalance_only() -> None:
    inner = over({**MOCK, "weight": 2}, MOCK, mode="loadbalance", weight=3)
    assert list(warn(over(inner, MOCK, weight=1))) == ["weight", "targets[0].weight"]


def test_the_old_formats_fields_are_found_too() -> None:
    config = {"mode": "fallback", "options": [{**MOCK, "weight": 0.2}, {**MOCK, "cache_status": "semantic"}]}
    assert list(warn(config)) == ["targets[0].weight", "targets[1].cache"]


def test_what_targets_do_not_inherit() -> None:
    config = over(MOCK, MOCK, provider="openai", api_key="k", virtual_key="v", openai_organization="o")
    found = warn(config)
    assert list(found) == ["provider", "api_key", "virtual_key", "openai_organization"]
    assert set(found.values()) == {"has no effect beside targets: they don't inherit it"}


@pytest.mark.parametrize(
    ("mode", "strategy", "field"),
    [
        ("single", {"on_status_codes": [500]}, "on_status_codes"),
        ("loadbalance", {"on_status_codes": [500]}, "on_status_codes"),
        ("fallback", {"failover": True}, "failover"),
        ("fallback", {"conditions": [{"query": {"params.a": 1}, "then": "x"}]}, "conditions"),
        ("loadbalance", {"default": "x"}, "default"),
    ],
)
def test_a_strategys_fields_that_are_anothers(mode: str, strategy: Any, field: str) -> None:
    found = warn(over(over(MOCK, mode=mode, strategy=strategy), MOCK))
    assert list(found) == [f"targets[0].strategy.{field}"]
    assert "no effect" in found[f"targets[0].strategy.{field}"]


def test_what_is_not_built_yet() -> None:
    assert warn({**MOCK, "cache": {"mode": "simple"}}) == {"cache": "has no effect yet: nothing is cached"}
    found = warn(over(MOCK, MOCK, stream_recovery={"mode": "continue"}))
    assert found == {"stream_recovery.mode": "continue means restart for now"}


def test_saved_keys_can_not_be_used_yet() -> None:
    found = warn(over({"virtual_key": "vk-1"}, {"provider": "@saved"}, {"virtual_key": "sk-canary"}))
    assert list(found) == ["targets[0].virtual_key", "targets[1].provider", "targets[2].virtual_key"]
    assert "'vk-1' can't be used" in found["targets[0].virtual_key"]
    assert "canary" not in str(found)


def test_a_config_that_needs_a_header() -> None:
    assert "x-portkey-provider" in warn({"retry": {"attempts": 1}})[""]


# ---------------------------------------------------------------- targets out of reach


def test_targets_behind_a_single_ones() -> None:
    assert list(warn(over(MOCK, MOCK, MOCK, mode="single"))) == ["targets[1]", "targets[2]"]


@pytest.mark.parametrize(("codes", "count"), [([], 1), ([200, 201], 1), ([200, 500], 0)])
def test_targets_behind_codes_that_are_no_failures(codes: list[int], count: int) -> None:
    assert len(warn(over(MOCK, MOCK, strategy={"on_status_codes": codes}))) == count


def test_targets_without_weight() -> None:
    found = warn(over({**MOCK, "weight": 0}, MOCK, mode="loadbalance"))
    assert found == {"targets[0]": "is never reached: its weight is 0"}


def choose(*conditions: tuple[Any, str], default: str | None = None, **fields: Any) -> dict[str, Any]:
    listed = [{"query": query, "then": then} for query, then in conditions]
    strategy = {"conditions": listed, **({"default": default} if default else {}), **fields}
    targets = [{"name": name, **MOCK} for name in "ab"]
    return over(*targets, mode="conditional", strategy=strategy)


def test_targets_that_no_condition_names() -> None:
    assert list(warn(choose(({"params.n": 1}, "a")))) == ["targets[1]"]
    assert warn(choose(({"params.n": 1}, "a"), default="b")) == {}
    nameless = over({"name": "a", **MOCK}, MOCK, mode="conditional", strategy={"conditions": [], "default": "a"})
    nameless["strategy"]["conditions"] = [{"query": {"params.n": 1}, "then": "a"}]
    assert list(warn(nameless)) == ["targets[1]"]


def test_conditions_that_can_never_match() -> None:
    found = warn(choose(({"params.n": {"$gt": 2, "$lt": 1}}, "a"), ({"params.n": 1}, "b")))
    assert list(found) == ["strategy.conditions[0].query"]
    assert "can never match" in found["strategy.conditions[0].query"]


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ({"params.n": 1}, {"params.n": {"$eq": 1}}, True),
        ({"params.n": 1, "params.m": 2}, {"$and": [{"params.m": 2}, {"params.n": 1}]}, True),
        ({"$or": [{"params.n": 1}, {"params.n": 2}]}, {"$or": [{"params.n": 1}, {"params.n": 2}]}, True),
        ({"params.n": 1}, {"params.n": True}, False),
        ({"params.n": 1}, {"params.n": "1"}, False),
        ({"params.n": 1}, {"params.m": 1}, False),
        ({"params.n": {"$gt": 1}}, {"params.n": {"$gte": 1}}, False),
        ({"$or": [{"params.n": 1}]}, {"params.n": 1}, False),
    ],
)
def test_conditions_behind_their_like(first: Any, second: Any, same: bool) -> None:
    found = warn(choose((first, "a"), (second, "b")))
    assert list(found) == (["strategy.conditions[1]"] if same else [])


def test_conditions_behind_one_that_matches_everything() -> None:
    found = warn(choose(({"params.n": 1}, "a"), ({}, "b"), ({"params.n": 2}, "a"), default="a"))
    assert list(found) == ["strategy.conditions[2]", "strategy.default"]
    assert all("conditions[1]" in message for message in found.values())


def test_an_open_circuit_makes_room_for_the_next_condition() -> None:
    config = choose(({}, "a"), ({"params.n": 1}, "b"), default="b", cb_config={"failure_threshold": 1})
    assert warn(config) == {}


# ---------------------------------------------------------------- circuits and recovery


def test_client_errors_open_no_circuit() -> None:
    found = warn(over(MOCK, MOCK, strategy={"cb_config": {"failure_status_codes": [500, 429, 401]}}))
    assert found == {"strategy.cb_config.failure_status_codes": "401, 429: below 500 nothing opens a circuit"}


@pytest.mark.parametrize(
    ("config", "path"),
    [
        ({**MOCK, "strategy": {"mode": "single", "cb_config": {}}}, "strategy.cb_config"),
        (over(over(MOCK, strategy={"cb_config": {}})), "targets[0].strategy.cb_config"),
        (over(MOCK, MOCK, strategy={"cb_config": {}}), None),
    ],
)
def test_a_circuit_needs_another_target(config: Any, path: str | None) -> None:
    assert list(warn(config)) == ([path] if path else [])


RESTART = {"stream_recovery": {"mode": "restart"}}


@pytest.mark.parametrize(
    ("config", "paths"),
    [
        ({**MOCK, **RESTART}, ["stream_recovery"]),
        (over(MOCK, {**MOCK, **RESTART}), ["targets[1].stream_recovery"]),
        (over({**MOCK, **RESTART}, MOCK), []),
        (over(MOCK, MOCK, mode="loadbalance", **RESTART), ["stream_recovery"]),
        (over(MOCK, MOCK, mode="loadbalance", strategy={"failover": True}, **RESTART), []),
        (
            over(MOCK, {**MOCK, "weight": 0}, mode="loadbalance", strategy={"failover": True}, **RESTART),
            ["targets[1]", "stream_recovery"],
        ),
        (over(over(MOCK, MOCK, mode="loadbalance", **RESTART), MOCK), []),
        (over(MOCK, over(MOCK, MOCK, mode="loadbalance", **RESTART)), ["targets[1].stream_recovery"]),
        (over(MOCK, {**MOCK, "stream_recovery": {"mode": "off"}}), []),
    ],
)
def test_recovery_needs_a_target_that_takes_over(config: Any, paths: list[str]) -> None:
    assert list(warn(config)) == paths


# ---------------------------------------------------------------- time


def test_attempts_that_end_after_the_call() -> None:
    retried: dict[str, Any] = {
        "retry": {"attempts": 3},
        "timeouts": {"first_token": 10_000},
    }  # 1 + 2 + 4 s, and 10 s: 17 s
    assert warn(over(MOCK, MOCK, **retried), deadlines=Deadlines(total=34)) == {}
    found = warn(over(MOCK, MOCK, MOCK, **retried), deadlines=Deadlines(total=33.5))
    assert list(found) == ["targets[1]"]  # the first one says it all
    assert "over after 33.5 s" in found["targets[1]"]
    assert "34 s may have passed" in found["targets[1]"]
    assert warn(over(MOCK, **retried), deadlines=Deadlines(total=34), first_wait=4.0).keys() == {"targets[0]"}


def test_a_wait_is_a_minute_at_most() -> None:
    config = {**MOCK, "retry": {"attempts": 2}, "timeouts": {"first_token": 1000}}
    assert warn(config, deadlines=Deadlines(total=121), first_wait=1000) == {}
    assert list(warn(config, deadlines=Deadlines(total=120), first_wait=1000)) == [""]


@pytest.mark.parametrize(
    ("mode", "strategy", "late"),
    [
        ("fallback", {}, True),
        ("loadbalance", {"failover": True}, True),
        ("loadbalance", {}, False),
        ("single", {}, False),
    ],
)
def test_only_targets_that_follow_each_other_add_up(mode: str, strategy: Any, late: bool) -> None:
    config = over(MOCK, MOCK, mode=mode, strategy=strategy, timeouts={"first_token": 10_000, "total": 15_000})
    messages = [message for path, message in warn(config).items() if "too late" in message]
    assert bool(messages) is late


def test_what_follows_a_branch_waits_for_the_slowest_below_it() -> None:
    slow = over({**MOCK, "request_timeout": 1000}, {**MOCK, "request_timeout": 9000}, mode="loadbalance")
    config = over(slow, {**MOCK, "request_timeout": 1000}, timeouts={"total": 9500})
    assert list(warn(config)) == ["targets[1]"]
    assert warn({**config, "timeouts": {"total": 10_000}}) == {}
