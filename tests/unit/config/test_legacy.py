from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiogateway.config.legacy import is_old, modernize
from aiogateway.config.model import Config, Mode
from aiogateway.config.parse import parse_config
from aiogateway.errors import ConfigError
from aiogateway.types import CacheRules, Origin, Retry

OPTIONS: dict[str, Any] = {"openai": {}, "azure-openai": {}}


def parse(raw: Any) -> Config:
    return parse_config(json.dumps(raw), origin=Origin.REQUEST, source="config", options=OPTIONS)


def option(**fields: Any) -> Any:
    """What an option with these fields becomes."""
    config = modernize({"mode": "single", "options": [{"provider": "openai", **fields}]})
    assert config["strategy"] == {"mode": "single"}
    return {name: value for name, value in config["targets"][0].items() if name != "provider"}


@pytest.mark.parametrize(
    ("raw", "old"),
    [
        ({"mode": "single", "options": []}, True),
        ({"options": [{}]}, True),
        ({"mode": "fallback", "targets": []}, True),
        ({"Mode": "fallback"}, True),
        ({}, False),
        ({"provider": "openai", "retry": 3, "cache": "simple"}, False),
        ({"strategy": {"mode": "fallback"}, "targets": [{"mode": "single", "options": []}]}, False),
        ({"mode": None, "options": None}, False),
    ],
)
def test_is_old(raw: dict[str, Any], old: bool) -> None:
    assert is_old(raw) is old


@pytest.mark.parametrize(
    ("mode", "strategy"),
    [("single", "single"), ("fallback", "fallback"), ("ab_test", "loadbalance"), ("loadbalance", "loadbalance")],
)
def test_modes(mode: str, strategy: str) -> None:
    raw = {
        "mode": mode,
        "options": [{"provider": "openai", "weight": 0.2, "virtual_key": "vk-a"}, {"provider": "openai"}],
    }
    assert modernize(raw) == {"strategy": {"mode": strategy}, "targets": raw["options"]}
    root = parse(raw)
    assert root.strategy is not None
    assert root.strategy.mode is Mode(strategy)
    assert [target.path for target in root.targets] == ["targets[0]", "targets[1]"]
    assert (root.targets[0].weight, root.targets[0].virtual_key) == (0.2, "vk-a")


def test_what_the_old_client_was_seen_to_send() -> None:
    """portkey.md 6, the fallback with all options."""
    root = parse(
        {
            "mode": "fallback",
            "options": [
                {"provider": "openai", "virtual_key": "vk-a", "weight": 0.2, "override_params": {"model": "gpt-4"}},
                {
                    "provider": "openai",
                    "virtual_key": "vk-b",
                    "cache_age": "max-age=60",
                    "cache_status": "semantic",
                    "cache_force_refresh": True,
                    "trace_id": "tr",
                    "metadata": {"_user": "u"},
                    "weight": 0.8,
                    "retry": {"attempts": 2, "on_status_codes": [429]},
                    "override_params": {"model": "gpt-3.5-turbo"},
                },
            ],
        }
    )
    first, second = root.targets
    assert (first.cache, first.retry, first.trace_id, first.metadata) == (None, None, None, {})
    assert second.cache == CacheRules(mode="semantic", max_age=60, refresh=True)
    assert second.retry == Retry(attempts=2, on_status_codes=(429,))
    assert (second.trace_id, second.metadata, second.weight) == ("tr", {"_user": "u"}, 0.8)
    assert second.override_params == {"model": "gpt-3.5-turbo"}


