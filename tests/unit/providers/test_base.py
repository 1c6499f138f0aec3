from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from aiogateway.errors import RequestError
from aiogateway.providers.base import BaseProvider, check_header, join_url, read_status_error
from aiogateway.types import (
    Credential,
    Endpoint,
    Host,
    Origin,
    Request,
    Route,
    Secret,
    Target,
    UpstreamRequest,
)

HTTP: Any = None  # no credential here needs a session


class Plain(BaseProvider):
    name = "plain"
    base_url = "https://plain.example/api/v3/"
    routes: Mapping[Endpoint, Route] = {Endpoint.CHAT: Route("openai_chat", "/chat")}
    option_headers: Mapping[str, str] = {"plain_team": "x-team", "plain_number": "x-number"}


def request(endpoint: Endpoint = Endpoint.CHAT) -> Request:
    return Request(
        endpoint=endpoint,
        dialect="openai_chat",
        raw=b'{ "model":"m" }',
        body={"model": "m"},
        model="m",
        stream=False,
        headers=(("x-client", "1"), ("authorization", "Bearer client")),
    )


def credential(value: str = "sk-1") -> Credential:
    return Credential(Secret(value), Origin.OURS, "settings.providers.plain.api_key")


TARGET = Target(path="config", provider="plain")


@pytest.mark.parametrize("base", ["https://x.example/v1", "https://x.example/v1/"])
@pytest.mark.parametrize("path", ["/chat", "chat"])
def test_urls_are_joined_with_one_slash(base: str, path: str) -> None:
    assert join_url(base, path) == "https://x.example/v1/chat"


def test_prepare_sends_the_callers_bytes_and_no_header_of_theirs() -> None:
    upstream = Plain().prepare(request(), TARGET)
    assert upstream == UpstreamRequest(
        method="POST",
        url="https://plain.example/api/v3/chat",
        headers=(("content-type", "application/json"), ("accept-encoding", "identity"), ("user-agent", "aiogateway")),
        body=b'{ "model":"m" }',
    )
    assert upstream == Plain().prepare(request(), TARGET)


def test_an_endpoint_that_is_not_offered() -> None:
    assert Plain().route(Endpoint.EMBEDDINGS, "openai_embeddings", "m") is None
    with pytest.raises(RequestError, match="plain does not offer embeddings"):
        Plain().prepare(request(Endpoint.EMBEDDINGS), TARGET)


def test_the_targets_own_host() -> None:
    target = Target(path="config", provider="plain", host=Host("http://127.0.0.1:9/v1", Origin.REQUEST, "custom_host"))
    assert Plain().prepare(request(), target).url == "http://127.0.0.1:9/v1/chat"


def test_options_become_headers() -> None:
    options = {"plain_team": "a-team", "plain_number": 7, "other": "x"}
    upstream = Plain().prepare(request(), Target(path="config", provider="plain", options=options))
    assert upstream.headers[-2:] == (("x-team", "a-team"), ("x-number", "7"))


@pytest.mark.parametrize("value", ["a\r\nx: y", "a\n", "a\0", "\x7f", "\u2028", "ключ"])
def test_what_a_header_cannot_carry_is_refused_by_name(value: str) -> None:
    with pytest.raises(RequestError) as caught:
        Plain().prepare(request(), Target(path="config", provider="plain", options={"plain_team": value}))
    assert caught.value.param == "plain_team"
    assert value not in caught.value.message


def test_latin_1_passes() -> None:
    assert check_header("é", "x") == "é"


async def test_authorize_adds_a_bearer_in_place_of_any_other() -> None:
    upstream = UpstreamRequest(method="POST", url="https://x", headers=(("authorization", "Basic x"), ("x-a", "1")))
    authorized = await Plain().authorize(upstream, credential(), HTTP)
    assert authorized.headers == (("x-a", "1"), ("authorization", "Bearer sk-1"))
    assert await Plain().authorize(upstream, None, HTTP) is upstream
    assert "sk-1" not in repr(authorized)


async def test_a_credential_that_is_no_header_is_refused_without_being_shown() -> None:
    upstream = UpstreamRequest(method="POST", url="https://x", headers=())
    with pytest.raises(RequestError) as caught:
        await Plain().authorize(upstream, credential("sk-canary\r\nx: y"), HTTP)
    assert caught.value.param == "settings.providers.plain.api_key"
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("raw_path", "url"),
    [
        ("/v1/files", "https://plain.example/api/v3/files"),
        ("/v1/files/a%2Fb?x=%20y&x=", "https://plain.example/api/v3/files/a%2Fb?x=%20y&x="),
        ("/v1/v1/x//y/", "https://plain.example/api/v3/v1/x//y/"),
    ],
)
def test_passthrough_keeps_path_and_query_byte_for_byte(raw_path: str, url: str) -> None:
    headers = (("x-client", "1"), ("x-team", "theirs"), ("accept-encoding", "gzip"))
    target = Target(path="config", provider="plain", options={"plain_team": "ours"})
    upstream = Plain().passthrough("PATCH", raw_path, headers, target)
    assert upstream == UpstreamRequest(
        method="PATCH", url=url, headers=(("x-client", "1"), ("accept-encoding", "gzip"), ("x-team", "ours"))
    )
    unchanged = Plain().passthrough("GET", raw_path, headers, TARGET)
    assert unchanged is not None
    assert unchanged.headers == headers


@pytest.mark.parametrize(
    ("body", "message", "kind", "code"),
    [
        ({"error": {"message": "no", "type": "t", "code": "c"}}, "no", "t", "c"),
        ({"error": {"message": "no", "code": 42}}, "no", None, "42"),
        ({"error": "no"}, "no", None, None),
        ({"message": "no", "type": "t"}, "no", "t", None),
        ({"detail": "no"}, "no", None, None),
        ({"detail": [{"loc": ["body"]}]}, '[{"loc":["body"]}]', None, None),
        ([{"error": {"message": "no", "status": "INVALID"}}], "no", None, None),
        ({"object": "error", "message": "no", "type": "NotFoundError", "code": 404}, "no", "NotFoundError", "404"),
        ({}, "plain answered with status 418", None, None),
        ([], "plain answered with status 418", None, None),
        ({"error": {"type": "t"}}, "plain answered with status 418", "t", None),
        ({"error": 7}, "plain answered with status 418", None, None),
        ("text", "plain answered with status 418", None, None),
    ],
)
def test_errors_keep_what_the_provider_said(body: Any, message: str, kind: str | None, code: str | None) -> None:
    raw, headers = orjson.dumps(body), (("retry-after", "2"),)
    error = Plain().read_error(418, headers, raw)
    assert (error.message, error.error_type, error.error_code) == (message, kind, code)
    assert (error.status, error.headers, error.body) == (418, headers, raw)


@pytest.mark.parametrize("body", [b"", b"<html>Bad Gateway</html>", b"\xff\xfe\x00", b"null"])
def test_errors_that_are_no_json(body: bytes) -> None:
    error = read_status_error("plain", 502, (), body)
    assert (error.status, error.message, error.body) == (502, "plain answered with status 502", body)


def test_repr() -> None:
    assert repr(Plain()) == "<provider plain>"
