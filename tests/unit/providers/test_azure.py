from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import aiohttp
import orjson
import pytest
from aioresponses import aioresponses

from aiogateway.contracts import Provider
from aiogateway.errors import RequestError
from aiogateway.providers import azure
from aiogateway.providers.azure import AzureOpenAI
from aiogateway.providers.entra import AUTHORITY
from aiogateway.types import Credential, Endpoint, Host, Origin, Request, Secret, Target, UpstreamRequest

AZURE = AzureOpenAI()
RESOURCE = {"resource_name": "harbour"}
ENTRA: dict[str, Any] = {
    "azure_auth_mode": "entra",
    "azure_entra_tenant_id": "contoso.example",
    "azure_entra_client_id": "client-1",
    "azure_entra_client_secret": Secret("canary-client-secret"),
}
KEY = Credential(Secret("canary-key"), Origin.OURS, "api_key")


def ask(endpoint: Endpoint = Endpoint.CHAT, query: str = "", model: str = "gpt-4o") -> Request:
    body = {"model": model}
    return Request(
        endpoint=endpoint, dialect="", raw=orjson.dumps(body), body=body, model=model, stream=False, query=query
    )


def target(host: str | None = None, **options: Any) -> Target:
    given = None if host is None else Host(host, Origin.REQUEST, "x-portkey-custom-host")
    return Target(path="config", provider="azure-openai", options=options, host=given)


def prepare(endpoint: Endpoint = Endpoint.CHAT, query: str = "", **options: Any) -> UpstreamRequest:
    return AZURE.prepare(ask(endpoint, query), target(**{**RESOURCE, **options}))


@pytest.mark.parametrize(
    ("endpoint", "path"),
    [
        (Endpoint.CHAT, "deployments/pilot/chat/completions"),
        (Endpoint.COMPLETIONS, "deployments/pilot/completions"),
        (Endpoint.EMBEDDINGS, "deployments/pilot/embeddings"),
        (Endpoint.RESPONSES, "responses"),
    ],
)
def test_a_dated_version(endpoint: Endpoint, path: str) -> None:
    upstream = prepare(endpoint, deployment_id="pilot", api_version="2024-10-21")
    assert upstream.url == f"https://harbour.openai.azure.com/openai/{path}?api-version=2024-10-21"
    model = "pilot" if endpoint is Endpoint.RESPONSES else "gpt-4o"  # the URL says it where it can
    assert orjson.loads(upstream.body) == {"model": model}


@pytest.mark.parametrize("options", [{}, {"api_version": "v1"}, {"api_version": " v1 "}])
def test_the_v1_path(options: dict[str, Any]) -> None:
    upstream = prepare(**options)
    assert upstream.url == "https://harbour.openai.azure.com/openai/v1/chat/completions"
    assert orjson.loads(upstream.body) == {"model": "gpt-4o"}


def test_the_v1_path_names_the_deployment_in_the_body() -> None:
    assert orjson.loads(prepare(deployment_id="pilot").body) == {"model": "pilot"}


def test_the_v1_path_has_previews() -> None:
    url = prepare(api_version="preview").url
    assert url == "https://harbour.openai.azure.com/openai/v1/chat/completions?api-version=preview"


def test_a_deployment_is_called_as_its_model_unless_it_is_named() -> None:
    assert "/deployments/gpt-4o/chat/" in prepare(api_version="2024-10-21").url
    assert "/deployments/a%2Fb/chat/" in prepare(api_version="2024-10-21", deployment_id="a/b").url
    with pytest.raises(RequestError, match="deployment_id"):
        AZURE.prepare(ask(model=""), target(**RESOURCE, api_version="2024-10-21"))


def test_portkeys_headers_win_over_its_config_fields() -> None:
    upstream = prepare(
        azure_resource_name="mole", azure_deployment_id="buoy", azure_api_version="2025-01-01", deployment_id="pilot"
    )
    assert upstream.url.startswith("https://mole.openai.azure.com/openai/deployments/buoy/")
    assert upstream.url.endswith("?api-version=2025-01-01")


def test_the_clients_query_is_kept() -> None:
    assert prepare(query="a=1&api-version=2030-01-01", api_version="2024-10-21").url.endswith(
        "?a=1&api-version=2030-01-01"
    )
    assert prepare(query="a=1", api_version="2024-10-21").url.endswith("?a=1&api-version=2024-10-21")
    assert prepare(query="a=1").url.endswith("/chat/completions?a=1")


