from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import msgspec
import pytest
from aiogateway_plugin_vertex import VertexAI, startup
from aiogateway_plugin_vertex.provider import VertexRequest

from aiogateway.errors import RequestError
from aiogateway.registry import Registry
from aiogateway.settings import load_settings
from aiogateway.types import Credential, Endpoint, Headers, Origin, Request, Secret, Target, UpstreamRequest

HOST = "https://europe-west4-aiplatform.googleapis.com"
PLACE = f"{HOST}/v1/projects/harbour/locations/europe-west4"
CLAUDE = "claude-sonnet-4@20250514"


def target(*, guarded: bool = False, **options: Any) -> Target:
    chosen = {"vertex_project_id": "harbour", "vertex_region": "europe-west4", **options}
    return Target(path="config", provider="vertex-ai", options=chosen, guarded=guarded)


def ask(
    model: str,
    endpoint: Endpoint = Endpoint.CHAT,
    *,
    stream: bool = False,
    body: dict[str, Any] | None = None,
    headers: Headers = (),
) -> Request:
    body = {"model": model, "contents": []} if body is None else body
    return Request(
        endpoint=endpoint,
        dialect="any",
        raw=json.dumps(body).encode(),
        body=body,
        model=model,
        stream=stream,
        headers=headers,
    )