@pytest.mark.parametrize(
    ("fields", "retry"),
    [
        ({"retry": {"attempts": 2}}, {"attempts": 2}),
        ({"retry": 2}, {"attempts": 2}),
        ({"retry": 0}, {"attempts": 0}),
        ({"retry_settings": {"attempts": 2, "on_status_codes": [429]}}, {"attempts": 2, "on_status_codes": [429]}),
        ({"retrySettings": {"attempts": 2}}, {"attempts": 2}),
        ({"override_params": {"retry_settings": {"attempts": 2}}}, {"attempts": 2}),
        ({"overrideParams": {"retrySettings": {"attempts": 2}}}, {"attempts": 2}),
        ({"retry": 1, "retry_settings": 2, "override_params": {"retry_settings": 3}}, {"attempts": 1}),
        ({"retry": None, "retry_settings": 2, "override_params": {"retry_settings": 3}}, {"attempts": 2}),
        ({"override_params": {"retry_settings": None}}, None),
        ({"retry": True}, True),
        ({"retry": "5"}, "5"),
        ({}, None),
    ],
)
def test_retry_in_its_three_places(fields: Any, retry: Any) -> None:
    mapped = option(**fields)
    assert mapped.pop("retry", None) == retry
    assert mapped in ({}, {"override_params": {}})


@pytest.mark.parametrize(
    ("fields", "cache"),
    [
        ({"cache_status": "simple"}, {"mode": "simple"}),
        ({"cache_status": "semantic", "cache_age": "max-age=60"}, {"mode": "semantic", "max_age": 60}),
        ({"cache_status": "semantic", "cache_age": 60}, {"mode": "semantic", "max_age": 60}),
        ({"cacheStatus": "semantic", "cacheAge": " Max-Age = 60 "}, {"mode": "semantic", "max_age": 60}),
        ({"cache_status": "simple", "cache_age": "60"}, {"mode": "simple", "max_age": 60}),
        ({"cache_status": "simple", "cache_force_refresh": False}, {"mode": "simple", "refresh": False}),
        ({"cache_status": "simple", "cache_age": "soon"}, {"mode": "simple", "max_age": "soon"}),
        ({"cache": True}, {"mode": "simple"}),
        ({"cache": "semantic"}, {"mode": "semantic"}),
        ({"cache": True, "cache_status": "semantic"}, {"mode": "semantic"}),
        ({"cache": False, "cache_status": "semantic", "cache_age": 60}, None),
        ({"cache": {"mode": "simple", "max_age": 5}, "cache_age": 60}, {"mode": "simple", "max_age": 5}),
        ({"cache": {"max_age": 5}, "cache_status": "semantic"}, {"mode": "semantic", "max_age": 5}),
        ({"cache_force_refresh": True, "cache_age": 60}, {"mode": "simple", "max_age": 60, "refresh": True}),  # seed 1
        ({"cache_force_refresh": False}, None),
        ({"cache": 5}, {"mode": 5}),
    ],
)
def test_cache(fields: Any, cache: Any) -> None:
    mapped = option(**fields)
    found = mapped.pop("cache", None)
    assert (found and {name: value for name, value in found.items() if value is not None}) == cache
    assert mapped == {}


def test_what_is_said_for_all_options() -> None:
    root = parse(
        {
            "mode": "fallback",
            "retry": 3,
            "cache": "semantic",
            "options": [
                {"provider": "openai", "cache_age": "max-age=60"},
                {"provider": "openai"},
                {"mode": "single", "options": [{"provider": "openai", "cache_age": 5}]},
            ],
        }
    )
    assert (root.retry, root.cache) == (Retry(attempts=3), CacheRules(mode="semantic"))
    assert root.targets[0].cache == CacheRules(mode="semantic", max_age=60)
    assert root.targets[1].cache is None  # inherits the whole object
    assert root.targets[2].targets[0].cache == CacheRules(mode="semantic", max_age=5)


