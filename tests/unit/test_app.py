from __future__ import annotations

import asyncio
import gc
import importlib
import importlib.metadata
import os
import resource
import signal
import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import http_parser

from aiogateway import app
from aiogateway.config.parse import ConfigCache
from aiogateway.errors import PluginError, SettingsError
from aiogateway.hookspecs import hookimpl
from aiogateway.plugins import load_plugins
from aiogateway.providers.mock import Mock
from aiogateway.server.health import DRAINING
from aiogateway.settings import PluginSettings, Settings
from aiogateway.types import Origin
from tests.unit.telemetry.records import make_record

Startup = Callable[[Any], Awaitable[Callable[[], Awaitable[None]] | None]]


def make_settings(**changes: Any) -> Settings:
    return Settings(**{"port": 0, "plugins": PluginSettings(load=()), **changes})


def is_closed(gateway: app.Gateway) -> bool:
    """Whether nothing that was opened is open still."""
    dialer = gateway.pool._dialer
    return (
        gateway.http.closed
        and gateway.pool._sweeper.cancelled()
        and gateway.tools.sweeper._timer is None
        and dialer._open.closed
        and dialer._gated.closed
        and (gateway.runner._listener is None or not gateway.runner._listener.is_serving())
    )


@pytest.fixture
def plugged(monkeypatch: pytest.MonkeyPatch) -> Callable[[Startup], None]:
    """Makes a gateway run one more `startup`."""
    real = load_plugins

    def plug(startup: Startup) -> None:
        def load(*args: Any, **options: Any) -> Any:
            manager, registry = real(*args, **options)
            module = ModuleType("acme")
            module.startup = hookimpl(startup)  # type: ignore[attr-defined]
            manager.register(module, name="acme")
            return manager, registry

        monkeypatch.setattr(app, "load_plugins", load)

    return plug


async def test_a_gateway_answers_and_stops() -> None:
    gateway = await app.start(make_settings(default_config={"provider": "mock"}))
    try:
        assert gateway.url == f"http://127.0.0.1:{gateway.port}"
        assert gateway.health.ready
        async with aiohttp.ClientSession() as client:
            answer = await client.post(f"{gateway.url}/v1/chat/completions", json={"model": "mock", "messages": []})
            assert answer.status == 200
            assert (await answer.json())["object"] == "chat.completion"
            shown = await (await client.get(f"{gateway.url}/metrics")).text()
            assert 'provider="mock"' in shown
    finally:
        await gateway.stop()
    assert is_closed(gateway)
    assert gateway.health.reasons == (DRAINING,)


@pytest.mark.parametrize(("host", "shown"), [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")])
async def test_a_url_for_every_host(host: str, shown: str) -> None:
    gateway = app.Gateway(make_settings(host=host, port=1234))
    assert gateway.url == f"http://{shown}:1234"
    await gateway.stop()


async def test_a_plugin_that_may_not_load_is_told_at_the_start(caplog: pytest.LogCaptureFixture) -> None:
    installed = [point.name for point in importlib.metadata.entry_points(group="aiogateway")]
    gateway = app.Gateway(make_settings(plugins=PluginSettings(allow=tuple(installed[1:]))))
    await gateway.stop()
    assert caplog.messages == [f"plugin {installed[0]} is installed but not loaded: plugins.allow does not name it"]


async def test_a_plugin_may_be_handed_over() -> None:
    told: list[object] = []

    class Acme:
        @hookimpl
        async def startup(self, gateway: Any) -> None:
            told.append(gateway)

    gateway = app.Gateway(make_settings(), given={"acme": Acme()})
    await gateway.start()
    await gateway.stop()
    assert told == [gateway]


async def test_a_start_that_cant_listen_closes_what_it_opened(plugged: Callable[[Startup], None]) -> None:
    closed: list[str] = []

    async def startup(gateway: Any) -> Callable[[], Awaitable[None]]:
        async def close() -> None:
            closed.append("plugin")

        return close

    plugged(startup)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        gateway = app.Gateway(make_settings(port=taken.getsockname()[1]))
        with pytest.raises(SettingsError, match="can't listen"):
            await gateway.start()
    assert is_closed(gateway)
    assert closed == ["plugin"]


async def test_a_startup_that_fails_closes_what_was_opened(plugged: Callable[[Startup], None]) -> None:
    async def startup(gateway: Any) -> None:
        raise RuntimeError("no luck")

    plugged(startup)
    gateway = app.Gateway(make_settings())
    with pytest.raises(PluginError, match="no luck") as caught:
        await gateway.start()
    assert caught.value.hook == "startup"
    assert is_closed(gateway)
    assert gateway.runner._server is None  # it never listened


async def test_a_startup_is_handed_the_gateway_before_it_listens(plugged: Callable[[Startup], None]) -> None:
    seen: list[Any] = []

    async def startup(gateway: Any) -> None:
        seen.append((gateway, gateway.health.ready))

    plugged(startup)
    gateway = await app.start(make_settings())
    await gateway.stop()
    assert seen == [(gateway, False)]


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        ({"default_config": {"provider": "nobody"}}, "default_config"),
        ({"default_config": {"strategy": {"mode": "odd"}}}, "default_config"),
        ({"ca_file": "/nonexistent/ca.pem"}, "ca_file"),
    ],
)
async def test_wrong_settings_are_found_before_anything_is_opened(
    settings: dict[str, Any], path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(app, "Pool", lambda *_: opened.append("pool"))
    monkeypatch.setattr(aiohttp, "ClientSession", lambda *_: opened.append("session"))
    with pytest.raises(SettingsError) as caught:
        app.Gateway(make_settings(**settings))
    assert caught.value.path == path
    assert caught.value.message.startswith(f"{path}: ")
    assert opened == []


# --- default_config ---

MOCK = ConfigCache({"mock": Mock().options})


def test_no_default() -> None:
    assert app.read_default(make_settings(), MOCK) is None


def test_a_default_is_read_as_ours() -> None:
    config = app.read_default(make_settings(default_config={"provider": "mock", "mock_text": "hi"}), MOCK)
    assert config is not None
    assert (config.origin, config.provider, config.options) == (Origin.OURS, "mock", {"mock_text": "hi"})


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"provider": "mokc"}, "mock"),
        ({"provider": "mock", "mock_txt": "x"}, "mock_txt"),
        ({"provider": "mock", "override_params": 7}, "override_params"),
        ({"provider": 7, "request_timeout": -1}, "request_timeout"),
        ({"virtual_key": "vk-1"}, "virtual_key: 'vk-1' can't be used"),
        ({"override_params": {"model": "m"}}, "names no provider"),
    ],
)
def test_a_wrong_default_names_the_setting_and_the_field(config: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError) as caught:
        app.read_default(make_settings(default_config=config), MOCK)
    assert caught.value.path == "default_config"
    assert caught.value.message.startswith("default_config: ")
    assert says in caught.value.message


