from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from aiogateway.errors import SettingsError
from aiogateway.settings.model import Settings
from aiogateway.settings.schema import LEAVES, describe_settings, read_leaf
from aiogateway.types import Secret


def read(name: str, raw: Any) -> Any:
    return read_leaf(LEAVES[tuple(name.split("."))], raw, name, "from a test")


def test_every_setting_is_described_once() -> None:
    rows = {row.name: row for row in describe_settings()}
    tops = {name.partition(".")[0] for name in rows}
    assert tops == set(Settings.__struct_fields__) - {"proxy"}
    assert all(row.text and row.kind and row.env.startswith("AIOGATEWAY_") for row in rows.values())
    assert rows["deadlines.idle"].env == "AIOGATEWAY_DEADLINES__IDLE"
    assert rows["deadlines.idle"].default == "120.0"
    assert rows["plugins.load"].env == "AIOGATEWAY_PLUGINS"
    assert rows["providers.<name>.api_key"].env == "AIOGATEWAY_PROVIDERS__<NAME>__API_KEY"
    assert rows["allow_open"].default == "false"
    assert rows["data_dir"].default == ""
    assert (rows["max_attempts"].default, rows["retry_wait"].default) == ("20", "1.0")


@pytest.mark.parametrize(
    ("name", "raw", "value"),
    [
        ("port", "80", 80),
        ("port", 80, 80),
        ("drain", "1.5", 1.5),
        ("drain", 0, 0.0),
        ("max_attempts", "100", 100),
        ("max_attempts", 1, 1),
        ("retry_wait", "0.25", 0.25),
        ("allow_open", "true", True),
        ("allow_open", "0", False),
        ("log_level", "WARNING", "warning"),
        ("max_body", "64MiB", 64 * 1024 * 1024),
        ("max_body", "64 kb", 64_000),
        ("max_body", "1GiB", 1024**3),
        ("max_body", "7B", 7),
        ("max_body", "123", 123),
        ("max_body", 123, 123),
        ("allowed_hosts", "a, b,,", ("a", "b")),
        ("allowed_hosts", "", ()),
        ("plugins.load", "", ()),
        ("plugins.load", None, None),
        ("allowed_hosts", ["a"], ("a",)),
        ("default_config", '{"provider": "mock"}', {"provider": "mock"}),
        ("default_config", "", None),
        (
            "default_config",
            {"override_params": {"day": dt.date(2026, 1, 2)}},
            {"override_params": {"day": "2026-01-02"}},
        ),
        ("ca_file", None, None),
        ("ca_file", "", None),
        ("data_dir", Path("/x"), Path("/x")),
        ("data_dir", "/x", Path("/x")),
        ("providers.*.api_key", " sk-1\n", Secret("sk-1")),
        ("providers.*.options", {"a": 1}, {"a": 1}),
    ],
)
def test_values_are_read_in_the_spellings_of_files_and_environments(name: str, raw: Any, value: Any) -> None:
    assert read(name, raw) == value


def test_a_path_may_start_at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert read("data_dir", "~/x") == Path("/home/me/x")


@pytest.mark.parametrize(
    ("name", "raw", "allowed"),
    [
        ("port", "http", "an integer from 0 up to 65535, got 'http' (from a test)"),
        ("port", 65536, "an integer from 0 up to 65535"),
        ("port", True, "an integer"),
        ("port", None, "an integer"),
        ("drain", -1, "a number from 0"),
        ("max_attempts", 0, "an integer from 1 up to 100, got 0"),
        ("max_attempts", "101", "an integer from 1 up to 100"),
        ("max_attempts", 1.5, "an integer from 1"),
        ("retry_wait", 0, "a number above 0"),
        ("retry_wait", "inf", "a number above 0"),
        ("drain", "inf", "a number from 0 up to 604800"),
        ("keepalive", 0, "a number above 0"),
        ("keepalive", "nan", "a number above 0"),
        ("deadlines.idle", 0, "a number above 0"),
        ("log_level", "verbose", "one of debug, info, warning, error, got 'verbose'"),
        ("log_level", 3, "one of debug"),
        ("max_body", "64M", "a size: bytes, or a number with KiB, MiB"),
        ("max_body", "-1", "a size"),
        ("max_body", "0", "a size"),
        ("max_body", 1.5, "a size"),
        ("allow_open", "maybe", "true or false"),
        ("allowed_hosts", 3, "a list of strings"),
        ("allowed_hosts", [3], "a list of strings"),
        ("host", "", "a string that is not empty"),
        ("host", 3, "a string"),
        ("data_dir", 3, "a path"),
        ("data_dir", "", "a path"),
        ("default_config", "[]", "an object"),
        ("default_config", "provider=openai", "an object"),
        ("default_config", {"override_params": {1: 2}}, "an object"),
        ("default_config", {"name": 2**70}, "an object"),
    ],
)
def test_a_bad_value_is_shown_with_what_is_allowed(name: str, raw: Any, allowed: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read(name, raw)
    assert caught.value.path == name
    assert allowed in str(caught.value)


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("providers.*.api_key", ["canary"]),
        ("providers.*.api_key", "canary\r\nx-evil: 1"),
        ("providers.*.options", "canary"),
        ("default_config", '{"api_key": "canary"'),
    ],
)
def test_what_may_be_secret_is_not_shown(name: str, raw: Any) -> None:
    with pytest.raises(SettingsError) as caught:
        read(name, raw)
    assert "canary" not in str(caught.value)