def test_options_in_options_old_and_new() -> None:
    root = parse(
        {
            "mode": "fallback",
            "options": [
                {"mode": "ab_test", "options": [{"provider": "openai", "retry": 1}, {"provider": "azure-openai"}]},
                {
                    "strategy": {"mode": "conditional", "conditions": [{"query": {"params.a": 1}, "then": "x"}]},
                    "targets": [
                        {"provider": "openai", "name": "x", "cache_status": "simple", "retry": {"attempts": 2}},
                        {"options": [{"provider": "openai", "trace_id": "t"}]},
                    ],
                },
                {"provider": "openai", "request_timeout": 1000, "stream_recovery": {"mode": "restart"}},
            ],
        }
    )
    balanced, chosen, leaf = root.targets
    assert balanced.strategy is not None
    assert balanced.strategy.mode is Mode.LOADBALANCE
    assert balanced.targets[0].retry == Retry(attempts=1)
    assert chosen.targets[0].cache == CacheRules(mode="simple")
    assert chosen.targets[1].targets[0].trace_id == "t"
    assert leaf.timeouts == {"first_token": 1000}


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ({"mode": "single", "options": []}, "targets"),
        ({"mode": "single", "options": {"provider": "openai"}}, "targets"),
        ({"mode": "round_robin", "options": [{"provider": "openai"}]}, "strategy.mode"),
        ({"mode": ["single"], "options": [{"provider": "openai"}]}, "strategy.mode"),
        ({"options": [{"provider": "openai"}, {"provider": "openai"}]}, "strategy"),
        ({"mode": "single", "options": ["openai"]}, "targets[0]"),
        ({"mode": "single", "options": [{"weight": 1}]}, "targets[0]"),
        ({"mode": "single", "options": [{"provider": "openai", "retry": 9}]}, "targets[0].retry.attempts"),
        ({"mode": "single", "options": [{"provider": "openai", "cache_status": "HIT"}]}, "targets[0].cache.mode"),
        ({"mode": "single", "options": [{"provider": "openai", "cache_age": "soon"}]}, "targets[0].cache.max_age"),
        ({"mode": "single", "options": [{"provider": "openai", "trace_id": 5}]}, "targets[0].trace_id"),
        ({"mode": "single", "options": [{"provider": "openai", "metadata": "x"}]}, "targets[0].metadata"),
        ({"mode": "single", "options": [{"provider": "openai"}], "targets": [{"provider": "openai"}]}, "options"),
        ({"mode": "single", "strategy": {"mode": "single"}, "provider": "openai"}, "mode"),
        ({"mode": "single", "options": [{"provider": "openai", "cache_colour": 1}]}, "targets[0].cache_colour"),
        ({"mode": "single", "options": [{"apiKey": "a", "api_key": "b"}]}, "targets[0].api_key"),
    ],
)
def test_mistakes_have_the_parsers_words(raw: Any, path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(raw)
    assert path in [error.path for error in caught.value.errors or (caught.value,)]


def test_labels_are_the_old_formats_alone() -> None:
    for name, value in (("trace_id", "t"), ("metadata", {})):
        with pytest.raises(ConfigError, match=name):
            parse({"provider": "openai", name: value})


def test_a_mode_without_options() -> None:
    assert modernize({"mode": "single", "provider": "openai"}) == {"strategy": {"mode": "single"}, "provider": "openai"}


NAMES = ["mode", "options", "targets", "strategy", "retry", "retrySettings", "retry_settings", "cache", "cache_status"]
NAMES += ["cache_age", "cacheAge", "cache_force_refresh", "override_params", "provider", "metadata", "trace_id"]
JUNK: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["max-age=5", "ab_test", "openai", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=3), inner),
    max_leaves=15,
)


@given(st.dictionaries(st.sampled_from(NAMES), JUNK))
def test_no_config_breaks_the_mapping(raw: dict[str, Any]) -> None:
    before = copy.deepcopy(raw)
    mapped = modernize(raw)
    assert isinstance(mapped, dict)
    assert repr(raw) == repr(before)
    assert is_old(raw) in (True, False)


def test_a_config_deeper_than_any_stack() -> None:
    raw: dict[str, Any] = {"provider": "openai"}
    for _ in range(100_000):
        raw = {"mode": "single", "options": [raw]}
    mapped = modernize(raw)
    for _ in range(8):
        mapped = mapped["targets"][0]
    assert "options" in mapped
    while "options" in raw:  # taken apart, so that Python need not recurse to free it
        raw = raw.pop("options").pop()
