"""Who may knock while no key is asked for: the Host and Origin rules, on every route, before anything else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from aiogateway.testing.upstream import stream, unary
from aiogateway.types import Outcome
from tests.stage import GOOD, SEEN, Client, Stage, stage

ANSWER = b'{"object":"chat.completion","choices":[]}'
CHAT = "/v1/chat/completions"
PAGE = "https://app.example"
ROUTES = [
    ("GET", "/"), ("GET", "/metrics"), ("GET", "/v1/models"), ("POST", CHAT), ("POST", "/v1/embeddings"),
    ("GET", "/v1/files"), ("DELETE", "/v1/files/f"), ("OPTIONS", CHAT), ("GET", "/v1/configs"), ("GET", "/nowhere"),
]  # fmt: skip


async def knock(live: Stage, method: str, path: str, **headers: str) -> tuple[int, Client, bytes]:
    """One request, which names the upstream; its status, the client and the body."""
    client = await live.connect()
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    client.send(method, path, {**live.target(), **given}, b'{"model":"m"}' if method == "POST" else b"")
    await client.head()
    return client.status, client, await client.body()


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "evil.example:8787", "0x7f.1"]
)
async def test_a_page_that_led_its_own_name_here_is_refused_on_every_route(host: str) -> None:
    async with stage(unary(ANSWER)) as live:
        for method, path in ROUTES:
            status, _, body = await knock(live, method, path, Host=host)
            assert (method, path, status) == (method, path, 400)
            assert orjson.loads(body)["error"]["type"] == "invalid_request_error"
        assert live.up.connections == []
        assert {record.outcome for record in live.records} == {Outcome.REFUSED}
        assert len(live.records) == len(ROUTES)


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost:3000", "https://app.example.evil"]
)
async def test_a_page_is_refused_on_every_route(origin: str, tmp_path: Path) -> None:
    async with stage(unary(ANSWER), tmp=tmp_path, cors_origins=[PAGE]) as live:
        for method, path in ROUTES:
            status, client, _ = await knock(live, method, path, Origin=origin)
            assert (method, path, status) == (method, path, 403)
            assert "access-control-allow-origin" not in client.headers
        assert live.up.connections == []


async def test_json_sent_as_text_which_needs_no_leave_spends_no_money() -> None:
    async with stage(unary(ANSWER)) as live:
        status, _, _ = await knock(live, "POST", CHAT, Origin="https://evil.example", Content_Type="text/plain")
        assert status == 403
        assert live.up.connections == []


async def test_health_is_for_everybody() -> None:
    async with stage(unary(ANSWER)) as live:
        for path in ("/healthz", "/readyz"):
            assert (await knock(live, "GET", path, Host="10.1.2.3:8787", Origin="https://evil.example"))[0] == 200


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:1", "127.0.0.1:8787", "127.1.2.3", "[::1]:8787", "a.localhost"]
)
async def test_loopback_names_are_ours(host: str) -> None:
    async with stage(unary(ANSWER)) as live:
        assert (await knock(live, "POST", CHAT, Host=host))[0] == 200


async def test_names_of_the_settings_are_ours_too(tmp_path: Path) -> None:
    async with stage(unary(ANSWER), tmp=tmp_path, allowed_hosts=["gateway.corp"]) as live:
        assert (await knock(live, "POST", CHAT, Host="gateway.corp:80"))[0] == 200
        assert (await knock(live, "POST", CHAT, Host="other.corp"))[0] == 400


async def test_no_host_and_two_hosts_are_none() -> None:
    async with stage(unary(ANSWER)) as live:
        for lines in (b"", b"Host: localhost\r\nHost: evil.example\r\n"):
            client = await live.connect()
            client.writer.write(b"GET / HTTP/1.1\r\n" + lines + b"\r\n")
            assert (await client.answer())[0] == 400


# ---------------------------------------------------------------- pages that may


async def test_an_allowed_page_asks_first_and_then_streams(tmp_path: Path) -> None:
    async with stage(stream(GOOD), tmp=tmp_path, cors_origins=[PAGE]) as live:
        asked: dict[str, Any] = {
            "Origin": PAGE,
            "Access_Control_Request_Method": "POST",
            "Access_Control_Request_Headers": "authorization,content-type,x-portkey-provider",
        }
        status, client, _ = await knock(live, "OPTIONS", CHAT, **asked)
        assert status == 204
        assert client.headers["access-control-allow-origin"] == PAGE
        assert client.headers["access-control-allow-headers"] == "authorization,content-type,x-portkey-provider"
        assert "POST" in client.headers["access-control-allow-methods"]
        assert client.headers["vary"] == "origin"
        assert live.up.connections == []

        client = await live.post(headers={"Origin": PAGE})
        assert await client.answer() == (200, SEEN)
        assert client.headers["access-control-allow-origin"] == PAGE
        assert client.headers["access-control-expose-headers"] == "*"


async def test_an_allowed_page_may_read_errors(tmp_path: Path) -> None:
    async with stage(unary(b"{}", status=429), tmp=tmp_path, cors_origins=[PAGE]) as live:
        for method, path, expected in (("POST", CHAT, 429), ("GET", "/nowhere", 404), ("GET", "/v1/configs", 501)):
            status, client, _ = await knock(live, method, path, Origin=PAGE)
            assert (status, client.headers["access-control-allow-origin"]) == (expected, PAGE)


async def test_a_provider_s_own_cors_headers_do_not_open_the_door(tmp_path: Path) -> None:
    theirs = (("access-control-allow-origin", "*"), ("access-control-allow-credentials", "true"))
    async with stage(unary(ANSWER, headers=theirs), tmp=tmp_path, cors_origins=[PAGE]) as live:
        for path in (CHAT, "/v1/files"):
            client = await live.post(path=path, stream=False, headers={"Origin": PAGE})
            assert await client.answer() == (200, ANSWER)
            assert client.headers["access-control-allow-origin"] == PAGE
            assert "access-control-allow-credentials" not in client.headers
