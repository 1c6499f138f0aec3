from __future__ import annotations

import json
import tracemalloc
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiogateway.config.model import FIELDS, Config
from aiogateway.config.parse import MAX_NESTING, MAX_TEXT, Bounds, ConfigCache, parse_config
from aiogateway.dialects.failures import write_error_body
from aiogateway.errors import ConfigError
from aiogateway.types import Origin
from tests.unit.config.configs import OPTIONS, list_mistakes, parse, refuse


@pytest.mark.parametrize(
    "text", ["[]", '"{}"', "", "null", "sk-canary", "pc canary", '"{\\"api_key\\": \\"canary\\"}"', "\ud800"]
)
def test_what_is_no_object_is_refused_as_a_saved_config(text: str) -> None:
    error = refuse(text)
    assert "saved configs are not available yet" in str(error)
    assert str(error).startswith("x-portkey-config must be a JSON object")
    assert error.path == ""
    assert "canary" not in str(error)


def test_a_slug_is_named() -> None:
    assert "the slug pc-my-config can't be looked up" in str(refuse(" pc-my-config "))


@pytest.mark.parametrize(
    "text",
    ["{", '{"provider": "openai",}', '{"a": NaN}', '{"a": "\udcff"}', '{"a": "\\ud800"}', "{1e999}"],
)
def test_broken_json_is_refused(text: str) -> None:
    error = refuse(text)
    assert "x-portkey-config is not valid JSON" in str(error)
    assert error.path == ""


def test_single_quotes_are_explained() -> None:
    assert "(JSON takes double quotes only)" in str(refuse("{'provider': 'openai'}"))
    assert "double quotes" not in str(refuse("{provider: 'openai'}"))


@pytest.mark.parametrize("text", ['{"override_params":' * 5000, "{" * 64 * 1024, '{"a":' + "[" * 64 * 1024])
def test_brackets_without_end_are_refused(text: str) -> None:
    assert "not valid JSON" in str(refuse(text))


def test_deep_json_is_refused_wherever_it_is() -> None:
    def wrap(levels: int) -> str:
        return '{"override_params":{"a":' + "[" * levels + "]" * levels + "}}"

    assert parse(wrap(MAX_NESTING - 2)).override_params
    assert "nests its JSON deeper than 100 levels" in str(refuse(wrap(MAX_NESTING - 1)))
    # Many brackets beside each other are fine.
    assert len(parse({"override_params": {"a": [[]] * 500}}).override_params["a"]) == 500


def test_a_long_text_is_refused() -> None:
    parse({"override_params": {"a": "x" * (MAX_TEXT - 100)}})
    assert "longer than" in str(refuse({"override_params": {"a": "x" * MAX_TEXT}}))


def test_huge_numbers_are_refused_where_numbers_go() -> None:
    text = f'{{"request_timeout": {"9" * 4000}, "weight": {"9" * 300}, "retry": {{"attempts": 18446744073709551616}}}}'
    assert "not valid JSON" in str(refuse(text))
    text = text.replace("9" * 4000, "9" * 300)
    assert set(list_mistakes(text)) == {"request_timeout", "weight", "retry.attempts"}


def test_a_retry_policy_is_one_of_those_registered() -> None:
    config = {"retry": {"attempts": 1, "policy": "patient"}}
    assert list(list_mistakes(config)) == ["retry.policy"]
    read = parse(config, bounds=Bounds(policies=frozenset(("exponential", "patient"))))
    assert read.retry is not None
    assert read.retry.policy == "patient"


def test_the_old_format_is_mapped() -> None:
    config = parse({"mode": "ab_test", "options": [{"provider": "openai", "weight": 0.2}], "retry": 2})
    assert [target.weight for target in config.targets] == [0.2]
    assert config.retry is not None
    assert list(list_mistakes({"mode": "single", "options": [{"provider": "opanai"}]})) == ["targets[0].provider"]


def test_an_answer_to_many_mistakes_stays_small() -> None:
    error = refuse({"strategy": {"mode": "fallback"}, "targets": [{f"x{i}": 1 for i in range(200)}] * 50})
    assert len(error.errors) == 51
    assert len(str(error)) < 20_000


# --- nothing but a ConfigError comes out ---

WORDS = st.sampled_from(
    [
        *FIELDS,
        *("mode", "options", "attempts", "on_status_codes", "conditions", "query", "then", "default", "cb_config"),
        *(
            "failover",
            "policy",
            "max_age",
            "first_token",
            "idle",
            "failure_threshold",
            "cooldown_interval",
            "overrides",
        ),
        *("metadata", "trace_id", "cache_status", "cache_age", "cache_force_refresh", "retry_settings", "$and", "$or"),
        *("metadata.plan", "params.model", "url.pathname", "headers.x-a", "$in", "$regex", "$gt", "requestTimeout"),
        *("apiKey", "Targets", "openai_project", "azure_ad_token", "mock_delay", "resource_name"),
    ]
)
PLAIN = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.sampled_from(
        ["openai", "@a", "fallback", "conditional", "loadbalance", "ab_test", "single", "simple", "(a+)+$"]
    )
)
ANY_JSON = st.recursive(
    PLAIN,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(WORDS, inner, max_size=6)
        | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=40,
)


