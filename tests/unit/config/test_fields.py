from __future__ import annotations

from typing import Any

import pytest

from aiogateway.config.fields import (
    read_forwarded,
    read_option,
    read_option_text,
    read_secret,
    read_text,
    read_timeout,
    show,
    suggest,
)
from aiogateway.errors import ConfigError
from aiogateway.types import Option, Secret


def test_a_near_miss_is_named_and_nothing_else() -> None:
    assert suggest("overide_params", ["override_params", "provider"]) == "; did you mean 'override_params'?"
    assert suggest("zzz", ["override_params", "provider"]) == ""


def test_shown_values_are_escaped_and_cut() -> None:
    assert show("a\nb\udcff") == "'a\\nb\\udcff'"
    assert len(show("x" * 1000)) == 81


@pytest.mark.parametrize("value", ["", "  ", 1, None, [], "a\rb", "a\nb", "a\x00b", "a\x7f"])
def test_text_is_a_string_without_control_characters(value: Any) -> None:
    with pytest.raises(ConfigError):
        read_text(value, "name")


@pytest.mark.parametrize("value", ["", " ", 12, None, {"key": "sk-canary"}, "sk-canary\r\nx-evil: 1", "sk-canary-ä"])
def test_a_bad_secret_is_refused_and_not_shown(value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        read_secret(value, "api_key")
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(("value", "read"), [(1, 1), ("1500", 1500), (86_400_000, 86_400_000)])
def test_timeouts_are_positive_milliseconds(value: Any, read: int) -> None:
    assert read_timeout(value, "request_timeout") == read


@pytest.mark.parametrize("value", [0, -1, "0", "-5", "1.5", 1.5, True, "abc", "", None, "9" * 5000, 10**400, "٣", "²"])
def test_other_timeouts_are_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match="positive integer of milliseconds"):
        read_timeout(value, "request_timeout")


def test_forwarded_names_are_lower_case_and_each_once() -> None:
    assert read_forwarded(["X-A", " x-b ", "x-a"], "forward_headers") == ("x-a", "x-b")


@pytest.mark.parametrize(
    "name",
    [
        "x-portkey-forward-headers",
        "X-Portkey-Api-Key",
        "x-aiogateway-config",
        "Connection",
        "transfer-encoding",
        "Host",
        "cookie",
        "content-length",
        "proxy-authorization",
        "te",
        "upgrade",
        "x y",
        "x:y",
        "x\r\ny",
        "",
        1,
        None,
    ],
)
def test_names_that_are_never_forwarded_are_refused(name: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        read_forwarded(["x-a", name], "forward_headers")
    assert caught.value.path == "forward_headers[1]"


def test_forwarded_names_are_a_list() -> None:
    with pytest.raises(ConfigError):
        read_forwarded("x-a", "forward_headers")


@pytest.mark.parametrize(
    ("value", "option"),
    [
        ("text", Option()),
        (True, Option(kind=bool)),
        (3, Option(kind=int)),
        (3, Option(kind=float)),
        (3.5, Option(kind=float)),
        ({"a": "b\n"}, Option(kind=dict)),
        ("us-east-1", Option(host=True)),
    ],
)
def test_options_are_of_the_kind_asked_for(value: Any, option: Option) -> None:
    assert read_option(value, option, "resource_name") == value


@pytest.mark.parametrize(
    ("value", "option"),
    [
        (1, Option()),
        ("a\nb", Option()),
        ("true", Option(kind=bool)),
        (1, Option(kind=bool)),
        (True, Option(kind=int)),
        (True, Option(kind=float)),
        ("{}", Option(kind=dict)),
        ("evil.example/", Option(host=True)),
        ("evil.example", Option(host=True)),
        ("A", Option(host=True)),
        ("a" * 64, Option(host=True)),
        ("", Option(host=True)),
    ],
)
def test_options_of_another_kind_are_refused(value: Any, option: Option) -> None:
    with pytest.raises(ConfigError):
        read_option(value, option, "resource_name")


def test_secret_options_never_show() -> None:
    assert read_option("sk-canary", Option(secret=True), "token") == Secret("sk-canary")
    account = read_option({"key": "canary"}, Option(kind=dict, secret=True), "account")
    assert account.reveal() == '{"key":"canary"}'
    with pytest.raises(ConfigError) as caught:
        read_option("canary", Option(kind=dict, secret=True), "account")
    assert "canary" not in str(caught.value)


def test_options_that_are_urls_follow_the_rules_for_hosts() -> None:
    option = Option(host=True)
    assert read_option("https://A.example/", option, "x-portkey-azure-foundry-url") == "https://a.example"
    with pytest.raises(ConfigError):
        read_option("http://127.1", option, "azure_foundry_url")


def test_options_in_headers_are_json_unless_strings() -> None:
    assert read_option_text("true", Option(), "a") == "true"
    assert read_option_text("true", Option(kind=bool), "a") is True
    assert read_option_text('{"a": 1}', Option(kind=dict), "a") == {"a": 1}
    for text in ("yes", '"x"', "\udcff"):
        with pytest.raises(ConfigError):
            read_option_text(text, Option(kind=bool), "a")
