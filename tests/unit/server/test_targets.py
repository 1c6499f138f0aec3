from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from aiogateway.config.headers import HEADERS
from aiogateway.config.parse import ConfigCache, parse_config
from aiogateway.config.tree import Branch
from aiogateway.errors import ConfigError
from aiogateway.providers.mock import Mock
from aiogateway.providers.openai import OpenAI
from aiogateway.registry import Registry
from aiogateway.server import targets as module
from aiogateway.server.auth import Caller, read_caller
from aiogateway.server.targets import Targets, read_trace_id, trace_of
from aiogateway.settings import ProviderSettings, Settings
from aiogateway.types import Origin, Secret, Target

PROVIDERS = {"openai": OpenAI(), "mock": Mock()}
OPTIONS = {name: provider.options for name, provider in PROVIDERS.items()}


def make_targets(
    *,
    default: dict[str, Any] | None = None,
    limit: int = module.LIMIT,
    clock: Callable[[], float] = time.monotonic,
    **settings: Any,
) -> Targets:
    chosen = None
    if default is not None:
        chosen = parse_config(json.dumps(default), origin=Origin.OURS, source="default_config", options=OPTIONS)
    registry = Registry(providers=PROVIDERS)
    return Targets(registry, Settings(**settings), chosen, ConfigCache(OPTIONS), limit=limit, clock=clock)


