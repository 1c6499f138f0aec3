"""Plugins that raise, block or return rubbish: the call they served fails and names them, everybody else is served."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest

from aiogateway import PluginError, hookimpl
from aiogateway.dialects.openai_chat import OpenAIChat
from aiogateway.providers.base import BaseProvider
from aiogateway.testing.upstream import Hang, Script, Stall, chunk, stream, unary
from aiogateway.types import Endpoint, Outcome, Record, Route
from tests.process import serve, start_and_fail, until
from tests.stage import GOOD, SEEN, Stage, event, stage

ANSWER = b'{"object":"chat.completion","choices":[]}'
SECRET = "sk-in-an-exception"
Install = Callable[..., None]


class Plugin:
    """What an entry point leads to: the hooks it was made of."""

    def __init__(self, **hooks: Callable[..., Any]) -> None:
        for name, function in hooks.items():
            setattr(self, name, hookimpl(function))


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Installs a distribution whose entry point is an attribute of this module, made for the test."""

    def install(plugin: object) -> None:
        monkeypatch.setattr(f"{__name__}.installed", plugin, raising=False)
        write_distribution(tmp_path, f"{__name__}:installed")
        monkeypatch.syspath_prepend(tmp_path)

    return install


def write_distribution(folder: Path, value: str) -> None:
    info = folder / "acme_gateway-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-gateway\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(f"[aiogateway]\nacme = {value}\n")


# ---------------------------------------------------------------- providers


class Acme(BaseProvider):
    """An OpenAI-like provider of which one method may be replaced."""

    name = "acme"
    routes: Mapping[Endpoint, Route] = {Endpoint.CHAT: Route("openai_chat", "/chat/completions")}

    def __init__(self, **replaced: Callable[..., Any]) -> None:
        for name, function in replaced.items():
            setattr(self, name, rename(function, name))