# --- the rest of the composition ---


def test_a_broken_install_of_aiohttp_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    app.check_extensions()
    monkeypatch.setattr(http_parser, "HttpRequestParser", http_parser.HttpRequestParserPy)
    with pytest.raises(SettingsError, match="C extensions"):
        app.check_extensions()
    with pytest.raises(SettingsError, match="C extensions"):
        app.Gateway(make_settings())


def test_the_systems_trust_is_aiohttps_own() -> None:
    assert app.make_tls(make_settings()) is None


def test_a_ca_file_is_the_only_trust(tmp_path: Path) -> None:
    import trustme

    file = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(file))
    context = app.make_tls(make_settings(ca_file=str(file)))
    assert context is not None
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert len(context.get_ca_certs()) == 1


@pytest.mark.parametrize("content", [None, b"not a certificate"])
def test_a_ca_file_that_cant_be_read(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingsError, match="can't read certificates") as caught:
        app.make_tls(make_settings(ca_file=str(file)))
    assert caught.value.path == "ca_file"
    assert str(file) in caught.value.message


def test_the_ledger_counts_and_records() -> None:
    said: list[Any] = []

    class Metrics:
        def begin_call(self) -> None:
            said.append("begin")

        def open_stream(self) -> None:
            said.append("open")

        def close_stream(self) -> None:
            said.append("close")

        def end_call(self, record: Any) -> None:
            said.append(("count", record))

    class Recorder:
        def put(self, record: Any) -> None:
            said.append(("put", record))

    ledger = app.Ledger(Metrics(), Recorder())  # type: ignore[arg-type]
    record = make_record()
    ledger.begin_call()
    ledger.open_stream()
    ledger.close_stream()
    ledger.put(record)
    assert said == ["begin", "open", "close", ("count", record), ("put", record)]


async def test_a_sink_is_shown_in_the_metrics_from_the_start(tmp_path: Path) -> None:
    gateway = app.Gateway(make_settings(call_log=str(tmp_path / "calls.jsonl")))
    body, _ = gateway.metrics.render()
    await gateway.stop()
    assert b'aiogateway_dropped_records_total{sink="' in body


async def test_records_are_flushed_at_the_end(tmp_path: Path) -> None:
    file = tmp_path / "calls.jsonl"
    gateway = await app.start(make_settings(call_log=str(file)))
    gateway.pipeline.books.put(make_record(id="last"))
    await gateway.stop()
    assert [orjson.loads(line)["id"] for line in file.read_bytes().splitlines()] == ["last"]


def test_uvloop_is_chosen_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    import uvloop

    assert app.choose_loop() is uvloop.new_event_loop

    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    assert app.choose_loop() is asyncio.new_event_loop


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_process_and_a_second_one_forces(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process, so what would outlive the test is kept out: frozen objects, limits."""
    monkeypatch.setattr(gc, "freeze", lambda: None)
    monkeypatch.setattr(gc, "set_threshold", lambda *_: None)
    monkeypatch.setattr(app, "raise_file_limit", lambda: None)
    forced: list[bool] = []
    drains: list[float] = []

    async def start(settings: Settings) -> Any:
        gateway = app.Gateway(settings)
        await gateway.start()
        stop = gateway.stop

        async def stop_twice(drain: float = 0.0) -> None:
            drains.append(drain)
            os.kill(os.getpid(), number)
            await again.wait()
            await stop()

        monkeypatch.setattr(gateway, "stop", stop_twice)
        again = asyncio.Event()

        def force() -> None:
            forced.append(True)
            again.set()

        monkeypatch.setattr(gateway.runner, "force", force)
        asyncio.get_running_loop().call_soon(os.kill, os.getpid(), number)
        return gateway

    monkeypatch.setattr(app, "start", start)
    assert app.run(make_settings(drain=7.0)) == 0
    assert (drains, forced) == ([7.0], [True])


def test_the_limit_of_open_files(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: asked.append(limits))
    app.raise_file_limit()
    assert asked == [(4096, 4096)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: (4096, 4096))
    app.raise_file_limit()
    assert len(asked) == 1

    def refuse(*_: object) -> None:
        raise ValueError("not allowed")

    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    app.raise_file_limit()
    assert "stays at 1024" in caplog.text