def test_a_host_of_ones_own_ends_in_openai() -> None:
    upstream = AZURE.prepare(ask(), target("http://localhost:9/openai", deployment_id="d", api_version="2024-10-21"))
    assert upstream.url == "http://localhost:9/openai/deployments/d/chat/completions?api-version=2024-10-21"


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"resource_name": None}, "resource_name"),
        ({"api_version": "2024&x=1"}, "api_version"),
        ({"azure_auth_mode": "managed"}, "azure_auth_mode"),
        ({"azure_auth_mode": "entra", "azure_entra_client_id": "c"}, "azure_entra_tenant_id"),
        ({**ENTRA, "azure_entra_tenant_id": "a/../b"}, "azure_entra_tenant_id"),
    ],
)
def test_what_is_missing_or_odd_is_named(options: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestError) as caught:
        prepare(**options)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("path", "options", "url"),
    [
        ("/v1/files?limit=2", {}, "v1/files?limit=2"),
        ("/v1/files?limit=2", {"api_version": "preview"}, "v1/files?limit=2&api-version=preview"),
        ("/v1/files?limit=2", {"api_version": "2024-10-21"}, "files?limit=2&api-version=2024-10-21"),
        (
            "/v1/audio/speech",
            {"api_version": "2024-10-21", "deployment_id": "tts"},
            "deployments/tts/audio/speech?api-version=2024-10-21",
        ),
    ],
)
def test_passthrough(path: str, options: dict[str, Any], url: str) -> None:
    upstream = AZURE.passthrough("GET", path, (("x-own", "1"),), target(**RESOURCE, openai_beta="b", **options))
    assert upstream is not None
    assert upstream.url == f"https://harbour.openai.azure.com/openai/{url}"
    assert upstream.headers == (("x-own", "1"), ("openai-beta", "b"))


async def test_a_key_goes_into_its_own_header() -> None:
    authorized = await AZURE.authorize(prepare(), KEY, Mock())
    assert ("api-key", "canary-key") in authorized.headers
    assert "authorization" not in dict(authorized.headers)
    assert await AZURE.authorize(prepare(), None, Mock()) == prepare()


@pytest.mark.parametrize("token", [Secret("canary-token"), Secret("Bearer canary-token"), "canary-token"])
async def test_an_ad_token_is_a_bearer(token: Any) -> None:
    upstream = prepare(azure_ad_token=token)
    assert "canary" not in f"{upstream!r} {upstream} {AZURE!r}"
    authorized = await AZURE.authorize(upstream, KEY, Mock())
    assert ("authorization", "Bearer canary-token") in authorized.headers
    assert "api-key" not in dict(authorized.headers)


async def test_an_application_logs_in_at_entra() -> None:
    provider = AzureOpenAI()
    upstream = provider.prepare(ask(), target(**RESOURCE, **ENTRA))
    assert "canary" not in f"{upstream!r} {upstream}"
    with aioresponses() as fake:
        fake.post(
            f"{AUTHORITY}/contoso.example/oauth2/v2.0/token",
            payload={"token_type": "Bearer", "expires_in": 3599, "access_token": "canary-access"},
        )
        async with aiohttp.ClientSession() as http:
            first = await provider.authorize(upstream, None, http)
            second = await provider.authorize(upstream, None, http)  # by the token that is remembered
    assert ("authorization", "Bearer canary-access") in first.headers
    assert first == second
    assert "canary" not in f"{first!r} {first}"


async def test_passthrough_logs_in_too() -> None:
    upstream = AZURE.passthrough("GET", "/v1/models", (), target(**RESOURCE, azure_ad_token=Secret("canary-token")))
    assert upstream is not None
    assert ("authorization", "Bearer canary-token") in (await AZURE.authorize(upstream, None, Mock())).headers


def test_hosts_and_secrets_are_marked() -> None:
    hosts = {name for name, option in AZURE.options.items() if option.host}
    secrets = {name for name, option in AZURE.options.items() if option.secret}
    assert hosts == {"resource_name", "azure_resource_name"}
    assert secrets == {"azure_ad_token", "azure_entra_client_secret"}


def test_content_filter_errors_keep_what_azure_says() -> None:
    body = orjson.dumps(
        {"error": {"code": "content_filter", "message": "filtered", "param": "prompt", "innererror": {"code": "x"}}}
    )
    error = AZURE.read_error(400, (), body)
    assert (error.error_code, error.param, error.body) == ("content_filter", "prompt", body)


def test_it_registers_itself() -> None:
    found: list[Provider] = []
    azure.register_providers(found.append)
    assert [provider.name for provider in found] == ["azure-openai"]
