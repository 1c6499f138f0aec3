from __future__ import annotations

import pytest

from aiogateway.contracts import Provider
from aiogateway.providers import cohere
from aiogateway.providers.cohere import Cohere
from aiogateway.types import Capability, Endpoint, Host, Origin, Request, Target

COHERE = Cohere()


@pytest.mark.parametrize(
    ("host", "base"), [(None, "https://api.cohere.ai"), ("http://localhost:9/co", "http://localhost:9/co")]
)
def test_paths_begin_with_their_version(host: str | None, base: str) -> None:
    given = None if host is None else Host(host, Origin.OURS, "custom_host")
    target = Target(path="config", provider="cohere", host=given)
    for endpoint, path in ((Endpoint.CHAT, "/v2/chat"), (Endpoint.EMBEDDINGS, "/v2/embed")):
        request = Request(endpoint=endpoint, dialect="", raw=b"{}", body={}, model="m", stream=False)
        assert COHERE.prepare(request, target).url == base + path
    upstream = COHERE.passthrough("POST", "/v1/rerank?x=1", (), target)
    assert upstream is not None
    assert upstream.url == f"{base}/v1/rerank?x=1"


def test_dialects_and_capabilities() -> None:
    dialects = [COHERE.route(endpoint, "openai_chat", "m") for endpoint in (Endpoint.CHAT, Endpoint.EMBEDDINGS)]
    assert [route.dialect for route in dialects if route] == ["cohere_chat", "cohere_embeddings"]
    assert COHERE.route(Endpoint.RESPONSES, "openai_responses", "m") is None
    assert Capability.STREAM_USAGE not in COHERE.capabilities


def test_it_registers_itself() -> None:
    found: list[Provider] = []
    cohere.register_providers(found.append)
    assert [provider.name for provider in found] == ["cohere"]
