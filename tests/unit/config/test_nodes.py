from __future__ import annotations

from typing import Any

import pytest

from aiogateway.config.model import FIELDS, MAX_DEPTH, Config, Mode, State, Strategy
from aiogateway.types import CacheRules, Origin, Recovery, Retry, Secret
from tests.unit.config.configs import list_mistakes, parse

LEAF: dict[str, Any] = {"provider": "openai"}
WHOLE = {
    "provider": "openai",
    "api_key": "sk-canary",
    "virtual_key": "vk-1",
    "custom_host": "http://127.0.0.1:9/v1/",
    "override_params": {"model": "m", "temperature": None, "stop": [None]},
    "forward_headers": ["X-A"],
    "request_timeout": 1500,
    "timeouts": {"idle": 20},
    "name": "first",
    "weight": 0,
    "retry": {"attempts": 1},
    "cache": {"mode": "simple"},
    "stream_recovery": {"mode": "restart"},
    "on_status_codes": [500],
    "strict_open_ai_compliance": False,
    "openai_organization": "org",
}


def fallback(*targets: Any, **more: Any) -> dict[str, Any]:
    return {"strategy": {"mode": "fallback"}, "targets": list(targets), **more}


def test_every_field_of_a_leaf_is_read() -> None:
    assert parse(WHOLE) == Config(
        source="x-portkey-config",
        origin=Origin.REQUEST,
        provider="openai",
        api_key=Secret("sk-canary"),
        virtual_key="vk-1",
        custom_host="http://127.0.0.1:9/v1",
        override_params={"model": "m", "stop": [None]},
        forward_headers=("x-a",),
        timeouts={"first_token": 1500, "idle": 20},
        name="first",
        weight=0.0,
        retry=Retry(attempts=1),
        cache=CacheRules(mode="simple"),
        recovery=Recovery(),
        options={"openai_organization": "org"},
    )


def test_targets_nest_and_know_their_paths() -> None:
    config = parse(fallback(LEAF, fallback({"virtual_key": "vk"}, LEAF, retry={"attempts": 1})))
    inner = config.targets[1]
    assert [node.path for node in (config, config.targets[0], inner, inner.targets[1])] == [
        "",
        "targets[0]",
        "targets[1]",
        "targets[1].targets[1]",
    ]
    assert (config.strategy, inner.retry, inner.targets[0].virtual_key) == (
        Strategy(mode=Mode.FALLBACK),
        Retry(attempts=1),
        "vk",
    )
    assert {node.source for node in (config, inner, inner.targets[0])} == {"x-portkey-config"}


def test_camel_case_means_the_same_at_every_level() -> None:
    camel = {
        "strategy": {"mode": "fallback", "onStatusCodes": [429], "cbConfig": {"failureThreshold": 2}},
        "streamRecovery": {"mode": "off"},
        "targets": [{"provider": "openai", "apiKey": "sk-canary", "openaiProject": "p", "timeouts": {"firstToken": 5}}],
    }
    snake = {
        "strategy": {"mode": "fallback", "on_status_codes": [429], "cb_config": {"failure_threshold": 2}},
        "stream_recovery": {"mode": "off"},
        "targets": [
            {"provider": "openai", "api_key": "sk-canary", "openai_project": "p", "timeouts": {"first_token": 5}}
        ],
    }
    assert parse(camel) == parse(snake)
    assert parse(snake).recovery is False


def test_names_inside_override_params_stay_as_they_are() -> None:
    overrides = {"maxTokens": 1, "x": {"y": None, "camelCase": 1}}
    assert parse({"override_params": overrides}).override_params == overrides


def test_nulls_count_as_absent() -> None:
    assert parse(dict.fromkeys(FIELDS)) == Config(source="x-portkey-config", origin=Origin.REQUEST)


@pytest.mark.parametrize("name", [name for name, state in FIELDS.items() if state is State.LATER])
def test_what_is_not_there_yet_is_refused(name: str) -> None:
    assert list_mistakes(fallback({"provider": "openai", name: {"mode": "x"}})) == {
        f"targets[0].{name}": "is not available yet"
    }