def caller(**headers: str) -> Caller:
    return read_caller([(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()])


OPENAI = caller(x_portkey_provider="openai", authorization="Bearer sk-1")


def find_one(targets: Targets, by: Caller) -> Target:
    """The target of a tree that is a leaf."""
    tree = targets.find(by, ids())[1]
    assert isinstance(tree, Target)
    return tree


def ids() -> Any:
    counter = itertools.count(1)
    return lambda: f"id-{next(counter)}"


def test_a_target_is_resolved_once_per_headers_and_key() -> None:
    targets = make_targets()
    first = find_one(targets, OPENAI)
    assert (first.provider, first.credential and first.credential.secret) == ("openai", Secret("sk-1"))
    assert find_one(targets, OPENAI) is first
    same = caller(authorization="Bearer sk-1", x_portkey_provider="openai", user_agent="other")
    assert find_one(targets, same) is first


def test_another_key_is_another_target() -> None:
    targets = make_targets()
    targets.find(OPENAI, ids())
    for other in (
        caller(x_portkey_provider="openai", authorization="Bearer sk-2"), caller(x_portkey_provider="openai")
    ):  # fmt: skip
        credential = find_one(targets, other).credential
        assert (credential and credential.secret) == (other.credential and other.credential.secret)
    assert len(targets._found) == 3


def test_each_call_gets_an_id_of_its_own() -> None:
    targets = make_targets()
    new_id = ids()
    assert [targets.find(OPENAI, new_id)[0].trace.id for _ in range(3)] == ["id-1", "id-2", "id-3"]
    named = caller(x_portkey_provider="openai", x_portkey_trace_id="mine", x_portkey_span_id="s")
    for _ in range(2):
        trace = targets.find(named, lambda: pytest.fail("no id is needed"))[0].trace
        assert (trace.id, trace.span_id) == ("mine", "s")


def test_the_rest_of_a_trace_is_kept_beside_a_made_up_id() -> None:
    targets = make_targets()
    partly = caller(x_portkey_provider="openai", x_portkey_span_id="s", x_portkey_metadata='{"_user":"ann"}')
    for number in (1, 2):
        headers = targets.find(partly, lambda number=number: f"id-{number}")[0]  # type: ignore[misc]
        assert (headers.trace.id, headers.trace.span_id) == (f"id-{number}", "s")
        assert headers.metadata == {"_user": "ann"}


@pytest.mark.parametrize(
    "headers",
    [{"x_portkey_provider": "nobody"}, {"x_portkey_config": "{"}, {"x_portkey_unheard": "1"}, {}],
)
def test_what_is_refused_is_not_kept(headers: dict[str, str]) -> None:
    targets = make_targets()
    for _ in range(2):
        with pytest.raises(ConfigError):
            targets.find(caller(**headers), ids())
    assert (len(targets._found), len(targets._trees), targets._found.size, targets._trees.size) == (0, 0, 0, 0)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_both_shelves_are_swept() -> None:
    clock = Clock()
    targets = make_targets(clock=clock)
    targets.find(OPENAI, ids())
    clock.now = 601
    targets.find(caller(x_portkey_provider="mock"), ids())
    assert (len(targets._found), len(targets._trees)) == (1, 1)


def test_calls_that_differ_in_their_labels_share_a_tree() -> None:
    targets = make_targets()
    labels: list[dict[str, str]] = [
        {},
        {"x_portkey_trace_id": "t"},
        {"x_aiogateway_trace_id": "t", "x_portkey_span_id": "s", "x_portkey_parent_span_id": "p"},
        {"x_portkey_metadata": "{}", "x_portkey_span_name": "n", "x_portkey_explain": "1"},
    ]
    found = [targets.find(caller(x_portkey_provider="openai", **more), ids()) for more in labels]
    assert all(tree is found[0][1] for _, tree in found)
    assert [headers.explain for headers, _ in found] == [False, False, False, True]
    other = targets.find(caller(x_portkey_provider="openai", x_portkey_request_timeout="5"), ids())[1]
    assert other is not found[0][1]


def test_labels_are_headers_that_no_target_depends_on() -> None:
    assert {name.split("-", 2)[2] for name in module.LABELS} < {header.suffix for header in HEADERS}


def test_long_headers_and_many_targets_weigh_more() -> None:
    targets = make_targets()

    def weigh(config: Any) -> int:
        before = targets._found.size
        targets.find(caller(x_portkey_config=json.dumps(config)), ids())
        return targets._found.size - before

    leaf = {"provider": "mock"}
    one, two, many = (weigh({"strategy": {"mode": "fallback"}, "targets": [leaf] * count}) for count in (1, 2, 20))
    assert two - one >= module.OVERHEAD
    assert many - one >= 19 * module.OVERHEAD
    # A merged mapping is a leaf's own, however short the header that made it.
    shared = {
        "strategy": {"mode": "fallback"},
        "targets": [leaf] * 20,
        "override_params": {str(n): 1 for n in range(99)},
    }
    assert weigh(shared) - many >= 20 * 99 * module.ITEM


def test_what_weighs_too_much_is_not_kept() -> None:
    targets = make_targets(limit=2 * module.OVERHEAD + 1000)
    targets.find(OPENAI, ids())
    metadata = json.dumps({"a": "x" * 2000})
    targets.find(caller(x_portkey_provider="openai", x_portkey_metadata=metadata), ids())
    assert (len(targets._found), len(targets._trees)) == (1, 1)


def test_a_config_from_the_body_takes_the_headers_place() -> None:
    targets = make_targets()
    text = json.dumps({"strategy": {"mode": "fallback"}, "targets": [{"provider": "mock"}, {"provider": "openai"}]})
    headers, tree = targets.find(caller(authorization="Bearer sk-1", x_portkey_trace_id="t"), ids(), config=text)
    assert headers.trace.id == "t"
    assert isinstance(tree, Branch)
    assert [child.path for child in tree.children] == ["config.targets[0]", "config.targets[1]"]
    again = caller(authorization="Bearer sk-1", x_portkey_trace_id="other")
    assert targets.find(again, ids(), config=text)[1] is tree
    assert targets.find(caller(authorization="Bearer sk-2"), ids(), config=text)[1] is not tree
    assert targets.find(caller(), ids(), config=text)[0].trace.id == "id-1"


@pytest.mark.parametrize(
    ("config", "headers", "path", "says"),
    [
        ("pc-abc", {}, "", "pc-abc"),
        ('{"provider": "mock", "nmae": 1}', {}, "nmae", "not a config field"),
        ('{"provider": "openai"}', {"x_portkey_config": "{}"}, "x-portkey-config", "beside the config in the body"),
        ('{"provider": "' + "x" * 70_000 + '"}', {}, "config", "at most 65536 bytes"),
        ("{\ud800}", {}, "", "config is not valid JSON"),
    ],
)
def test_a_wrong_config_from_the_body_is_named_as_such(config: str, headers: Any, path: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_targets().find(caller(**headers), ids(), config=config)
    assert caught.value.path == path
    assert says in str(caught.value)


def test_the_default_serves_those_who_name_nothing() -> None:
    targets = make_targets(default={"provider": "mock", "mock_text": "hi"})
    assert find_one(targets, caller()).provider == "mock"
    assert find_one(targets, caller()).options == {"mock_text": "hi"}
    assert find_one(targets, OPENAI).provider == "openai"


def test_our_key_goes_where_the_settings_say() -> None:
    targets = make_targets(providers={"openai": ProviderSettings(api_key=Secret("sk-ours"))})
    credential = find_one(targets, OPENAI).credential
    assert credential is not None
    assert (credential.secret, credential.origin) == (Secret("sk-ours"), Origin.OURS)


@pytest.mark.parametrize(
    ("default", "headers", "has"),
    [
        (None, {}, False),
        (None, {"authorization": "Bearer sk-1"}, False),
        (None, {"x_portkey_provider": "openai"}, True),
        (None, {"x_portkey_config": "{}"}, True),
        (None, {"x_portkey_unheard": "1"}, True),  # it is told what is wrong with it
        ({"provider": "mock"}, {}, True),
    ],
)
def test_has_target(default: Any, headers: dict[str, str], has: bool) -> None:
    assert make_targets(default=default).has_target(caller(**headers)) is has


def test_a_config_header_is_bounded_by_the_settings() -> None:
    targets = make_targets(max_config_header=50)
    config = json.dumps({"provider": "openai", "name": "x" * 50})
    with pytest.raises(ConfigError, match="at most 50 bytes"):
        targets.find(caller(x_portkey_config=config), ids())


@pytest.mark.parametrize(
    ("pairs", "found"),
    [
        ((), None),
        ((("x-portkey-trace-id", "t"),), "t"),
        ((("x-aiogateway-trace-id", "t"),), "t"),
        ((("x-portkey-trace-id", ""),), None),
        ((("x-portkey-trace-id", "x" * 257),), None),
        ((("x-portkey-trace-id", "a\x7fb"),), None),
        ((("x-portkey-provider", "t"),), None),
    ],
)
def test_a_trace_id_for_answers_to_headers_that_could_not_be_read(pairs: Any, found: str | None) -> None:
    assert read_trace_id(pairs) == found
    assert trace_of("call-1", pairs).id == (found or "call-1")
