from __future__ import annotations

from unittest.mock import Mock

import pytest
from aiogateway_plugin_ollama import Ollama

from aiogateway.types import Credential, Endpoint, Host, Origin, Request, Secret, Target

OLLAMA = Ollama()
TARGET = Target(path="config", provider="ollama")
AWAY = Target(path="config", provider="ollama", host=Host("http://gpu:11434", Origin.OURS, "custom_host"))


@pytest.mark.parametrize(
    ("endpoint", "dialect", "path"),
    [
        (Endpoint.CHAT, "ollama_chat", "/api/chat"),
        (Endpoint.EMBEDDINGS, "ollama_embed", "/api/embed"),
        (Endpoint.COMPLETIONS, "openai_completions", "/v1/completions"),
        (Endpoint.RESPONSES, "openai_responses", "/v1/responses"),
    ],
)
def test_each_endpoint_has_its_place(endpoint: Endpoint, dialect: str, path: str) -> None:
    request = Request(endpoint=endpoint, dialect=dialect, raw=b"{}", body={}, model="m", stream=True)
    route = OLLAMA.route(endpoint, f"openai_{endpoint.name.lower()}", "m")
    assert route is not None
    assert (route.dialect, route.path) == (dialect, path)
    assert OLLAMA.prepare(request, TARGET).url == f"http://127.0.0.1:11434{path}"
    assert OLLAMA.prepare(request, AWAY).url == f"http://gpu:11434{path}"


def test_passthrough_keeps_v1() -> None:
    upstream = OLLAMA.passthrough("GET", "/v1/models?a=%2F", (("x-a", "b"),), AWAY)
    assert upstream.url == "http://gpu:11434/v1/models?a=%2F"
    assert upstream.headers == (("x-a", "b"),)


async def test_a_key_is_needed_by_nobody_but_goes_along() -> None:
    request = Request(endpoint=Endpoint.CHAT, dialect="ollama_chat", raw=b"{}", body={}, model="m", stream=True)
    prepared = OLLAMA.prepare(request, TARGET)
    assert await OLLAMA.authorize(prepared, None, Mock()) == prepared
    credential = Credential(Secret("k"), Origin.REQUEST, "authorization")
    assert ("authorization", "Bearer k") in (await OLLAMA.authorize(prepared, credential, Mock())).headers
