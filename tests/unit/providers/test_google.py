from __future__ import annotations

import aiohttp
import orjson
import pytest

from aiogateway.errors import RequestError
from aiogateway.providers.google import Google
from aiogateway.types import (
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

GOOGLE = Google()
BASE = "https://generativelanguage.googleapis.com"
TARGET = Target(path="config", provider="google")


def ask(model: str = "gemini-2.5-flash", endpoint: Endpoint = Endpoint.CHAT, *, stream: bool = False) -> Request:
    return Request(
        endpoint=endpoint, dialect="gemini", raw=b'{"contents":[]}', body={"contents": []}, model=model, stream=stream
    )


async def authorize(upstream: UpstreamRequest, key: str | None) -> UpstreamRequest:
    credential = None if key is None else Credential(Secret(key), Origin.REQUEST, "api_key")
    async with aiohttp.ClientSession() as http:
        return await GOOGLE.authorize(upstream, credential, http)


@pytest.mark.parametrize(
    ("request_", "path"),
    [
        (ask(), "/v1beta/models/gemini-2.5-flash:generateContent"),
        (ask(stream=True), "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse"),
        (ask("models/gemini-2.5-flash"), "/v1beta/models/gemini-2.5-flash:generateContent"),
        (ask("tunedModels/mine"), "/v1beta/tunedModels/mine:generateContent"),
        (ask("a b?c#d:e"), "/v1beta/models/a%20b%3Fc%23d%3Ae:generateContent"),
        (
            ask("gemini-embedding-001", Endpoint.EMBEDDINGS),
            "/v1beta/models/gemini-embedding-001:batchEmbedContents",
        ),
    ],
)
def test_the_model_and_the_method_are_in_the_path(request_: Request, path: str) -> None:
    upstream = GOOGLE.prepare(request_, TARGET)
    assert (upstream.method, upstream.url, upstream.body) == ("POST", BASE + path, request_.raw)


@pytest.mark.parametrize("model", ["", "../files", "models/../files", "models//x", "./x"])
def test_a_model_leads_nowhere_else(model: str) -> None:
    with pytest.raises(RequestError) as caught:
        GOOGLE.prepare(ask(model), TARGET)
    assert caught.value.param == "model"


def test_a_custom_host_has_no_version() -> None:
    target = Target(path="config", provider="google", host=Host("http://127.0.0.1:9", Origin.OURS, "custom_host"))
    assert GOOGLE.prepare(ask(), target).url.startswith("http://127.0.0.1:9/v1beta/models/")


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ("/v1/models?pageSize=2", "/v1beta/models?pageSize=2"),
        ("/v1/v1beta/models/x:countTokens", "/v1beta/models/x:countTokens"),
        ("/v1/v1alpha/authTokens", "/v1alpha/authTokens"),
        ("/v1/upload/v1beta/files", "/upload/v1beta/files"),
    ],
)
def test_passthrough(raw: str, path: str) -> None:
    headers: Headers = (("x-goog-upload-protocol", "resumable"),)
    assert GOOGLE.passthrough("GET", raw, headers, TARGET) == UpstreamRequest(
        method="GET", url=BASE + path, headers=headers
    )


async def test_the_key_is_a_header_in_place_of_the_clients() -> None:
    upstream = GOOGLE.passthrough("GET", "/v1/models", (("x-goog-api-key", "theirs"),), TARGET)
    authorized = await authorize(upstream, "canary")
    assert authorized.headers == (("x-goog-api-key", "canary"),)
    assert "canary" not in authorized.url + repr(authorized)
    assert await authorize(upstream, None) == upstream


def test_other_endpoints_are_not_offered_as_they_are() -> None:
    offered = {endpoint for endpoint in Endpoint if GOOGLE.route(endpoint, "openai_chat", "m") is not None}
    assert offered == {Endpoint.CHAT, Endpoint.EMBEDDINGS}


def test_errors_are_googles() -> None:
    body = orjson.dumps([{"error": {"code": 404, "message": "gone", "status": "NOT_FOUND"}}])
    error = GOOGLE.read_error(404, (), body)
    assert (error.message, error.error_type) == ("gone", "NOT_FOUND")
