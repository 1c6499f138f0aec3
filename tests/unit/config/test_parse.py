from __future__ import annotations

import json
from typing import Any

import pytest

from aiogateway.config.model import FIELDS, Config, State
from aiogateway.config.parse import ConfigCache, parse_config
from aiogateway.errors import ConfigError
from aiogateway.types import Option, Origin, Secret

OPTIONS = {
    "openai": {"openai_organization": Option(), "openai_project": Option()},
    "mock": {"mock_delay": Option(kind=int)},
    "azure-openai": {"resource_name": Option(host=True), "azure_ad_token": Option(secret=True)},
}


def parse(config: Any, **changes: Any) -> Config:
    text = config if isinstance(config, str) else json.dumps(config)
    return parse_config(text, **{"origin": Origin.REQUEST, "source": "x-portkey-config", "options": OPTIONS, **changes})


def refuse(config: Any) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        parse(config)
    return caught.value


WHOLE = {
    "provider": "openai",
    "api_key": "sk-canary",
    "custom_host": "http://127.0.0.1:9/v1/",
    "override_params": {"model": "m", "temperature": None, "stop": [None]},
    "forward_headers": ["X-A"],
    "request_timeout": 1500,
    "name": "first",
    "strict_open_ai_compliance": False,
    "openai_organization": "org",
}


def test_every_field_is_read() -> None:
    assert parse(WHOLE) == Config(
        source="x-portkey-config",
        origin=Origin.REQUEST,
        provider="openai",
        api_key=Secret("sk-canary"),
        custom_host="http://127.0.0.1:9/v1",
        override_params={"model": "m", "stop": [None]},
        forward_headers=("x-a",),
        request_timeout=1500,
        name="first",
        options={"openai_organization": "org"},
    )


def test_camel_case_means_the_same() -> None:
    camel = {
        "provider": "openai",
        "apiKey": "sk-canary",
        "customHost": "http://127.0.0.1:9/v1/",
        "overrideParams": {"model": "m", "temperature": None, "stop": [None]},
        "forwardHeaders": ["X-A"],
        "requestTimeout": 1500,
        "name": "first",
        "strictOpenAiCompliance": False,
        "openaiOrganization": "org",
    }
    assert parse(camel) == parse(WHOLE)
    assert refuse({"provider": "openai", "api_key": "a", "apiKey": "a"}).path == "api_key"


def test_names_inside_override_params_stay_as_they_are() -> None:
    assert parse({"override_params": {"maxTokens": 1, "x": {"y": None}}}).override_params == {
        "maxTokens": 1,
        "x": {"y": None},
    }


def test_nulls_count_as_absent() -> None:
    assert parse(dict.fromkeys(FIELDS)) == Config(source="x-portkey-config", origin=Origin.REQUEST)


@pytest.mark.parametrize("name", [name for name, state in FIELDS.items() if state is State.LATER])
def test_what_is_not_there_yet_is_refused(name: str) -> None:
    error = refuse({"provider": "openai", name: {"mode": "x"}})
    assert error.path == name
    assert "not available yet" in str(error)


@pytest.mark.parametrize(
    ("config", "path", "says"),
    [
        ({"provder": "openai"}, "provder", "did you mean 'provider'?"),
        ({"provider": "opanai"}, "provider", "did you mean 'openai'?"),
        ({"provider": "nothing-like-it"}, "provider", "there are: azure-openai, mock, openai"),
        ({"provider": "@slug"}, "provider", "not available yet"),
        ({"provider": 3}, "provider", "must be a string"),
        ({"provider": "openai", "resource_name": "x"}, "resource_name", "is an option of azure-openai, not of openai"),
        ({"mode": "fallback", "options": []}, "", "format of before 2024"),
        ({"api_key": "a\r\nx: y"}, "api_key", "printable"),
        ({"name": "a\x00"}, "name", "control characters"),
        ({"custom_host": "http://127.1"}, "custom_host", "four decimal numbers"),
        ({"custom_host": 1}, "custom_host", "must be a string"),
        ({"override_params": []}, "override_params", "must be an object"),
        ({"override_params": {"model": 3}}, "override_params.model", "must be a string"),
        ({"forward_headers": ["host"]}, "forward_headers[0]", "never passed on"),
        ({"request_timeout": "1s"}, "request_timeout", "positive integer"),
        ({"strict_open_ai_compliance": "no"}, "strict_open_ai_compliance", "true or false"),
        ({"provider": "mock", "mock_delay": "x"}, "mock_delay", "an integer"),
        ({"a\nb": 1}, "'a\\nb'", "not a config field"),
    ],
)
def test_a_mistake_names_its_field_and_what_would_do(config: Any, path: str, says: str) -> None:
    error = refuse(config)
    assert error.path == path
    assert says in str(error)
    assert error.status == 400


def test_all_mistakes_are_reported_at_once() -> None:
    error = refuse({"provider": "opanai", "retry": {}, "request_timeout": 0, "api_key": 1})
    assert sorted(one.path for one in error.errors) == ["api_key", "provider", "request_timeout", "retry"]
    assert all(str(one) in str(error) for one in error.errors)


@pytest.mark.parametrize(
    "text", ["pc-my-config", "[]", '"{}"', "", "null", "sk-canary", '"{\\"api_key\\": \\"canary\\"}"']
)
def test_what_is_no_object_is_refused_as_a_saved_config(text: str) -> None:
    error = refuse(text)
    assert "saved configs are not available yet" in str(error)
    assert error.path == "x-portkey-config"
    assert "canary" not in str(error)


@pytest.mark.parametrize("text", ["{", '{"provider": "openai",}', "{'provider': 1}", '{"a": NaN}', '{"a": "\udcff"}'])
def test_broken_json_is_refused(text: str) -> None:
    assert "not valid JSON" in str(refuse(text))


def test_deep_json_is_refused_and_does_not_crash() -> None:
    assert "not valid JSON" in str(refuse('{"override_params":' * 5000))


def test_options_of_any_provider_may_come_while_a_header_can_still_choose() -> None:
    assert parse({"mock_delay": 3}).options == {"mock_delay": 3}
    assert parse({"azure_ad_token": "canary"}).options == {"azure_ad_token": Secret("canary")}


def test_configs_are_parsed_once_per_text_and_origin() -> None:
    cache = ConfigCache(OPTIONS)
    text = json.dumps(WHOLE)
    first = cache.parse(text, origin=Origin.REQUEST, source="x-portkey-config")
    assert cache.parse(text, origin=Origin.REQUEST, source="x-portkey-config") is first
    ours = cache.parse(text, origin=Origin.OURS, source="default_config")
    assert (ours.origin, first.origin) == (Origin.OURS, Origin.REQUEST)


def test_refused_configs_are_not_kept() -> None:
    cache = ConfigCache(OPTIONS)
    with pytest.raises(ConfigError):
        cache.parse("{", origin=Origin.REQUEST, source="x")
    assert (len(cache), cache.size) == (0, 0)


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
