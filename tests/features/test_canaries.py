"""Keys and contents planted everywhere, everything at DEBUG, in every kind of call: none turns up anywhere."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from aiogateway.testing import FakeUpstream
from aiogateway.testing.upstream import Cut, Hang, Reset, Script, Send, garbage, head, stream, unary
from tests.process import serve, until
from tests.stage import GOOD, Client, event, stage

CANARY = "canary"
ANSWER = b'{"object":"chat.completion","choices":[]}'
CHAT = "/v1/chat/completions"
LIMITS = {"connect": 0.05, "first_token": 0.03, "unary": 0.03, "idle": 0.03}
KEYS = {
    "Authorization": "Bearer sk-canary-bearer",
    "x-api-key": "canary-x-api-key",
    "x-goog-api-key": "canary-goog",
    "api-key": "canary-api-key",
    "x-portkey-api-key": "agw-canary",
    "x-custom": "canary-custom",
    "Cookie": "canary-cookie",
    "Proxy-Authorization": "Basic canary",
    "x-portkey-forward-headers": "x-custom,x-api-key",
}
BODY = orjson.dumps({"model": "m", "stream": True, "messages": [{"role": "user", "content": "canary-content"}]})


def hosts(up: FakeUpstream) -> Iterator[dict[str, Any]]:
    """Configs, good and bad in every way that has a message of its own."""
    good = {"provider": "openai", "custom_host": f"{up.url}/v1", "api_key": "sk-canary-config"}
    yield good
    yield {**good, "custom_host": "http://user:canary@127.0.0.1/v1"}
    yield {**good, "custom_host": "http://127.0.0.1/v1?key=canary"}
    yield {**good, "custom_host": "http://127.0.0.1:1/v1"}
    yield {**good, "custom_host": "https://127.0.0.1:1/v1"}
    yield {**good, "custom_host": up.url.replace("http:", "https:")}
    yield {**good, "api_key": "sk-canary\r\nx: y"}
    yield {**good, "api_key": ["sk-canary"]}
    yield {**good, "api_key": "sk-canary-é"}
    yield {**good, "provider": "unheard-of"}
    yield {**good, "no_such_field": "canary"}
    yield {**good, "request_timeout": "soon"}
    yield {**good, "retry": {"attempts": 0, "api_key": "canary"}}
    yield {"strategy": {"mode": "fallback"}, "targets": [good, {**good, "api_key": "sk-canary-2"}]}
    yield {"strategy": {"mode": "fallback"}, "targets": [good, {"virtual_key": "sk-canary-pasted"}]}
    yield {**good, "override_params": {"user": "canary"}}


def calls(up: FakeUpstream) -> Iterator[tuple[str, str, dict[str, str], bytes]]:
    """Method, path, headers and body of every call that is made."""
    for path in (CHAT, "/v1/files", f"{CHAT}?key=canary&x=canary", "/v1/files?api_key=canary"):
        for config in hosts(up):
            yield "POST", path, {**KEYS, "x-portkey-config": json.dumps(config)}, BODY
        for text in ('{"api_key": "sk-canary"', "sk-canary", '["sk-canary"]', '"pc-canary-slug"'):
            yield "POST", path, {**KEYS, "x-portkey-config": text}, BODY
        for name, value in (
            ("metadata", '{"canary'),
            ("request-timeout", "soon"),
            ("custom-host", "http://canary@x/"),
        ):
            yield "POST", path, {**KEYS, "x-portkey-provider": "openai", f"x-portkey-{name}": value}, BODY
        yield "POST", path, {**KEYS, "x-portkey-config": json.dumps(next(hosts(up)))}, b'{"model": "canary'
        yield "POST", path, KEYS, BODY
    yield "GET", "/v1/models?key=canary", KEYS, b""
    yield "GET", "/v1/configs?key=canary", KEYS, b""
    yield "GET", "/nowhere?key=canary", {**KEYS, "Origin": "https://canary.example"}, b""
    yield "GET", "/nowhere?key=canary", {**KEYS, "Host": "canary.example"}, b""


SCRIPTS: dict[str, Script] = {
    "unary": unary(ANSWER),
    "stream": stream(GOOD),
    "error": unary(b'{"error":{"message":"no"}}', status=401),
    "odd error": unary(b"<html>", status=500, media_type="text/html"),
    "reset": (Reset(),),
    "garbage": (garbage(), Cut()),
    "cut": (*stream(event("a"), end=False), Cut()),
    "bad json": (*stream(b"data: {canary\n\n", end=False), Cut()),
    "bad gzip": unary(b"no gzip", headers=(("content-encoding", "gzip"),)),
    "bad length": (head(200, (("content-length", "100"),)), Send(ANSWER), Cut()),
    "silent": (Hang(),),
}


@pytest.mark.parametrize("name", SCRIPTS)
async def test_nothing_planted_turns_up(name: str, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    caplog.set_level(logging.DEBUG)
    log = tmp_path / "calls.jsonl"
    settings: dict[str, Any] = {
        "deadlines": LIMITS,
        "call_log": str(log),
        "check_streams": name == "bad json",
        "log_level": "debug",
    }
    heard = b""
    async with stage(SCRIPTS[name], tmp=tmp_path, **settings) as live:
        count = 0
        for method, path, headers, body in calls(live.up):
            client = await live.connect()
            client.send(method, path, headers, body)
            heard += await _everything(client)
            client.leave()
            count += not path.startswith("/v1/models")  # a list of ours is no call
        await live.recorded(count)
        heard += repr(live.records).encode() + live.gateway.metrics.render()[0]
        heard += repr((live.gateway.settings, live.gateway.registry, live.gateway.tools.__dict__)).encode()
    said = heard.replace(b"data: {canary\n\n", b"")  # the provider's own words are the caller's to read
    assert CANARY.encode() not in said, _around(said)
    assert CANARY.encode() not in log.read_bytes()
    assert CANARY not in caplog.text, _around(caplog.text.encode())


async def _everything(client: Client) -> bytes:
    """Every byte of the answer, with its head."""
    await client.head()
    got = repr(client.headers).encode()
    try:
        return got + await client.body()
    except (EOFError, ConnectionError):
        return got


def _around(text: bytes) -> bytes:
    at = text.find(CANARY.encode())
    return text[max(0, at - 200) : at + 100]


async def test_a_real_process_says_nothing_either(tmp_path: Path) -> None:
    log = tmp_path / "calls.jsonl"
    settings: dict[str, Any] = {
        "call_log": str(log),
        "deadlines": {**LIMITS, "unary": 5, "first_token": 5},
        "providers": {"openai": {"api_key": "${MY_KEY}"}},
        "default_config": {"provider": "openai", "api_key": "sk-canary-default"},
    }
    proxy = "http://user:canary@127.0.0.1:1"
    environ = {"MY_KEY": "sk-canary-settings", "https_proxy": proxy, "no_proxy": "127.0.0.1"}
    async with (
        FakeUpstream(unary(ANSWER)) as up,
        serve(tmp_path, "--log-level", "debug", environ=environ, **settings) as served,
    ):
        for method, path, headers, body in calls(up):
            client = await served.connect()
            client.send(method, path, headers, body)
            assert CANARY.encode() not in await _everything(client)
        client = await served.connect()
        client.writer.write(b"GET / HTTP/1.1\r\nAuthorization: Bearer canary\x00\r\n\r\n")
        assert CANARY.encode() not in await _everything(client)
        served.process.terminate()
        assert await served.ended() == 0
        await until(lambda: up.open == 0)
    assert CANARY not in "".join(served.lines)
    assert CANARY.encode() not in log.read_bytes()
