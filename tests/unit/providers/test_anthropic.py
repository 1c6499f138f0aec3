from __future__ import annotations

from typing import Any

import aiohttp
import orjson
import pytest

from aiogateway.contracts import Provider
from aiogateway.errors import ConfigError, RequestError
from aiogateway.providers import anthropic
from aiogateway.providers.anthropic import Anthropic, fill_limit
from aiogateway.types import (
    Capability,
    Credential,
    Endpoint,
    Headers,
    Host,
    Origin,
    Request,
    Secret,
    Target,
    UpstreamRequest,
)

PROVIDER = Anthropic()
DIALECTS = {Endpoint.CHAT: "openai_chat", Endpoint.MESSAGES: "anthropic", Endpoint.COUNT_TOKENS: "anthropic_tokens"}


def request(endpoint: Endpoint = Endpoint.CHAT, query: str = "", headers: Headers = (), **fields: Any) -> Request:
    body = {"model": "claude", "messages": [], **fields}
    return Request(
        endpoint=endpoint,
        dialect="anthropic",
        raw=orjson.dumps(body),
        body=body,
        model="claude",
        stream=False,
        query=query,
        headers=headers,
    )


def target(**fields: Any) -> Target:
    return Target(path="config", provider="anthropic", **fields)


def sent(upstream: UpstreamRequest | None) -> dict[str, str]:
    assert upstream is not None
    headers = dict(upstream.headers)
    assert len(headers) == len(upstream.headers)
    return headers


@pytest.mark.parametrize(
    ("endpoint", "dialect", "path"),
    [
        (Endpoint.CHAT, "anthropic", "/messages"),
        (Endpoint.MESSAGES, "anthropic", "/messages"),
        (Endpoint.COUNT_TOKENS, "anthropic_tokens", "/messages/count_tokens"),
    ],
)
def test_where_it_serves_what(endpoint: Endpoint, dialect: str, path: str) -> None:
    route = PROVIDER.route(endpoint, DIALECTS[endpoint], "claude")
    assert route is not None
    assert (route.dialect, route.path) == (dialect, path)
    assert PROVIDER.prepare(request(endpoint), target()).url == f"https://api.anthropic.com/v1{path}"


def test_it_has_no_embeddings() -> None:
    assert PROVIDER.route(Endpoint.EMBEDDINGS, "openai_embeddings", "claude") is None
    assert Capability.EMBEDDINGS not in PROVIDER.capabilities


def test_the_same_wire_keeps_its_bytes_its_query_and_its_headers() -> None:
    said: Headers = (
        ("anthropic-version", "2023-06-01"),
        ("anthropic-beta", "claude-code-20250219,interleaved-thinking-2025-05-14"),
        ("x-app", "cli"),
    )
    options = {"anthropic_version": "2024-01-01", "anthropic_beta": "ours"}
    host = Host("http://localhost:1/v1", Origin.REQUEST, "x-portkey-custom-host")
    asked = request(Endpoint.MESSAGES, query="beta=true", headers=said)
    upstream = PROVIDER.prepare(asked, target(options=options, host=host))
    assert upstream.body == asked.raw
    assert upstream.url == "http://localhost:1/v1/messages?beta=true"
    headers = sent(upstream)
    assert headers["anthropic-version"] == "2023-06-01"
    assert headers["anthropic-beta"] == said[1][1]
    assert "x-app" not in headers


@pytest.mark.parametrize(
    ("options", "fields", "expected"),
    [
        ({}, {}, {"anthropic-version": "2023-06-01"}),
        (
            {"anthropic_version": "2024-01-01", "anthropic_beta": "b"},
            {},
            {"anthropic-version": "2024-01-01", "anthropic-beta": "b"},
        ),
        (
            {"anthropic_beta": "b"},
            {"anthropic_beta": ["c", "d"], "anthropic_version": "2024-01-01"},
            {"anthropic-version": "2024-01-01", "anthropic-beta": "c,d"},
        ),
    ],
)
def test_version_and_betas_of_a_chat(options: dict[str, Any], fields: dict[str, Any], expected: dict[str, str]) -> None:
    upstream = PROVIDER.prepare(request(max_tokens=1, **fields), target(options=options))
    assert {name: value for name, value in sent(upstream).items() if name.startswith("anthropic-")} == expected
    assert orjson.loads(upstream.body) == {"model": "claude", "messages": [], "max_tokens": 1}


