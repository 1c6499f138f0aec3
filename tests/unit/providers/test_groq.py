from __future__ import annotations

from aiogateway.contracts import Provider
from aiogateway.providers import groq
from aiogateway.providers.groq import Groq
from aiogateway.registry import CLIENT_DIALECTS
from aiogateway.types import Endpoint, Request, Target

GROQ = Groq()


def test_chats_are_verbatim() -> None:
    route = GROQ.route(Endpoint.CHAT, CLIENT_DIALECTS[Endpoint.CHAT], "m")
    assert route is not None
    assert route.dialect == CLIENT_DIALECTS[Endpoint.CHAT]
    request = Request(endpoint=Endpoint.CHAT, dialect="", raw=b"{}", body={}, model="m", stream=False)
    upstream = GROQ.prepare(request, Target(path="config", provider="groq"))
    assert (upstream.url, upstream.body) == ("https://api.groq.com/openai/v1/chat/completions", b"{}")


def test_nothing_else() -> None:
    assert [endpoint for endpoint in Endpoint if GROQ.route(endpoint, "", "m")] == [Endpoint.CHAT]


def test_it_registers_itself() -> None:
    found: list[Provider] = []
    groq.register_providers(found.append)
    assert [provider.name for provider in found] == ["groq"]
