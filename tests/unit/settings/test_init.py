from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aiogateway.errors import SettingsError
from aiogateway.settings import (
    PluginSettings,
    ProviderSettings,
    Settings,
    check_settings,
    load_plugin_settings,
    load_settings,
)
from aiogateway.types import Deadlines, Secret


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "settings.yaml"


def refuse(flags: dict[str, Any] | None = None, environ: dict[str, str] | None = None, file: Path | None = None) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(flags or {}, environ or {}, file)
    assert "canary" not in str(caught.value)
    return str(caught.value)


def test_nothing_given_is_the_defaults() -> None:
    settings = load_settings({}, {"HOME": "/home/me"})
    assert settings == Settings(data_dir=Path("/home/me/.local/share/aiogateway"))
    assert (settings.host, settings.port, settings.loopback) == ("127.0.0.1", 8787, True)


def test_data_goes_where_the_desktop_says() -> None:
    assert load_settings({}, {"XDG_DATA_HOME": "/data"}).data_dir == Path("/data/aiogateway")
    assert load_settings({"data_dir": "/x"}, {"XDG_DATA_HOME": "/data"}).data_dir == Path("/x")


def test_flags_beat_the_environment_which_beats_the_file(file: Path) -> None:
    file.write_text("port: 1\ndrain: 1\nkeepalive: 1\nmax_body: 1\n")
    environ = {"AIOGATEWAY_PORT": "2", "AIOGATEWAY_DRAIN": "2", "AIOGATEWAY_KEEPALIVE": "2"}
    settings = load_settings({"port": 3, "drain": 3.5, "log_level": None}, environ, file)
    assert (settings.port, settings.drain, settings.keepalive, settings.max_body) == (3, 3.5, 2.0, 1)


def test_sections_are_merged_leaf_by_leaf(file: Path) -> None:
    file.write_text("deadlines: {idle: 1, total: 1}\nproviders: {openai: {api_key: a, base_url: 'http://10.0.0.1'}}\n")
    environ = {"AIOGATEWAY_DEADLINES__IDLE": "2", "AIOGATEWAY_PROVIDERS__OPENAI__API_KEY": "b"}
    settings = load_settings({}, environ, file)
    assert settings.deadlines == Deadlines(idle=2, total=1)
    assert settings.providers == {"openai": ProviderSettings(api_key=Secret("b"), base_url="http://10.0.0.1")}


def test_the_file_may_come_from_the_environment(file: Path) -> None:
    file.write_text("port: 1\n")
    assert load_settings({}, {"AIOGATEWAY_CONFIG": str(file)}).port == 1


def test_everything_can_be_set_at_once(file: Path) -> None:
    file.write_text(
        """
        host: 0.0.0.0
        allow_open: true
        log_level: DEBUG
        allowed_hosts: [gw.example, '::1']
        cors_origins: ['https://app.example:8443', 'http://[::1]:3000']
        trusted_hosts: [10.0.0.0/8, '*.internal', ollama]
        default_config: {provider: openai, api_key: sk-canary}
        max_body: 1 MiB
        check_streams: true
        call_log: '-'
        plugins: {load: [a], override: [b]}
        providers: {openai: {options: {openai_organization: org}}}
        """
    )
    settings = load_settings({}, {}, file)
    assert not settings.loopback
    assert settings.log_level == "debug"
    assert settings.allowed_hosts == ("gw.example", "::1")
    assert settings.trusted_hosts == ("10.0.0.0/8", "*.internal", "ollama")
    assert settings.default_config == {"provider": "openai", "api_key": "sk-canary"}
    assert settings.max_body == 1024 * 1024
    assert settings.plugins == PluginSettings(load=("a",), override=("b",))
    assert settings.providers["openai"].options == {"openai_organization": "org"}


def test_no_secret_shows_in_a_repr() -> None:
    settings = Settings(
        default_config={"api_key": "canary"},
        providers={"openai": ProviderSettings(api_key=Secret("canary"), options={"token": "canary"})},
        proxy=load_settings({}, {"HTTPS_PROXY": "http://me:canary@proxy:3128"}).proxy,
    )
    assert "canary" not in repr(settings)
    assert "canary" not in str(settings)


def test_the_proxy_comes_from_the_environment() -> None:
    proxy = load_settings({}, {"HTTPS_PROXY": "http://a:1", "https_proxy": "http://b:2", "NO_PROXY": "x, .y"}).proxy
    assert proxy.https == Secret("http://b:2")
    assert proxy.no_proxy == ("x", ".y")
    assert load_settings({}, {"HTTPS_PROXY": ""}).proxy.https is None


def test_certificates_may_come_from_the_environment(tmp_path: Path) -> None:
    for name in ("ours.pem", "theirs.pem"):
        (tmp_path / name).touch()
    environ = {"SSL_CERT_FILE": str(tmp_path / "theirs.pem")}
    assert load_settings({}, environ).ca_file == str(tmp_path / "theirs.pem")
    environ["AIOGATEWAY_CA_FILE"] = str(tmp_path / "ours.pem")
    assert load_settings({}, environ).ca_file == str(tmp_path / "ours.pem")
    assert "no such file" in refuse({}, {"SSL_CERT_FILE": str(tmp_path / "none.pem")})


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "gw.example", "localhost.evil.example"])
def test_listening_beyond_loopback_needs_a_word(host: str) -> None:
    assert "--allow-open" in refuse({"host": host})
    assert not load_settings({"host": host, "allow_open": True}, {}).loopback


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost", "LOCALHOST", "a.localhost"])
def test_loopback_is_loopback(host: str) -> None:
    assert load_settings({"host": host}, {}).loopback


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"allowed_hosts": ("https://x",)}, "allowed_hosts[0]"),
        ({"allowed_hosts": ("ok", "x:y/z")}, "allowed_hosts[1]"),
        ({"cors_origins": ("*",)}, "cors_origins[0]"),
        ({"cors_origins": ("https://app.example/",)}, "cors_origins[0]"),
        ({"trusted_hosts": ("ok", "127.1")}, "trusted_hosts[1]"),
        ({"providers": {"openai": ProviderSettings(base_url="http://127.1")}}, "providers.openai.base_url"),
        ({"providers": {"openai": ProviderSettings(base_url="http://a:canary@x")}}, "providers.openai.base_url"),
        ({"ca_file": "/nowhere/at/all.pem"}, "ca_file"),
    ],
)
def test_values_that_can_not_be_served_stop_the_start(changes: dict[str, Any], path: str) -> None:
    with pytest.raises(SettingsError) as caught:
        check_settings(Settings(**changes))
    assert caught.value.path == path
    assert "canary" not in str(caught.value)


def test_the_process_environment_is_read_when_none_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIOGATEWAY_PORT", "4711")
    assert load_settings().port == 4711


def test_which_plugins_load_is_known_before_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_plugin_settings({}) == PluginSettings(load=None)
    assert load_plugin_settings({"AIOGATEWAY_PLUGINS": ""}) == PluginSettings(load=())
    monkeypatch.setenv("AIOGATEWAY_PLUGINS", "a, b")
    assert load_plugin_settings() == PluginSettings(load=("a", "b"))
    monkeypatch.setenv("AIOGATEWAY_PLUGINS__ALLOW", "a")
    assert load_plugin_settings() == PluginSettings(load=("a", "b"), allow=("a",))
    assert load_settings().plugins == PluginSettings(load=("a", "b"), allow=("a",))
