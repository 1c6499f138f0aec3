from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import pytest

from aiogateway.errors import Forbidden, RequestError
from aiogateway.server import door as module
from aiogateway.server.door import EXEMPT, Door

PAGE = "https://app.example"


def make_door(*, allowed_hosts: Sequence[str] = (), cors_origins: Sequence[str] = ()) -> Door:
    return Door(SimpleNamespace(allowed_hosts=allowed_hosts, cors_origins=cors_origins))


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:8787",
        "LocalHost:8787",
        "dev.localhost",
        "a.b.localhost:1",
        "127.0.0.1",
        "127.0.0.1:8787",
        "127.255.1.2",
        "[::1]",
        "[::1]:8787",
        "[0:0:0:0:0:0:0:1]",
    ],
)
def test_loopback_hosts_pass(host: str) -> None:
    door = make_door()
    assert door.refuse(host, None) is None
    assert door.refuse(host, None) is None  # from memory too


@pytest.mark.parametrize(
    "host",
    [
        None,
        "",
        ":8787",
        "evil.example",
        "evil.example:8787",
        "localhost.evil.example",
        "evillocalhost",
        "127.0.0.1.nip.example",
        "localhost:evil",
        "localhost:123456",
        "localhost:80:80",
        "user@localhost",
        "localhost@evil.example",
        "localhost/",
        "localhost#",
        "local host",
        "localhost\n",
        "localhost.",
        "0.0.0.0",
        "10.0.0.1",
        "128.0.0.1",
        "127.1",
        "127.0.0.01",
        "2130706433",
        "0x7f.1",
        "::1",
        "[::2]",
        "[::ffff:127.0.0.1]",
        "[::1",
        "[]",
        "１２７.0.0.1",
    ],
)
def test_other_hosts_are_a_bad_request(host: str | None) -> None:
    door = make_door()
    for _ in range(2):
        error = door.refuse(host, None)
        assert isinstance(error, RequestError)
        assert error.status == 400
        assert "allowed_hosts" in error.message


@pytest.mark.parametrize(
    ("allowed", "host", "passes"),
    [
        ("gateway.lan", "gateway.lan", True),
        ("gateway.lan", "Gateway.LAN:8787", True),
        ("Gateway.LAN", "gateway.lan", True),
        ("gateway.lan", "sub.gateway.lan", False),
        ("gateway.lan:8787", "gateway.lan:8787", True),
        ("gateway.lan:8787", "gateway.lan", False),
        ("gateway.lan:8787", "gateway.lan:80", False),
        ("10.0.0.1", "10.0.0.1:8787", True),
        ("10.0.0.1:8787", "10.0.0.1:8787", True),
        ("fd00::1", "[fd00::1]:8787", True),
        ("[fd00::1]", "[fd00::1]", True),
        ("[fd00::1]:8787", "[fd00::1]:8787", True),
        ("[fd00::1]:8787", "[fd00::1]", False),
    ],
)
def test_allowed_hosts(allowed: str, host: str, passes: bool) -> None:
    error = make_door(allowed_hosts=[allowed]).refuse(host, None)
    assert (error is None) is passes


@pytest.mark.parametrize("origin", [PAGE, "null", "", "http://localhost:8787", "file://", "*"])
def test_no_page_may_call_by_default(origin: str) -> None:
    error = make_door().refuse("localhost", origin)
    assert isinstance(error, Forbidden)
    assert error.status == 403
    assert "cors_origins" in error.message


@pytest.mark.parametrize(
    ("configured", "origin", "passes"),
    [
        (PAGE, PAGE, True),
        ("https://App.example/", PAGE, True),
        (PAGE, "http://app.example", False),
        (PAGE, "https://app.example:8443", False),
        (PAGE, "https://app.example.evil.example", False),
        (PAGE, "https://evil.example, https://app.example", False),
        ("null", "null", False),
        ("*", PAGE, False),
    ],
)
def test_origins(configured: str, origin: str, passes: bool) -> None:
    error = make_door(cors_origins=[configured]).refuse("localhost", origin)
    assert (error is None) is passes


def test_an_allowed_origin_excuses_no_host() -> None:
    error = make_door(cors_origins=[PAGE]).refuse("evil.example", PAGE)
    assert isinstance(error, RequestError)


def test_memory_of_hosts_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_SEEN", 3)
    door = make_door()
    for port in range(1, 10):
        assert door.refuse(f"localhost:{port}", None) is None
        assert isinstance(door.refuse(f"evil.example:{port}", None), RequestError)
    assert door._seen == {"localhost:1", "localhost:2", "localhost:3"}
    assert door.refuse("localhost:9", None) is None


def test_only_health_is_exempt() -> None:
    assert sorted(EXEMPT) == ["/healthz", "/readyz"]


def test_answers_to_an_allowed_page_say_so() -> None:
    door = make_door(cors_origins=[PAGE])
    headers = dict(door.cors_headers(PAGE))
    assert headers["access-control-allow-origin"] == PAGE
    assert headers["access-control-expose-headers"] == "*"
    assert headers["vary"] == "origin"
    assert "access-control-allow-credentials" not in headers
    assert door.cors_headers(None) == ()
    assert door.cors_headers("https://evil.example") == ()


def test_preflight_of_an_allowed_page() -> None:
    asked = "authorization, content-type,x-portkey-provider"
    headers = dict(make_door(cors_origins=[PAGE]).preflight("OPTIONS", PAGE, "POST", asked))
    assert headers["access-control-allow-origin"] == PAGE
    assert "POST" in headers["access-control-allow-methods"]
    assert headers["access-control-allow-headers"] == asked
    assert int(headers["access-control-max-age"]) > 0


def test_preflight_without_headers() -> None:
    headers = dict(make_door(cors_origins=[PAGE]).preflight("OPTIONS", PAGE, "GET", None))
    assert "access-control-allow-headers" not in headers
    assert headers["access-control-allow-origin"] == PAGE


@pytest.mark.parametrize("asked", ["x-a\r\nx-evil: 1", "x-a; b", "x-a,,x-b", "é", " "])
def test_preflight_repeats_header_names_only(asked: str) -> None:
    headers = dict(make_door(cors_origins=[PAGE]).preflight("OPTIONS", PAGE, "POST", asked))
    assert "access-control-allow-headers" not in headers


@pytest.mark.parametrize(
    ("method", "origin", "asked"),
    [
        ("OPTIONS", PAGE, None),
        ("POST", PAGE, "POST"),
        ("OPTIONS", None, "POST"),
        ("OPTIONS", "https://e.example", "POST"),
    ],
)
def test_everything_else_is_no_preflight(method: str, origin: str | None, asked: str | None) -> None:
    assert make_door(cors_origins=[PAGE]).preflight(method, origin, asked, None) == ()
