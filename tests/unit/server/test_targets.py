from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from aiogateway.config.parse import ConfigCache, parse_config
from aiogateway.errors import ConfigError
from aiogateway.providers.mock import Mock
from aiogateway.providers.openai import OpenAI
from aiogateway.registry import Registry
from aiogateway.server import targets as module
from aiogateway.server.auth import Caller, read_caller
from aiogateway.server.targets import Targets, read_trace_id, trace_of
from aiogateway.settings import ProviderSettings, Settings
from aiogateway.types import Origin, Secret

PROVIDERS = {"openai": OpenAI(), "mock": Mock()}
OPTIONS = {name: provider.options for name, provider in PROVIDERS.items()}


def make_targets(*, default: dict[str, Any] | None = None, limit: int = module.LIMIT, **settings: Any) -> Targets:
    chosen = None
    if default is not None:
        chosen = parse_config(json.dumps(default), origin=Origin.OURS, source="default_config", options=OPTIONS)
    registry = Registry(providers=PROVIDERS)
    return Targets(registry, Settings(**settings), chosen, ConfigCache(OPTIONS), limit=limit)


def caller(**headers: str) -> Caller:
    return read_caller([(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()])


OPENAI = caller(x_portkey_provider="openai", authorization="Bearer sk-1")


def ids() -> Any:
    counter = itertools.count(1)
    return lambda: f"id-{next(counter)}"


def test_a_target_is_resolved_once_per_headers_and_key() -> None:
    targets = make_targets()
    first = targets.find(OPENAI, ids())[1]
    assert (first.provider, first.credential and first.credential.secret) == ("openai", Secret("sk-1"))
    assert targets.find(OPENAI, ids())[1] is first
    same = caller(authorization="Bearer sk-1", x_portkey_provider="openai", user_agent="other")
    assert targets.find(same, ids())[1] is first


def test_another_key_is_another_target() -> None:
    targets = make_targets()
    targets.find(OPENAI, ids())
    for other in (
        caller(x_portkey_provider="openai", authorization="Bearer sk-2"), caller(x_portkey_provider="openai")
    ):  # fmt: skip
        credential = targets.find(other, ids())[1].credential
        assert (credential and credential.secret) == (other.credential and other.credential.secret)
    assert len(targets._held) == 3


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
    assert (len(targets._held), targets._size) == (0, 0)


def test_memory_is_bounded_and_the_least_used_goes_first() -> None:
    callers = [caller(x_portkey_provider="openai", x_portkey_trace_id=f"t{number}") for number in range(4)]
    targets = make_targets(limit=3 * (module.OVERHEAD + 200))
    found = [targets.find(one, ids())[1] for one in callers[:3]]
    assert targets.find(callers[0], ids())[1] is found[0]  # used again
    targets.find(callers[3], ids())
    assert len(targets._held) == 3
    assert targets.find(callers[0], ids())[1] is found[0]
    assert targets.find(callers[2], ids())[1] is found[2]
    assert targets.find(callers[1], ids())[1] is not found[1]
    assert targets._size == sum(module._weigh(key) for key in targets._held) <= targets._limit


def test_long_headers_weigh_more() -> None:
    targets = make_targets(limit=module.OVERHEAD + 1000)
    metadata = json.dumps({"a": "x" * 2000})
    targets.find(caller(x_portkey_provider="openai", x_portkey_metadata=metadata), ids())
    assert (len(targets._held), targets._size) == (0, 0)


def test_the_default_serves_those_who_name_nothing() -> None:
    targets = make_targets(default={"provider": "mock", "mock_text": "hi"})
    assert targets.find(caller(), ids())[1].provider == "mock"
    assert targets.find(caller(), ids())[1].options == {"mock_text": "hi"}
    assert targets.find(OPENAI, ids())[1].provider == "openai"


def test_our_key_goes_where_the_settings_say() -> None:
    targets = make_targets(providers={"openai": ProviderSettings(api_key=Secret("sk-ours"))})
    credential = targets.find(OPENAI, ids())[1].credential
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