@pytest.mark.parametrize(
    ("config", "path", "says"),
    [
        ({"provder": "openai"}, "provder", "did you mean 'provider'?"),
        ({"mock_dely": 1}, "mock_dely", "did you mean 'mock_delay'?"),
        ({"colour": 1}, "colour", "there are: api_key, cache, "),
        ({"provider": "opanai"}, "provider", "did you mean 'openai'?"),
        ({"provider": "nothing-like-it"}, "provider", "there are: azure-openai, mock, openai"),
        ({"provider": 3}, "provider", "must be a string"),
        ({"provider": "openai", "resource_name": "x"}, "resource_name", "is an option of azure-openai, not of openai"),
        ({"model": "gpt-4o"}, "model", "belongs in override_params"),
        ({"max_age": 3}, "max_age", "belongs in cache"),
        ({"connect": 3}, "connect", "belongs in timeouts"),
        ({"use_retry_after_header": True}, "use_retry_after_header", "belongs in retry"),
        ({"cbConfig": {}}, "cb_config", "belongs in strategy"),
        ({"api_key": "a\r\nx: y"}, "api_key", "printable"),
        ({"virtual_key": ""}, "virtual_key", "must be a string"),
        ({"name": "a\x00"}, "name", "control characters"),
        ({"weight": -0.1}, "weight", "a number from 0 to 1000000, got -0.1"),
        ({"weight": True}, "weight", "a number from 0"),
        ({"weight": 1e7}, "weight", "a number from 0"),
        ({"custom_host": "http://127.1"}, "custom_host", "four decimal numbers"),
        ({"custom_host": 1}, "custom_host", "must be a string"),
        ({"override_params": []}, "override_params", "must be an object"),
        ({"override_params": {"model": 3}}, "override_params.model", "must be a string"),
        ({"forward_headers": ["host"]}, "forward_headers[0]", "never passed on"),
        ({"request_timeout": "1000"}, "request_timeout", "an integer of milliseconds"),
        ({"strict_open_ai_compliance": "no"}, "strict_open_ai_compliance", "true or false"),
        ({"on_status_codes": [600]}, "on_status_codes[0]", "a status code"),
        ({"provider": "mock", "mock_delay": "x"}, "mock_delay", "an integer"),
        ({"azure_ad_token": 3}, "azure_ad_token", "printable"),
        ({"a\nb": 1}, "'a\\nb'", "not a config field"),
        ({"targets": [LEAF]}, "strategy", 'such as {"mode": "fallback"}'),
        ({"strategy": {"mode": "fallback"}}, "targets", "a fallback strategy needs a list"),
        (fallback(), "targets", "got an empty list"),
        ({**fallback(), "targets": LEAF}, "targets", "got an object"),
        (fallback("openai"), "targets[0]", "must be an object, got a string"),
        (fallback({}), "targets[0]", 'has a "provider", a "virtual_key", or a "strategy"'),
        (fallback({"api_key": "sk-canary", "custom_host": "http://127.0.0.1"}), "targets[0]", "whom to ask"),
        (fallback({"options": [LEAF]}), "targets[0].options", '"targets"'),
    ],
)
def test_a_mistake_names_its_field_and_what_would_do(config: Any, path: str, says: str) -> None:
    mistakes = list_mistakes(config)
    assert list(mistakes) == [path]
    assert says in mistakes[path]
    assert "canary" not in mistakes[path]


def test_all_mistakes_of_all_nodes_are_reported_at_once_in_the_order_of_the_text() -> None:
    config = {
        "provider": "opanai",
        "retry": {},
        "strategy": {"mode": "loadbalance", "on_status_codes": [1]},
        "targets": [{"provider": "openai", "weight": -1}, fallback({}, 3), {"prvider": "openai"}],
        "request_timeout": 0,
    }
    assert list(list_mistakes(config)) == [
        "provider",
        "retry.attempts",
        "strategy.on_status_codes[0]",
        "targets[0].weight",
        "targets[1].targets[0]",
        "targets[1].targets[1]",
        "targets[2].prvider",
        "targets[2]",
        "request_timeout",
    ]


def test_the_fields_that_there_are_are_listed_once() -> None:
    told = list(list_mistakes({"xx": 1, "yy": 1, "zz": 1}).values())
    assert ["there are" in one for one in told] == [True, False, False]


def test_one_deadline_has_one_value() -> None:
    assert parse({"request_timeout": 5, "timeouts": {"first_token": 5}}).timeouts == {"first_token": 5}
    assert list_mistakes(fallback({**LEAF, "request_timeout": 5, "timeouts": {"first_token": 6}})) == {
        "targets[0].timeouts.first_token": "is 6, but request_timeout, its other name, is 5: give one"
    }


def test_single_needs_no_targets() -> None:
    config = parse({"strategy": {"mode": "single"}, "provider": "openai"})
    assert (config.strategy, config.targets) == (Strategy(mode=Mode.SINGLE), ())
    parse(fallback({"strategy": {"mode": "single"}, "virtual_key": "vk"}))


def test_a_root_may_leave_its_provider_to_a_header() -> None:
    assert parse({"retry": {"attempts": 1}}).provider is None


def test_saved_providers_parse_and_take_any_option() -> None:
    config = parse({"provider": "@prod", "mock_delay": 3, "openai_project": "p"})
    assert (config.provider, config.options) == ("@prod", {"mock_delay": 3, "openai_project": "p"})


def test_options_of_any_provider_may_come_while_a_header_can_still_choose() -> None:
    assert parse({"mock_delay": 3}).options == {"mock_delay": 3}
    assert parse({"azure_ad_token": "canary"}).options == {"azure_ad_token": Secret("canary")}


def nest(levels: int) -> dict[str, Any]:
    config = LEAF
    for _ in range(levels - 1):
        config = fallback(config)
    return config


def test_a_config_has_eight_levels_at_most() -> None:
    parse(nest(MAX_DEPTH))
    mistakes = list_mistakes(nest(MAX_DEPTH + 1))
    assert list(mistakes) == [".".join(["targets[0]"] * 7 + ["targets"])]
    assert list_mistakes(nest(45)) == mistakes


def test_a_config_has_64_leaves_at_most() -> None:
    balance = {"strategy": {"mode": "loadbalance"}, "targets": [LEAF] * 32}
    top = {"strategy": {"mode": "loadbalance"}, "targets": [balance, balance]}
    parse(top)
    assert list_mistakes({**top, "targets": [balance, balance, LEAF]}) == {
        "": "holds more than 64 targets that have no targets of their own"
    }
    assert "" in list_mistakes({**top, "targets": [1] * 1000})