def survive(text: str) -> None:
    try:
        parse_config(text, origin=Origin.REQUEST, source="x", options=OPTIONS)
    except ConfigError as refused:
        body = orjson.loads(write_error_body(refused))
    else:
        return
    assert body["errors"]
    assert len(body["message"]) < 40_000


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(WORDS, ANY_JSON, max_size=8))
def test_any_object_is_a_config_or_a_config_error(raw: dict[str, Any]) -> None:
    survive(json.dumps(raw))
    survive(json.dumps(raw, ensure_ascii=False))


@settings(max_examples=100, deadline=None)
@given(st.text() | st.text(alphabet='{}[]":,\\ue0123456789-.truefalsnl \ud800\udcff'))
def test_any_text_is_a_config_or_a_config_error(text: str) -> None:
    survive(text)
    survive("{" + text)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_config_with_one_part_spoilt_is_a_config_or_a_config_error(data: st.DataObject) -> None:
    config: Any = {
        "strategy": {"mode": "conditional", "conditions": [{"query": {"metadata.a": {"$in": [1]}}, "then": "a"}]},
        "retry": {"attempts": 1, "on_status_codes": [429]},
        "timeouts": {"idle": 5},
        "targets": [{"provider": "openai", "name": "a", "cache": {"mode": "simple"}}, {"virtual_key": "b"}],
    }
    parse(config)
    part = config
    while True:
        places = list(part) if isinstance(part, dict) else list(range(len(part)))
        place = data.draw(st.sampled_from(places))
        if not isinstance(part[place], dict | list) or not part[place] or data.draw(st.booleans()):
            break
        part = part[place]
    part[place] = data.draw(ANY_JSON)
    survive(json.dumps(config))


# --- the cache ---

WHOLE = {"provider": "openai", "api_key": "sk-canary"}


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_configs_are_parsed_once_per_text_origin_and_source() -> None:
    cache = ConfigCache(OPTIONS)
    text = json.dumps(WHOLE)
    first = cache.parse(text, origin=Origin.REQUEST, source="x-portkey-config")
    assert cache.parse(text, origin=Origin.REQUEST, source="x-portkey-config") is first
    ours = cache.parse(text, origin=Origin.OURS, source="default_config")
    assert (ours.origin, first.origin) == (Origin.OURS, Origin.REQUEST)
    assert cache.parse(text, origin=Origin.REQUEST, source="config").source == "config"
    assert len(cache) == 3


def test_refused_configs_are_not_kept() -> None:
    cache = ConfigCache(OPTIONS)
    for text in ("{", '{"provider": "opanai"}', "\ud800"):
        with pytest.raises(ConfigError):
            cache.parse(text, origin=Origin.REQUEST, source="x")
    assert (len(cache), cache.size) == (0, 0)


def test_the_bounds_hold_for_cached_configs() -> None:
    cache = ConfigCache(OPTIONS, bounds=Bounds(max_attempts=2))
    cache.parse('{"retry": {"attempts": 1}}', origin=Origin.REQUEST, source="x")
    with pytest.raises(ConfigError, match="at most 2"):
        cache.parse('{"retry": {"attempts": 2}}', origin=Origin.REQUEST, source="x")


def test_the_cache_is_bounded_in_bytes_and_drops_the_least_recently_used() -> None:
    cache = ConfigCache(OPTIONS, limit=8000)

    def parse_named(name: str) -> Config:
        return cache.parse(json.dumps({"name": name}), origin=Origin.REQUEST, source="x")

    kept, dropped = parse_named("kept"), parse_named("drop")
    for index in range(20):
        parse_named(f"n{index:03}")
        assert parse_named("kept") is kept
        assert cache.size <= 8000
    assert parse_named("drop") is not dropped
    held = len(cache)
    parse_named("x" * 8000)
    assert len(cache) == held


def test_what_was_not_used_for_ten_minutes_is_dropped() -> None:
    clock = Clock()
    cache = ConfigCache(OPTIONS, clock=clock)

    def parse_named(name: str) -> Config:
        return cache.parse(json.dumps({"name": name}), origin=Origin.REQUEST, source="x")

    idle, used = parse_named("idle"), parse_named("used")
    clock.now += 599
    assert parse_named("used") is used
    clock.now += 1
    parse_named("other")
    assert len(cache) == 2
    assert parse_named("used") is used
    assert parse_named("idle") is not idle
    clock.now += 600
    parse_named("last")
    one = cache.size
    assert (len(cache), one) == (1, ConfigCache(OPTIONS, clock=clock).size + one)


@pytest.mark.parametrize(
    "config",
    [
        {"override_params": {"a": [{}] * 20_000}},
        {"override_params": {f"k{index}": index for index in range(5_000)}},
        {"strategy": {"mode": "loadbalance"}, "targets": [{"virtual_key": "v"}] * 64},
        {
            "strategy": {
                "mode": "conditional",
                "conditions": [
                    {"query": {"params.a": {"$regex": f"(a|b{index})+$"}}, "then": "a"} for index in range(16)
                ],
            },
            "targets": [{"virtual_key": "v", "name": "a"}],
        },
    ],
    ids=["objects", "names", "targets", "conditions"],
)
def test_a_config_takes_no_more_memory_than_it_is_counted_for(config: Any) -> None:
    text = json.dumps(config, separators=(",", ":"))
    cache = ConfigCache(OPTIONS)
    parse(config)  # what the first one loads stays
    tracemalloc.start()
    try:
        cache.parse(text, origin=Origin.REQUEST, source="x")
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held <= cache.size