def test_a_header_can_not_be_ended_from_the_body() -> None:
    with pytest.raises(RequestError) as caught:
        PROVIDER.prepare(request(anthropic_beta="a\r\nx-api-key: b"), target())
    assert caught.value.param == "anthropic_beta"


@pytest.mark.parametrize(
    ("options", "fields", "limit"),
    [
        ({}, {}, 4096),
        ({}, {"max_tokens": None}, 4096),
        ({"max_tokens": 9000}, {}, 9000),
        ({"max_tokens": 9000}, {"max_tokens": 5}, 5),
        ({}, {"max_tokens": 0}, 0),
        ({}, {"thinking": {"type": "enabled", "budget_tokens": 8192}}, 12_288),
        ({}, {"thinking": {"type": "adaptive"}}, 4096),
    ],
)
def test_a_limit_for_clients_that_gave_none(options: dict[str, Any], fields: dict[str, Any], limit: int) -> None:
    filled = fill_limit(request(**fields), target(options=options))
    assert filled.body["max_tokens"] == limit
    assert orjson.loads(filled.raw) == filled.body


def test_a_limit_is_never_put_into_a_message() -> None:
    assert b"max_tokens" not in PROVIDER.prepare(request(Endpoint.MESSAGES), target()).body


def test_a_limit_of_nothing_is_refused() -> None:
    with pytest.raises((RequestError, ConfigError)) as caught:
        fill_limit(request(), target(options={"max_tokens": 0}))
    assert caught.value.param == "max_tokens"


async def authorize(secret: str) -> dict[str, str]:
    upstream = UpstreamRequest(method="POST", url="u", headers=(("x-api-key", "old"), ("authorization", "old")))
    credential = Credential(Secret(secret), Origin.OURS, "api_key")
    async with aiohttp.ClientSession() as http:
        return sent(await PROVIDER.authorize(upstream, credential, http))


async def test_a_key_has_its_own_header_and_a_token_is_a_bearer() -> None:
    assert (await authorize("sk-ant-api03-x"))["x-api-key"] == "sk-ant-api03-x"
    assert (await authorize("sk-ant-oat01-x"))["authorization"] == "Bearer sk-ant-oat01-x"


async def test_without_a_credential_nothing_is_added() -> None:
    upstream = PROVIDER.prepare(request(max_tokens=1), target())
    async with aiohttp.ClientSession() as http:
        assert await PROVIDER.authorize(upstream, None, http) == upstream


def test_passthrough() -> None:
    said: Headers = (("anthropic-beta", "files-api-2025-04-14"), ("accept", "*/*"))
    headers = sent(PROVIDER.passthrough("GET", "/v1/files?limit=2", said, target(options={"anthropic_beta": "b"})))
    assert headers == {"accept": "*/*", "anthropic-beta": "files-api-2025-04-14", "anthropic-version": "2023-06-01"}
    upstream = PROVIDER.passthrough("GET", "/v1/models", (("anthropic-version", "2024-01-01"),), target())
    assert sent(upstream) == {"anthropic-version": "2024-01-01"}
    assert upstream is not None
    assert upstream.url == "https://api.anthropic.com/v1/models"


def test_errors() -> None:
    body = b'{"type":"error","error":{"type":"rate_limit_error","message":"slow down"},"request_id":"r"}'
    error = PROVIDER.read_error(429, (("retry-after", "17"),), body)
    assert (error.status, error.message, error.error_type) == (429, "slow down", "rate_limit_error")
    assert error.body == body


def test_it_registers_itself() -> None:
    found: list[Provider] = []
    anthropic.register_providers(found.append)
    assert [provider.name for provider in found] == ["anthropic"]
