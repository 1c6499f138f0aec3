from __future__ import annotations

import pytest

from aiogateway.contracts import Provider
from aiogateway.providers import openai
from aiogateway.providers.openai import OpenAI
from aiogateway.registry import CLIENT_DIALECTS
from aiogateway.types import Capability, Endpoint, Host, Origin, Request, Target

PATHS = {
    Endpoint.CHAT: "/chat/completions",
    Endpoint.COMPLETIONS: "/completions",
    Endpoint.EMBEDDINGS: "/embeddings",
    Endpoint.RESPONSES: "/responses",
}


def request(endpoint: Endpoint) -> Request:
    return Request(endpoint=endpoint, dialect="", raw=b"{}", body={}, model="m", stream=False)


@pytest.mark.parametrize("endpoint", PATHS)
def test_what_it_offers_is_in_the_clients_own_wire(endpoint: Endpoint) -> None:
    provider: Provider = OpenAI()
    route = provider.route(endpoint, CLIENT_DIALECTS[endpoint], "gpt-4o")
    assert route is not None
    assert route.dialect == CLIENT_DIALECTS[endpoint]
    target = Target(path="config", provider="openai")
    assert provider.prepare(request(endpoint), target).url == f"https://api.openai.com/v1{PATHS[endpoint]}"


def test_what_is_anthropics_it_does_not_offer() -> None:
    others = [endpoint for endpoint in Endpoint if endpoint not in PATHS]
    assert others == [Endpoint.MESSAGES, Endpoint.COUNT_TOKENS]
    assert [OpenAI().route(endpoint, CLIENT_DIALECTS[endpoint], "gpt-4o") for endpoint in others] == [None, None]


@pytest.mark.parametrize("url", ["http://localhost:8000/v1", "http://localhost:8000/v1/"])
def test_any_compatible_host(url: str) -> None:
    target = Target(path="config", provider="openai", host=Host(url, Origin.REQUEST, "x-portkey-custom-host"))
    assert OpenAI().prepare(request(Endpoint.CHAT), target).url == "http://localhost:8000/v1/chat/completions"
    upstream = OpenAI().passthrough("GET", "/v1/models?x=1", (), target)
    assert upstream is not None
    assert upstream.url == "http://localhost:8000/v1/models?x=1"


def test_organization_and_project() -> None:
    options = {"openai_organization": "org-1", "openai_project": "proj-1", "openai_beta": "assistants=v2"}
    target = Target(path="config", provider="openai", options=options)
    assert OpenAI().prepare(request(Endpoint.CHAT), target).headers[-3:] == (
        ("openai-organization", "org-1"),
        ("openai-project", "proj-1"),
        ("openai-beta", "assistants=v2"),
    )
    assert set(options) == set(OpenAI().options)


def test_capabilities() -> None:
    assert Capability.STREAM_USAGE in OpenAI().capabilities
    assert Capability.PREFILL not in OpenAI().capabilities


def test_it_registers_itself() -> None:
    found: list[Provider] = []
    openai.register_providers(found.append)
    assert [provider.name for provider in found] == ["openai"]
