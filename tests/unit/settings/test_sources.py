from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aiogateway.errors import SettingsError
from aiogateway.settings.sources import read_environment, read_file, read_flags


def refuse(reader: Any, *arguments: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        reader(*arguments)
    assert "canary" not in str(caught.value)
    return str(caught.value)


def read_raw(found: Any) -> dict[str, Any]:
    return {".".join(place): given.raw for place, given in found.items()}


def write(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.write_text(text)
    return file


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("s.yaml", "port: 1\ndeadlines:\n  idle: 2\nproviders:\nplugins: {}\n"),
        ("s.yml", "port: 1\ndeadlines: {idle: 2}\n"),
        ("s.toml", "port = 1\n[deadlines]\nidle = 2\n"),
        ("s.JSON", '{"port": 1, "deadlines": {"idle": 2}}'),
    ],
)
def test_three_formats_say_the_same(tmp_path: Path, name: str, text: str) -> None:
    assert read_raw(read_file(write(tmp_path, name, text), {})) == {"port": 1, "deadlines.idle": 2}


def test_an_empty_file_says_nothing(tmp_path: Path) -> None:
    assert read_file(write(tmp_path, "s.yaml", ""), {}) == {}


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("s.ini", "", "must be a file ending in .yaml"),
        ("s.yaml", "api_key: canary\nport: [", "not valid YAML"),
        ("s.yaml", "api_key: canary\nport: [", "(line"),
        ("s.yaml", "\x00", "not valid YAML"),
        ("s.yaml", "!!python/object:os.system {}", "not valid YAML"),
        ("s.toml", "canary", "not valid TOML"),
        ("s.json", '{"canary": ', "not valid JSON"),
        ("s.yaml", "- canary", "must be an object of settings"),
    ],
)
def test_a_file_that_can_not_be_read_is_named(tmp_path: Path, name: str, text: str, says: str) -> None:
    assert says in refuse(read_file, write(tmp_path, name, text), {})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert f"{tmp_path}/none.yaml: can't be read: No such file" in refuse(read_file, tmp_path / "none.yaml", {})


@pytest.mark.parametrize(
    ("text", "environ", "value"),
    [
        ("${A}", {"A": "1"}, "1"),
        ("${A}", {"A": ""}, ""),
        ("x${A}y${B}z", {"A": "1", "B": "2"}, "x1y2z"),
        ("${A:-d}", {}, "d"),
        ("${A:-d}", {"A": ""}, "d"),
        ("${A:-d}", {"A": "1"}, "1"),
        ("${A:-}", {}, ""),
        ("${A:-http://x:1/y}", {}, "http://x:1/y"),
        ("$${A}", {"A": "1"}, "${A}"),
        ("$A", {"A": "1"}, "$A"),
        ("${A}", {"A": "${B}"}, "${B}"),
    ],
)
def test_strings_of_a_file_take_variables(tmp_path: Path, text: str, environ: dict[str, str], value: str) -> None:
    file = write(tmp_path, "s.yaml", f"host: '{text}'\ndefault_config: {{list: ['{text}', 1]}}\n")
    assert read_raw(read_file(file, environ)) == {"host": value, "default_config": {"list": [value, 1]}}


def test_a_variable_that_is_not_set_is_named_with_its_place(tmp_path: Path) -> None:
    file = write(tmp_path, "s.yaml", "providers: {openai: {api_key: '${OPENAI_API_KEY}'}}\n")
    message = refuse(read_file, file, {})
    assert message == "providers.openai.api_key: needs the environment variable OPENAI_API_KEY, which is not set"
    file = write(tmp_path, "s.yaml", "default_config: {list: [1, '${A}']}\n")
    assert "default_config.list[1]: " in refuse(read_file, file, {})


@pytest.mark.parametrize("text", ["${}", "${a-b}", "${1}", "${A:=x}", "${A:?x}"])
def test_other_uses_of_variables_are_errors(tmp_path: Path, text: str) -> None:
    assert "${NAME:-default}" in refuse(read_file, write(tmp_path, "s.yaml", f"host: '{text}'\n"), {"A": "1"})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("prot: 1", "prot: is not a setting; did you mean 'port'?"),
        ("deadlines: {ilde: 1}", "deadlines.ilde: is not a setting; did you mean 'idle'?"),
        ("providers: {openai: {key: 1}}", "providers.openai.key: is not a setting"),
        ("providers: {openai: {zzz: 1}}", "there are: api_key, base_url, options"),
        ("deadlines: 3", "deadlines: must be an object of settings"),
        ("providers: {openai: sk-canary}", "providers.openai: must be an object of settings"),
        ("providers: {1: {}}", "providers.1: is not a setting"),
        ("proxy: {https: 'http://me:canary@x'}", "HTTPS_PROXY"),
    ],
)
def test_unknown_settings_are_errors_with_the_nearest(tmp_path: Path, text: str, says: str) -> None:
    assert says in refuse(read_file, write(tmp_path, "s.yaml", text), {})


def test_the_environment_reaches_every_depth() -> None:
    environ = {
        "AIOGATEWAY_PORT": "1",
        "AIOGATEWAY_DEADLINES": '{"idle": 1, "total": 1}',
        "AIOGATEWAY_DEADLINES__IDLE": "2",
        "AIOGATEWAY_PROVIDERS__AZURE_OPENAI__API_KEY": "k",
        "AIOGATEWAY_PLUGINS": "a,b",
        "AIOGATEWAY_PLUGINS__OVERRIDE": "",
        "AIOGATEWAY_CALL_LOG": "",
        "AIOGATEWAY_CONFIG": "not a setting",
        "PORT": "2",
    }
    assert read_raw(read_environment(environ)) == {
        "port": "1",
        "deadlines.idle": "2",
        "deadlines.total": 1,
        "providers.azure-openai.api_key": "k",
        "plugins.load": "a,b",
        "plugins.override": "",
    }


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("AIOGATEWAY_PROT", "did you mean 'AIOGATEWAY_PORT'?"),
        ("AIOGATEWAY_DEADLINES__IDEL", "did you mean 'AIOGATEWAY_DEADLINES__IDLE'?"),
        ("AIOGATEWAY_PORT__X", "is not a setting"),
        ("AIOGATEWAY_", "is not a setting"),
        ("AIOGATEWAY_PROVIDERS____API_KEY", "is not a setting"),
        ("AIOGATEWAY_DEADLINES", "must be a JSON object"),
        ("AIOGATEWAY_PROVIDERS__OPENAI", "must be a JSON object"),
    ],
)
def test_unknown_variables_are_errors_with_the_nearest(name: str, says: str) -> None:
    message = refuse(read_environment, {name: "canary"})
    assert message.startswith(name)
    assert says in message


def test_what_kubernetes_sets_for_a_service_of_our_name_is_no_setting() -> None:
    environ = {
        "AIOGATEWAY_SERVICE_HOST": "10.0.0.1",
        "AIOGATEWAY_SERVICE_PORT": "8787",
        "AIOGATEWAY_SERVICE_PORT_HTTP": "8787",
        "AIOGATEWAY_PORT": "tcp://10.0.0.1:8787",
        "AIOGATEWAY_PORT_8787_TCP": "tcp://10.0.0.1:8787",
        "AIOGATEWAY_PORT_8787_TCP_ADDR": "10.0.0.1",
    }
    assert read_environment(environ) == {}


def test_flags_that_were_not_given_say_nothing() -> None:
    found = read_flags({"port": 0, "host": None, "allow_open": False})
    assert read_raw(found) == {"port": 0, "allow_open": False}
    assert found["allow_open",].source == "from --allow-open"