def rename(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    def method(*arguments: Any) -> Any:
        return function(*arguments)

    method.__name__ = name
    return method


def raise_it(*_: object) -> Any:
    raise RuntimeError(SECRET)


async def raise_it_later(*_: object) -> Any:
    await asyncio.sleep(0)
    raise RuntimeError(SECRET)


def rubbish(*_: object) -> Any:
    return 42


async def rubbish_later(*_: object) -> Any:
    return None


def provide(*providers: object) -> Plugin:
    def register_providers(register: Callable[[Any], None]) -> None:
        for provider in providers:
            register(provider)

    return Plugin(register_providers=register_providers)


async def acme(live: Stage, path: str = "/v1/chat/completions", **call: Any) -> tuple[int, bytes]:
    return await live.ask(path=path, headers={"x-portkey-provider": "acme"}, **call)


BROKEN = [
    ("route", raise_it), ("route", rubbish), ("prepare", raise_it), ("prepare", rubbish), ("authorize", raise_it_later),
    ("authorize", rubbish_later), ("authorize", raise_it), ("read_error", raise_it), ("read_error", rubbish),
]  # fmt: skip


@pytest.mark.parametrize(("method", "how"), BROKEN, ids=[f"{name}-{how.__name__}" for name, how in BROKEN])
async def test_a_provider_that_fails_fails_its_own_call_and_is_named(
    method: str, how: Callable[..., Any], install: Install, caplog: pytest.LogCaptureFixture
) -> None:
    install(provide(Acme(**{method: how})))
    script = [unary(b"{}", status=418)] if method == "read_error" else []
    async with stage(*script, unary(ANSWER)) as live:
        status, body = await acme(live, stream=False)
        error = orjson.loads(body)["error"]
        assert (status, error["code"]) == (500, "plugin_error")
        assert "acme" in error["message"]
        assert method in error["message"]
        assert SECRET.encode() not in body
        record = await live.recorded()
        assert (record.outcome, record.attempts[0].outcome) == (Outcome.FAILED, Outcome.FAILED)
        assert await live.ask(stream=False) == (200, ANSWER)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/files"])
async def test_a_token_that_never_comes_ends_at_the_deadline(path: str, install: Install, tmp_path: Path) -> None:
    async def hang(*_: object) -> Any:
        await asyncio.Event().wait()

    install(provide(Acme(authorize=hang)))
    limits = {"first_token": 0.1, "total": 0.3}
    async with stage(unary(ANSWER), tmp=tmp_path, deadlines=limits) as live:
        status, body = await acme(live, path)
        assert (status, orjson.loads(body)["error"]["code"]) in (
            (408, "first_token_timeout"),
            (504, "total_timeout"),
        )
        record = await live.recorded()
        assert (record.outcome, record.attempts[0].outcome) == (Outcome.FAILED, Outcome.FAILED)
        assert live.up.requests == []


@pytest.mark.parametrize("how", [raise_it, rubbish])
async def test_a_passthrough_that_fails_is_named_too(how: Callable[..., Any], install: Install) -> None:
    install(provide(Acme(passthrough=how)))
    async with stage(unary(ANSWER)) as live:
        status, body = await acme(live, "/v1/files")
        assert (status, orjson.loads(body)["error"]["code"]) == (500, "plugin_error")
        assert b"acme" in body
        assert live.up.connections == []


async def test_a_provider_can_not_split_a_header(install: Install) -> None:
    """A plugin that lets a caller's text into a header must not hand the caller the connection."""

    def prepare(request: Any, target: Any) -> Any:
        good = BaseProvider.prepare(Acme(), request, target)
        return msgspec.structs.replace(good, headers=(*good.headers, ("x-model", request.model)))

    install(provide(Acme(prepare=prepare)))
    async with stage(unary(ANSWER)) as live:
        status, _ = await acme(live, stream=False, model="a\r\nx-evil: 1\r\n\r\nGET /x HTTP/1.1\r\n\r\n")
        assert status == 400
        assert live.up.requests == []
        status, _ = await acme(live, stream=False, model="é世")
        assert status == 400


# ---------------------------------------------------------------- dialects


class AcmeWire(OpenAIChat):
    """A dialect of which one method may be replaced."""

    name = "acme_wire"

    def __init__(self, **replaced: Callable[..., Any]) -> None:
        super().__init__()
        for name, function in replaced.items():
            setattr(self, name, function)


class Decoder:
    """Fails at the second event."""

    def __init__(self, how: Callable[..., Any]) -> None:
        self._inner = OpenAIChat().decoder()
        self._how = how
        self._count = 0

    def feed(self, frame: bytes) -> Iterable[Any]:
        self._count += 1
        return self._inner.feed(frame) if self._count == 1 else self._how(frame)


def speak(dialect: AcmeWire) -> Plugin:
    provider = Acme()
    provider.routes = {Endpoint.CHAT: Route("acme_wire", "/chat/completions")}
    plugin = provide(provider)
    plugin.register_dialects = hookimpl(lambda register: register(dialect))  # type: ignore[attr-defined]
    return plugin


@pytest.mark.noisy
@pytest.mark.parametrize("how", [raise_it, rubbish], ids=["raises", "rubbish"])
async def test_a_decoder_that_fails_ends_its_stream_in_band(
    how: Callable[..., Any], install: Install, caplog: pytest.LogCaptureFixture
) -> None:
    install(speak(AcmeWire(decoder=lambda: Decoder(how))))
    script: Script = (*stream(event("a"), end=False), Stall(), chunk(event("b")), Hang())
    async with stage(script, stream(GOOD)) as live:
        client = await live.post(headers={"x-portkey-provider": "acme"})
        await client.head()
        body = await client.chunk()
        live.up.resume()
        body += await client.body()
        assert b'"a"' in body
        assert b"[DONE]" not in body
        assert "upstream_error" in body.decode()
        assert SECRET.encode() not in body
        assert (await live.recorded()).outcome is Outcome.TRUNCATED
        await live.up.left(limit=1)
        assert await live.ask() == (200, SEEN)
    assert "dialect acme_wire failed" in caplog.text


@pytest.mark.noisy
@pytest.mark.parametrize("method", ["frame_end", "is_keepalive"])
async def test_a_dialect_that_fails_before_the_first_event_fails_its_call(method: str, install: Install) -> None:
    install(speak(AcmeWire(**{method: raise_it})))
    async with stage((*stream(event("a"), end=False), Hang()), stream(GOOD)) as live:
        status, body = await acme(live)
        assert (status, orjson.loads(body)["error"]["code"]) == (502, "upstream_error")
        assert (await live.recorded()).outcome is Outcome.FAILED
        await live.up.left(limit=1)
        assert await live.ask() == (200, SEEN)


# ---------------------------------------------------------------- observers


class Observing:
    """Does the same at every turn of a call."""

    def __init__(self, act: Callable[[], Any]) -> None:
        self.act = act
        self.turns: list[str] = []

    def attempt(self, attempt: object) -> None:
        self.turns.append("attempt")
        self.act()

    def commit(self, call: object) -> None:
        self.turns.append("commit")
        self.act()

    def end(self, record: Record) -> None:
        self.turns.append("end")
        self.act()


@pytest.mark.noisy
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/files"])
async def test_an_observer_that_raises_is_isolated_counted_and_named(
    path: str, install: Install, caplog: pytest.LogCaptureFixture
) -> None:
    observing = Observing(raise_it)
    install(Plugin(observe_call=lambda call: observing))
    async with stage(unary(ANSWER)) as live:
        for _ in range(5):
            assert await live.ask(stream=False, path=path) == (200, ANSWER)
        assert observing.turns[-1] == "end"
        assert observing.turns.count("end") == 5
    said = [record.getMessage() for record in caplog.records if "acme (from acme-gateway 1.2)" in record.getMessage()]
    assert 1 <= len(said) <= 6, "a plugin that always fails must not fill the disk"


@pytest.mark.noisy
@pytest.mark.parametrize("observe", [raise_it, rubbish], ids=["raises", "rubbish"])
async def test_observing_itself_may_fail(observe: Callable[..., Any], install: Install) -> None:
    install(Plugin(observe_call=observe))
    async with stage(stream(GOOD)) as live:
        assert await live.ask() == (200, SEEN)
        assert (await live.recorded()).outcome is Outcome.OK


async def test_an_observer_that_blocks_is_timed_and_named(install: Install, caplog: pytest.LogCaptureFixture) -> None:
    install(Plugin(observe_call=lambda call: Observing(lambda: time.sleep(0.06))))
    async with stage(unary(ANSWER)) as live:
        assert await live.ask(stream=False) == (200, ANSWER)
        await live.recorded()
    assert "acme (from acme-gateway 1.2) held up every call" in caplog.text


# ---------------------------------------------------------------- sinks


class Sink:
    """A log sink of one behaviour."""

    name = "acme"

    def __init__(self, write: Callable[[Sequence[Record]], Any]) -> None:
        self._write = write

    async def write(self, batch: Sequence[Record]) -> None:
        await self._write(batch)

    async def close(self) -> None:
        raise_it()


async def block(*_: object) -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("write", [raise_it_later, block], ids=["raises", "blocks"])
async def test_a_sink_that_fails_loses_its_own_records_and_nothing_else(
    write: Callable[..., Any], install: Install, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    install(Plugin(register_log_sinks=lambda register: register(Sink(write))))
    log = tmp_path / "calls.jsonl"
    async with stage(unary(ANSWER), tmp=tmp_path, call_log=str(log)) as live:
        for queue in live.gateway.recorder._queues:
            queue._patience = 0.1
        for _ in range(10):
            assert await live.ask(stream=False) == (200, ANSWER)
        await until(lambda: "acme" in live.gateway.recorder.failing)
        client = await live.connect()
        client.send("GET", "/readyz", {})
        status, body = await client.answer()
        assert status == 200, "requests are served all the same"
        assert "log sink acme fails" in orjson.loads(body)["warnings"]
        assert b'dropped_records_total{sink="acme"} 10.0' in live.gateway.metrics.render()[0]
    assert len(log.read_bytes().splitlines()) == 10
    assert "log sink acme lost" in caplog.text


# ---------------------------------------------------------------- at start


async def fail_to_start(*_: object) -> None:
    raise OSError("no licence")


@pytest.mark.parametrize(
    ("plugin", "hook", "reason"),
    [
        (Plugin(startup=fail_to_start), "startup", "no licence"),
        (Plugin(register_providers=lambda register: register(object())), "register_providers", "lacks"),
        (Plugin(register_dialects=lambda register: register(42)), "register_dialects", "lacks"),
        (Plugin(register_log_sinks=lambda register: raise_it()), "register_log_sinks", "RuntimeError"),
        (provide(Acme(), Acme()), "register_providers", "already registered"),
        (Plugin(register_provider=lambda register: None), "register_provider", "register_providers"),
        (object(), "", "no hook"),
    ],
    ids=["startup", "provider", "dialect", "sink", "twice", "misspelt", "nothing"],
)
async def test_a_plugin_that_is_broken_at_start_stops_the_start_and_is_named(
    plugin: object, hook: str, reason: str, install: Install
) -> None:
    install(plugin)
    with pytest.raises(PluginError) as raised:
        async with stage(unary(ANSWER)):
            pytest.fail("it started")
    message = str(raised.value)
    assert "acme (from acme-gateway 1.2)" in message
    assert hook in message
    assert reason in message


async def test_a_plugin_that_can_not_be_imported_stops_the_process_with_one_line(tmp_path: Path) -> None:
    (tmp_path / "acme_gateway.py").write_text("import a_module_that_is_not_there\n")
    write_distribution(tmp_path, "acme_gateway")
    status, said = await start_and_fail(tmp_path, environ={"PYTHONPATH": str(tmp_path)})
    assert status == 2
    assert "acme (from acme-gateway 1.2)" in said
    assert "a_module_that_is_not_there" in said
    assert "Traceback" not in said
    async with serve(tmp_path, environ={"PYTHONPATH": str(tmp_path), "AIOGATEWAY_PLUGINS": ""}):
        pass  # without it, it starts


@pytest.mark.noisy
async def test_a_closer_that_fails_keeps_nobody_from_closing(install: Install) -> None:
    closed: list[str] = []

    async def startup(gateway: Any) -> Callable[[], Any]:
        return raise_it_later

    install(Plugin(startup=startup))
    async with stage(unary(ANSWER)) as live:
        live.gateway._plugins.insert(0, ("first", lambda: _note(closed)))
        assert await live.ask(stream=False) == (200, ANSWER)
    assert closed == ["first"]


async def _note(closed: list[str]) -> None:
    closed.append("first")
