from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import click
import pluggy
import pytest
from click.testing import CliRunner, Result

from aiogateway import app, cli, hookspecs, plugins, settings
from aiogateway.config.parse import parse_config
from aiogateway.dialects.failures import write_error_body
from aiogateway.errors import ConfigError, GatewayError, PluginError
from aiogateway.hookspecs import hookimpl
from aiogateway.plugins import DEFAULT_PLUGINS
from aiogateway.settings import PluginSettings, Settings
from aiogateway.types import Origin


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No settings from outside, a fresh set of commands, and the root logger put back."""
    monkeypatch.delenv("AIOGATEWAY_PLUGINS", raising=False)
    monkeypatch.setattr(cli.main, "_asked", False)
    monkeypatch.setattr(cli.main, "commands", dict(cli.main.commands))
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings that `serve` was about to serve with."""
    seen: list[Settings] = []

    def run(settings: Settings) -> int:
        seen.append(settings)
        return 0

    monkeypatch.setattr(app, "run", run)
    return seen


def invoke(*arguments: str, environ: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(cli.main, arguments, env=cast(Any, environ))


def install(monkeypatch: pytest.MonkeyPatch, *commands: str, fails: bool = False) -> list[PluginSettings]:
    """Pretends that a plugin with these commands is installed; returns what it was looked for with."""
    asked: list[PluginSettings] = []

    class Acme:
        @hookimpl
        def register_commands(self, cli: click.Group) -> None:
            for name in commands:
                cli.command(name)(partial(click.echo, f"{name} from a plugin"))

    def load_installed(settings: PluginSettings) -> pluggy.PluginManager:
        asked.append(settings)
        if fails:
            raise PluginError("ImportError: no luck", plugin="acme (from acme-plugin 1)", hook="import")
        manager = pluggy.PluginManager(hookspecs.PROJECT)
        manager.add_hookspecs(hookspecs)
        manager.register(Acme(), "acme")
        return manager

    monkeypatch.setattr(plugins, "load_installed", load_installed)
    return asked


def test_flags_beat_the_environment_and_the_file(served: list[Settings], tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("port = 1\ndrain = 1\nkeepalive = 1\n")
    result = invoke(
        "serve",
        *("--host", "::1", "--port", "3", "--config", str(file), "--data-dir", str(tmp_path), "--log-level", "debug"),
        environ={"AIOGATEWAY_PORT": "2", "AIOGATEWAY_DRAIN": "2"},
    )
    assert result.exit_code == 0, result.output
    (settings,) = served
    assert (settings.host, settings.port, settings.drain, settings.keepalive) == ("::1", 3, 2.0, 1.0)
    assert (settings.data_dir, settings.log_level) == (tmp_path, "debug")
    assert logging.getLogger().level == logging.DEBUG


def test_no_flag_is_no_word(served: list[Settings]) -> None:
    assert invoke("serve", environ={"AIOGATEWAY_ALLOW_OPEN": "true"}).exit_code == 0
    assert served[0].allow_open is True
    assert served[0].port == Settings().port


def test_the_open_door_needs_its_flag(served: list[Settings]) -> None:
    assert invoke("serve", "--host", "0.0.0.0").exit_code == 2
    assert invoke("serve", "--host", "0.0.0.0", "--allow-open", "--drain", "1.5").exit_code == 0
    assert (served[0].allow_open, served[0].drain) == (True, 1.5)


def test_the_exit_status_is_the_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "run", lambda settings: 3)
    assert invoke("serve").exit_code == 3


@pytest.mark.parametrize(
    ("arguments", "environ", "says"),
    [
        (("serve", "--port", "70000"), {}, "port: must be an integer from 0 up to 65535, got 70000 (from --port)"),
        (("serve",), {"AIOGATEWAY_PROT": "1"}, "did you mean 'AIOGATEWAY_PORT'?"),
        (("serve", "--config", "/nowhere/x.yaml"), {}, "/nowhere/x.yaml: can't be read"),
        (("plugins",), {"AIOGATEWAY_PLUGINS": "no-such-plugin"}, "no plugin is called 'no-such-plugin'"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(
    served: list[Settings], arguments: tuple[str, ...], environ: dict[str, str], says: str
) -> None:
    result = invoke(*arguments, environ=environ)
    assert result.exit_code == 2
    assert says in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert served == []


def test_a_plugin_that_breaks_the_start_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(settings: Settings) -> int:
        raise PluginError("ImportError: no luck", plugin="acme (from acme-plugin 1)", hook="import")

    monkeypatch.setattr(app, "run", run)
    result = invoke("serve")
    assert result.exit_code == 2
    assert result.stderr == "Error: plugin acme (from acme-plugin 1) (import): ImportError: no luck\n"


def test_log_levels_are_those_of_the_settings() -> None:
    option = next(option for option in cli.serve.params if option.name == "log_level")
    row = next(row for row in settings.describe_settings() if row.name == "log_level")
    assert isinstance(option.type, click.Choice)
    assert row.kind == f"one of {', '.join(option.type.choices)}"


def test_plugins_are_listed_with_where_they_are_from() -> None:
    result = invoke("plugins", environ={"AIOGATEWAY_PLUGINS": ""})
    assert result.exit_code == 0, result.output
    head, *rows = [re.split(r" {2,}", line) for line in result.stdout.splitlines()]
    assert head == ["PLUGIN", "DISTRIBUTION", "HOOKS"]
    assert [row[0] for row in rows] == list(DEFAULT_PLUGINS)
    assert all(row[1].startswith("aiogateway ") and row[2].startswith("register_") for row in rows)


def test_what_may_not_load_is_listed_as_such(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("plugins: {allow: [aiogateway-plugin-ollama]}")
    result = invoke("plugins", "--config", str(file))
    assert result.exit_code == 0, result.output
    rows = {line.split()[0]: line for line in result.stdout.splitlines()}
    assert rows["ollama"].endswith("register_dialects, register_providers")
    assert rows["retry-budget"].endswith("not loaded: plugins.allow does not name it")


def test_a_battery_is_run_by_the_settings_of_the_list(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("plugins: {allow: []}")
    result = invoke("plugins", "--config", str(file), "test", "ollama")
    assert (result.exit_code, "no loaded provider" in result.stderr) == (2, True)


# ---------------------------------------------------------------- check


def check(tmp_path: Path, config: Any, *flags: str, settings: str = "") -> Result:
    file = tmp_path / "config.json"
    file.write_text(config if isinstance(config, str) else json.dumps(config))
    if settings:
        (tmp_path / "settings.yaml").write_text(settings)
        flags = (*flags, "--config", str(tmp_path / "settings.yaml"))
    return invoke("check", *flags, str(file), environ={"AIOGATEWAY_PLUGINS": ""})


BOTH = {"strategy": {"mode": "fallback"}, "targets": [{"provider": "mock"}, {"provider": "openai"}]}


def test_check_says_that_a_config_is_fine(tmp_path: Path) -> None:
    result = check(tmp_path, BOTH)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "ok: 2 targets\n", "")
    assert check(tmp_path, {"provider": "mock"}).stdout == "ok: 1 target\n"


def test_check_prints_what_a_call_would_be_told(tmp_path: Path) -> None:
    config = {"strategy": {"mode": "fallback"}, "targets": [{"provider": "mokc"}, {"provider": "mock", "retry": {}}]}
    result = check(tmp_path, config)
    assert result.exit_code == 1
    first, second = result.stdout.splitlines()
    assert first.startswith("path: targets,0,provider, message: no provider is called 'mokc'; did you mean 'mock'?")
    assert second.startswith("path: targets,1,retry,attempts, message: ")
    _, registry = plugins.load_plugins(Settings(), installed=())
    options = {name: provider.options for name, provider in registry.providers.items()}
    with pytest.raises(ConfigError) as caught:
        parse_config(json.dumps(config), origin=Origin.REQUEST, source="x-portkey-config", options=options)
    told = json.loads(write_error_body(caught.value))["errors"]
    assert told == result.stdout.splitlines()


def test_check_warns_and_is_content(tmp_path: Path) -> None:
    result = check(tmp_path, {"virtual_key": "vk", "cache": {"mode": "simple"}})
    assert result.exit_code == 0
    first, second, last = result.stdout.splitlines()
    assert first == "warning: cache: has no effect yet: nothing is cached"
    assert second.startswith("warning: virtual_key: 'vk' can't be used")
    assert last == "ok: 1 target"
    assert check(tmp_path, {"retry": {"attempts": 1}}).stdout.startswith("warning: names no provider")


def test_check_explains_without_a_secret(tmp_path: Path) -> None:
    result = check(tmp_path, {"provider": "openai", "api_key": "canary"}, "--explain")
    assert result.exit_code == 0
    assert result.stdout.startswith("ok: 1 target\nconfig: openai\n    api_key: ***  [own]\n")
    assert "canary" not in result.output


def test_check_reads_standard_input() -> None:
    for arguments in (("check", "-"), ("check", "--", "-")):
        result = CliRunner().invoke(cli.main, arguments, input=json.dumps(BOTH), env={"AIOGATEWAY_PLUGINS": ""})
        assert (result.exit_code, result.stdout) == (0, "ok: 2 targets\n")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "path: , message: x-portkey-config is not valid JSON"),
        ("[]", "path: , message: x-portkey-config must be a JSON object"),
        ("", "path: , message: x-portkey-config must be a JSON object"),
        ("pc-abc", "the slug pc-abc"),
    ],
)
def test_check_of_what_is_no_config(tmp_path: Path, text: str, says: str) -> None:
    result = check(tmp_path, text)
    assert result.exit_code == 1
    assert says in result.stdout
    assert len(result.stdout.splitlines()) == 1


def test_check_of_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(b'{"name": "\xff"}')
    result = invoke("check", str(tmp_path / "config.json"), environ={"AIOGATEWAY_PLUGINS": ""})
    assert (result.exit_code, "not valid JSON" in result.stdout) == (1, True)


def test_check_of_a_file_that_can_not_be_read(tmp_path: Path) -> None:
    for file in (tmp_path / "nowhere.json", tmp_path):
        result = invoke("check", str(file), environ={"AIOGATEWAY_PLUGINS": ""})
        assert result.exit_code == 1
        assert result.stderr.startswith(f"Error: {file}: can't be read: ")


def test_check_knows_the_settings(tmp_path: Path) -> None:
    retried = {**BOTH, "retry": {"attempts": 3}}
    assert check(tmp_path, retried).exit_code == 0
    bounded = check(tmp_path, retried, settings="max_attempts: 5\n")
    assert (bounded.exit_code, "8 upstream attempts" in bounded.stdout) == (1, True)
    assert (
        "deadlines.idle: 9 s  [settings]" in check(tmp_path, BOTH, "--explain", settings="deadlines: {idle: 9}").stdout
    )
    late = check(tmp_path, retried, settings="deadlines: {first_token: 5, total: 20}\nretry_wait: 2\n")
    assert "warning: targets[1]: may come too late: a call is over after 20 s" in late.stdout
    ours = check(
        tmp_path,
        {**BOTH, "custom_host": "http://127.0.0.1:9"},
        settings="providers: {openai: {api_key: canary}, mock: {api_key: canary}}\n",
    )
    assert ours.exit_code == 1
    assert [line.partition(", message")[0] for line in ours.stdout.splitlines()] == ["path: custom_host"] * 2
    assert "canary" not in ours.output


def test_check_with_wrong_settings_is_one_line_and_status_2(tmp_path: Path) -> None:
    result = check(tmp_path, BOTH, settings="prot: 1\n")
    assert (result.exit_code, result.stdout, len(result.stderr.splitlines())) == (2, "", 1)


# ---------------------------------------------------------------- demo


def test_the_demo_streams_and_says_where_to_go_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "_PACE", 0)
    written: list[str] = []
    echo = click.echo

    def keep(message: Any = None, **kwargs: Any) -> None:
        written.append(str(message))
        echo(message, **kwargs)

    monkeypatch.setattr(click, "echo", keep)
    result = invoke("demo")
    assert result.exit_code == 0, result.output
    assert cli._ANSWER in result.stdout
    tokens = [text for text in written if text and text in cli._ANSWER]
    assert len(tokens) > 20
    assert f"{len(tokens)} tokens" in result.stdout
    assert "aiogateway serve" in result.stdout


@pytest.mark.parametrize(
    ("headers", "says"),
    [
        ({"x-portkey-mock-status": "503"}, "the gateway answered 503"),
        ({"x-portkey-mock-tokens": "9", "x-portkey-mock-error-after": "3"}, "the stream broke"),
    ],
)
async def test_the_demo_does_not_hide_a_failure(headers: dict[str, str], says: str) -> None:
    import aiohttp

    gateway = await app.start(Settings(port=0, plugins=PluginSettings(load=())))
    try:
        body = {"model": "mock", "stream": True, "messages": [{"role": "user", "content": "x"}]}
        async with (
            aiohttp.ClientSession() as session,
            session.post(
                f"{gateway.url}/v1/chat/completions", json=body, headers={"x-portkey-provider": "mock", **headers}
            ) as response,
        ):
            with pytest.raises(GatewayError, match=says):
                [text async for text in cli._read_tokens(response)]
    finally:
        await gateway.stop()


def test_a_plugins_command_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = install(monkeypatch, "greet")
    result = invoke("greet", environ={"AIOGATEWAY_PLUGINS": "acme"})
    assert result.stdout == "greet from a plugin\n"
    assert asked == [PluginSettings(load=("acme",))]
    assert "greet" in invoke("--help").stdout


def test_a_plugin_can_not_take_the_place_of_our_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, "plugins", "greet")
    assert invoke("greet").stdout == "greet from a plugin\n"
    assert "PLUGIN" in invoke("plugins", environ={"AIOGATEWAY_PLUGINS": ""}).stdout


def test_our_commands_ask_no_plugin(monkeypatch: pytest.MonkeyPatch, served: list[Settings]) -> None:
    asked = install(monkeypatch, fails=True)
    assert invoke("serve").exit_code == 0
    assert asked == []


def test_a_broken_plugin_breaks_its_commands_but_not_the_help(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, fails=True)
    result = invoke("--help")
    assert result.exit_code == 0
    assert "serve" in result.stdout
    assert "Warning: plugin acme" in result.stderr
    monkeypatch.setattr(cli.main, "_asked", False)
    result = invoke("greet")
    assert result.exit_code == 2
    assert "plugin acme (from acme-plugin 1)" in result.stderr


def test_unknown_commands_are_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    result = invoke("serv")
    assert result.exit_code == 2
    assert "No such command 'serv'" in result.stderr


def test_the_command_line_alone_imports_no_server() -> None:
    code = "import sys, aiogateway.cli; print([name for name in ('aiohttp', 'pluggy', 'yaml') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == "['pluggy']\n"