class Tokens:
    """In the place of the provider's own; tells what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[Secret | None] = []

    async def get(self, account: Secret | None, http: aiohttp.ClientSession) -> Secret:
        self.asked.append(account)
        return Secret("minted")


@pytest.fixture
def vertex() -> VertexAI:
    provider = VertexAI()
    provider.tokens = Tokens()  # type: ignore[assignment]
    return provider


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.mark.parametrize(
    ("request_", "path"),
    [
        (ask("gemini-2.5-flash"), "/publishers/google/models/gemini-2.5-flash:generateContent"),
        (
            ask("google.gemini-2.5-flash", stream=True),
            "/publishers/google/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
        ),
        (ask("endpoints.12", stream=True), "/endpoints/12:streamGenerateContent?alt=sse"),
        (ask(CLAUDE), f"/publishers/anthropic/models/{CLAUDE}:rawPredict"),
        (ask(CLAUDE, stream=True), f"/publishers/anthropic/models/{CLAUDE}:streamRawPredict"),
        (
            ask(f"anthropic.{CLAUDE}", Endpoint.MESSAGES, stream=True),
            f"/publishers/anthropic/models/{CLAUDE}:streamRawPredict",
        ),
        (ask(CLAUDE, Endpoint.COUNT_TOKENS), "/publishers/anthropic/models/count-tokens:rawPredict"),
        (
            ask("text-embedding-005", Endpoint.EMBEDDINGS, body={"instances": []}),
            "/publishers/google/models/text-embedding-005:predict",
        ),
        (
            ask("gemini-embedding-001", Endpoint.EMBEDDINGS, body={"content": {}}),
            "/publishers/google/models/gemini-embedding-001:embedContent",
        ),
        (
            ask("gemini-embedding-001", Endpoint.EMBEDDINGS, body={"requests": []}),
            "/publishers/google/models/gemini-embedding-001:batchEmbedContents",
        ),
    ],
)
def test_where_a_request_goes(vertex: VertexAI, request_: Request, path: str) -> None:
    upstream = vertex.prepare(request_, target())
    assert (upstream.method, upstream.url) == ("POST", PLACE + path)


@pytest.mark.parametrize(
    ("endpoint", "model", "dialect"),
    [
        (Endpoint.CHAT, "gemini-2.5-flash", "gemini"),
        (Endpoint.CHAT, CLAUDE, "anthropic"),
        (Endpoint.MESSAGES, CLAUDE, "anthropic"),
        (Endpoint.COUNT_TOKENS, CLAUDE, "anthropic_tokens"),
        (Endpoint.EMBEDDINGS, "text-embedding-005", "vertex_embeddings"),
        (Endpoint.EMBEDDINGS, "gemini-embedding-001", "vertex_content_embeddings"),
        (Endpoint.EMBEDDINGS, CLAUDE, None),
        (Endpoint.MESSAGES, "gemini-2.5-flash", None),
        (Endpoint.COMPLETIONS, "gemini-2.5-flash", None),
    ],
)
def test_routes(vertex: VertexAI, endpoint: Endpoint, model: str, dialect: str | None) -> None:
    route = vertex.route(endpoint, "any", model)
    assert (route and route.dialect) == dialect


def test_what_is_not_offered_is_refused(vertex: VertexAI) -> None:
    with pytest.raises(RequestError, match="does not offer completions"):
        vertex.prepare(ask("gemini-2.5-flash", Endpoint.COMPLETIONS), target())


def test_a_geminis_bytes_stay(vertex: VertexAI) -> None:
    request = ask("gemini-2.5-flash")
    assert vertex.prepare(request, target()).body is request.raw


def test_a_claudes_body_names_the_version_and_not_the_model(vertex: VertexAI) -> None:
    body = {"model": CLAUDE, "max_tokens": 9, "messages": [], "stream": True, "x_unknown": 1}
    rest = {name: value for name, value in body.items() if name != "model"}
    sent = vertex.prepare(ask(CLAUDE, Endpoint.MESSAGES, stream=True, body=body), target()).body
    assert json.loads(sent) == {**rest, "anthropic_version": "vertex-2023-10-16"}
    for endpoint in (Endpoint.CHAT, Endpoint.MESSAGES):
        own = vertex.prepare(ask(CLAUDE, endpoint, body={**body, "anthropic_version": "v2"}), target()).body
        assert json.loads(own)["anthropic_version"] == "v2"
    options = vertex.prepare(ask(CLAUDE, body=body), target(anthropic_version="v3")).body
    assert json.loads(options)["anthropic_version"] == "v3"


@pytest.mark.parametrize(("spoken", "sent"), [("2023-06-01", "vertex-2023-10-16"), ("2026-10-21", "2026-10-21")])
def test_a_client_is_answered_in_the_version_it_speaks(vertex: VertexAI, spoken: str, sent: str) -> None:
    request = ask(CLAUDE, Endpoint.MESSAGES, headers=(("anthropic-version", spoken),))
    assert json.loads(vertex.prepare(request, target()).body)["anthropic_version"] == sent


@pytest.mark.parametrize(("options", "limit"), [({}, 4096), ({"max_tokens": 77}, 77)])
def test_a_chat_without_a_limit_gets_one(vertex: VertexAI, options: dict[str, Any], limit: int) -> None:
    sent = vertex.prepare(ask(CLAUDE, body={"messages": []}), target(**options)).body
    assert json.loads(sent)["max_tokens"] == limit
    asked = vertex.prepare(ask(CLAUDE, Endpoint.MESSAGES, body={"messages": []}), target(**options)).body
    assert "max_tokens" not in json.loads(asked)


def test_betas_of_a_chats_body_are_a_header(vertex: VertexAI) -> None:
    body = {"messages": [], "anthropic_beta": ["a-1", "b-2"]}
    upstream = vertex.prepare(ask(CLAUDE, body=body), target(anthropic_beta="c-3"))
    assert dict(upstream.headers)["anthropic-beta"] == "a-1,b-2"
    assert "anthropic_beta" not in json.loads(upstream.body)


def test_counting_names_the_model(vertex: VertexAI) -> None:
    body = {"model": f"anthropic.{CLAUDE}", "messages": []}
    request = ask(f"anthropic.{CLAUDE}", Endpoint.COUNT_TOKENS, body=body)
    assert json.loads(vertex.prepare(request, target()).body)["model"] == CLAUDE


def test_a_body_that_is_no_json_is_refused(vertex: VertexAI) -> None:
    request = msgspec.structs.replace(ask(CLAUDE, Endpoint.MESSAGES), body={"messages": 1 << 70})
    with pytest.raises(RequestError, match="JSON"):
        vertex.prepare(request, target())


@pytest.mark.parametrize(
    ("headers", "option", "sent"),
    [
        ((("anthropic-beta", "a-1"), ("anthropic-beta", "b-2")), "c-3", "a-1,b-2"),
        ((), "c-3", "c-3"),
        ((), None, None),
    ],
)
def test_betas(vertex: VertexAI, headers: Headers, option: str | None, sent: str | None) -> None:
    upstream = vertex.prepare(ask(CLAUDE, Endpoint.MESSAGES, headers=headers), target(anthropic_beta=option))
    assert dict(upstream.headers).get("anthropic-beta") == sent


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ("/v1/projects/p/locations/l/models?x=1", "/v1/projects/p/locations/l/models?x=1"),
        ("/v1/v1beta1/projects/p", "/v1beta1/projects/p"),
    ],
)
def test_passthrough(vertex: VertexAI, raw: str, path: str) -> None:
    headers: Headers = (("x-goog-user-project", "p"),)
    upstream = vertex.passthrough("GET", raw, headers, target())
    assert (upstream.method, upstream.url, upstream.headers) == ("GET", HOST + path, headers)


def bearer(upstream: UpstreamRequest) -> str | None:
    return dict(upstream.headers).get("authorization")


async def test_a_service_accounts_token_wins(vertex: VertexAI, http: aiohttp.ClientSession) -> None:
    account = Secret('{"project_id": "theirs", "private_key": "canary"}')
    for prepared in (
        vertex.prepare(ask("gemini-2.5-flash"), target(vertex_service_account_json=account)),
        vertex.passthrough("GET", "/v1/models", (), target(vertex_service_account_json=account)),
    ):
        assert "canary" not in repr(prepared)
        credential = Credential(Secret("given"), Origin.REQUEST, "api_key")
        authorized = await vertex.authorize(prepared, credential, http)
        assert bearer(authorized) == "Bearer minted"
        assert type(authorized) is UpstreamRequest
    assert vertex.tokens.asked == [account, account]  # type: ignore[attr-defined]


@pytest.mark.parametrize("said", ["ya29.token", "Bearer ya29.token"])
async def test_a_callers_token_is_a_bearer(vertex: VertexAI, http: aiohttp.ClientSession, said: str) -> None:
    vertex.lends_identity = True
    prepared = vertex.prepare(ask("gemini-2.5-flash"), target())
    authorized = await vertex.authorize(prepared, Credential(Secret(said), Origin.REQUEST, "authorization"), http)
    assert bearer(authorized) == "Bearer ya29.token"
    assert vertex.tokens.asked == []  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("lends", "guarded", "sent"), [(True, False, "Bearer minted"), (True, True, None), (False, False, None)]
)
async def test_our_identity_serves_only_where_it_is_lent(
    vertex: VertexAI, http: aiohttp.ClientSession, lends: bool, guarded: bool, sent: str | None
) -> None:
    """A request that says `vertex_adc` is not heard, nor does a host that it chose get our token."""
    vertex.lends_identity = lends
    prepared = vertex.prepare(ask("gemini-2.5-flash"), target(guarded=guarded, vertex_adc=True))
    assert bearer(await vertex.authorize(prepared, None, http)) == sent


async def test_another_request_is_left_alone(vertex: VertexAI, http: aiohttp.ClientSession) -> None:
    upstream = UpstreamRequest(method="GET", url=HOST, headers=())
    assert await vertex.authorize(upstream, None, http) is upstream
    assert not isinstance(upstream, VertexRequest)


class Gateway:
    def __init__(self, provider: object, options: dict[str, Any] | None) -> None:
        self.registry = Registry(providers={"vertex-ai": provider})  # type: ignore[dict-item]
        self.settings = load_settings(
            {} if options is None else {"providers": {"vertex-ai": {"options": options}}},
            {"HOME": "/nonexistent"},
            None,
        )


@pytest.mark.parametrize(
    ("options", "lends"), [(None, False), ({}, False), ({"vertex_adc": True}, True), ({"vertex_adc": False}, False)]
)
async def test_only_the_settings_lend_our_identity(
    vertex: VertexAI, options: dict[str, Any] | None, lends: bool
) -> None:
    await startup(Gateway(vertex, options))
    assert vertex.lends_identity is lends


async def test_a_provider_in_our_place_is_left_alone() -> None:
    other = object()
    await startup(Gateway(other, {"vertex_adc": True}))
    assert not hasattr(other, "lends_identity")


def test_errors_are_googles_or_anthropics(vertex: VertexAI) -> None:
    google = vertex.read_error(403, (), b'{"error":{"code":403,"message":"no","status":"PERMISSION_DENIED"}}')
    claude = vertex.read_error(400, (), b'{"type":"error","error":{"type":"invalid_request_error","message":"no"}}')
    html = vertex.read_error(404, (), b"<html>")
    assert [error.error_type for error in (google, claude, html)] == [
        "PERMISSION_DENIED",
        "invalid_request_error",
        None,
    ]
