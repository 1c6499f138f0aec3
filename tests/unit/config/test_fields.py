from __future__ import annotations

from typing import Any

import pytest

from aiogateway.config.fields import (
    MAX_ITEMS,
    name_kind,
    read_choice,
    read_flag,
    read_forwarded,
    read_integer,
    read_milliseconds,
    read_number,
    read_option,
    read_option_text,
    read_secret,
    read_statuses,
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
    assert suggest("x" * 100_000, ["override_params", "provider"]) == ""


def test_shown_values_are_escaped_and_cut() -> None:
    assert show("a\nb\udcff") == "'a\\nb\\udcff'"
    assert len(show("x" * 1000)) == 81
    assert show("x" * 78) == "'" + "x" * 78 + "'"


@pytest.mark.parametrize(
    ("value", "shown", "kind"),
    [
        (True, "true", "a boolean"),
        (False, "false", "a boolean"),
        (None, "null", "null"),
        (3, "3", "a number"),
        (1.5, "1.5", "a number"),
        (2**64, "a number of more than 64 bits", "a number"),
        ("x", "'x'", "a string"),
        ([], "an empty list", "an empty list"),
        ([1], "a list", "a list"),
        ({"a": "canary"}, "an object", "an object"),
    ],
)
def test_what_is_inside_a_value_is_not_shown(value: Any, shown: str, kind: str) -> None:
    assert (show(value), name_kind(value)) == (shown, kind)


def test_flags() -> None:
    assert read_flag(False, "a") is False
    for value in (0, "true", None):
        with pytest.raises(ConfigError, match="must be true or false"):
            read_flag(value, "a")


def test_choices() -> None:
    assert read_choice("on", "a", choices=("on", "off")) == "on"
    for value, says in ((["on"], "got a list$"), ("onn", "got 'onn'; did you mean 'on'"), (True, "got true")):
        with pytest.raises(ConfigError, match=says):
            read_choice(value, "a", choices=("on", "off"))


def test_integers() -> None:
    assert [read_integer(value, "a", least=0, most=5) for value in (0, 5, 2.0)] == [0, 5, 2]
    value: Any
    for value in (-1, 6, 2.5, "2", True, None, [], float("inf"), float("nan"), 10**400):
        with pytest.raises(ConfigError, match="must be an integer from 0 to 5"):
            read_integer(value, "a", least=0, most=5)


def test_numbers() -> None:
    assert [read_number(value, "a", most=5) for value in (0.1, 5)] == [0.1, 5.0]
    assert read_number(0, "a", most=5, zero=True) == 0.0
    value: Any
    for value in (0, -1, 5.1, "2", True, None, [], float("inf"), float("nan"), 10**400):
        with pytest.raises(ConfigError, match="must be a number above 0 and at most 5"):
            read_number(value, "a", most=5)
    with pytest.raises(ConfigError, match="must be a number from 0 to 5"):
        read_number(-0.1, "a", most=5, zero=True)


def test_statuses_are_each_once_and_all_bad_ones_named() -> None:
    assert read_statuses([500, 429, 500.0], "a") == (500, 429)
    assert read_statuses([], "a") == ()
    with pytest.raises(ConfigError) as caught:
        read_statuses([199, 200, 599, 600, "500", None], "a")
    assert [error.path for error in caught.value.errors] == ["a[0]", "a[3]", "a[4]", "a[5]"]
    value: Any
    for value in (500, "500", {}, [500] * (MAX_ITEMS + 1)):
        with pytest.raises(ConfigError):
            read_statuses(value, "a")


@pytest.mark.parametrize("value", ["", "  ", 1, None, [], "a\rb", "a\nb", "a\x00b", "a\x7f"])
def test_text_is_a_string_without_control_characters(value: Any) -> None:
    with pytest.raises(ConfigError):
        read_text(value, "name")


@pytest.mark.parametrize("value", ["", " ", 12, None, {"key": "sk-canary"}, "sk-canary\r\nx-evil: 1", "sk-canary-ä"])
def test_a_bad_secret_is_refused_and_not_shown(value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        read_secret(value, "api_key")
    assert "canary" not in str(caught.value)


def test_times_are_positive_milliseconds() -> None:
    assert [read_milliseconds(value, "a") for value in (1, 1500.0, 86_400_000)] == [1, 1500, 86_400_000]
    for value in (0, -1, 86_400_001, 1.5, True, "1500", None, 10**5000):
        with pytest.raises(ConfigError, match="must be an integer of milliseconds from 1 to 86400000"):
            read_milliseconds(value, "a")


def test_times_in_headers_are_digits() -> None:
    assert [read_timeout(text, "a") for text in ("1", "1500", "86400000")] == [1, 1500, 86_400_000]
    for text in ("0", "-5", "1.5", "abc", "", "9" * 5000, "٣", "²", "86400001"):
        with pytest.raises(ConfigError, match="must be an integer of milliseconds"):
            read_timeout(text, "a")


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


def test_forwarded_names_are_a_list_of_bounded_length() -> None:
    names: Any
    for names in ("x-a", {}, ["x-a"] * (MAX_ITEMS + 1)):
        with pytest.raises(ConfigError):
            read_forwarded(names, "forward_headers")


def test_all_bad_names_are_told() -> None:
    with pytest.raises(ConfigError) as caught:
        read_forwarded(["host", "x-a", 3], "forward_headers")
    assert [error.path for error in caught.value.errors] == ["forward_headers[0]", "forward_headers[2]"]


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
