from __future__ import annotations

from typing import Any

import orjson
import pytest

from aiogateway.contracts import Provider
from aiogateway.providers import mistral
from aiogateway.providers.mistral import Mistral
from aiogateway.types import Capability, Endpoint, Host, Origin, Request, Target

MISTRAL = Mistral()


def ask(endpoint: Endpoint = Endpoint.CHAT, **body: Any) -> Request:
    return Request(endpoint=endpoint, dialect="", raw=orjson.dumps(body), body=body, model="m", stream=False)


def target(**options: Any) -> Target:
    return Target(path="config", provider="mistral-ai", options=options)


def send(endpoint: Endpoint = Endpoint.CHAT, **body: Any) -> Any:
    return orjson.loads(MISTRAL.prepare(ask(endpoint, **body), target()).body)


@pytest.mark.parametrize(
    ("said", "sent"),
    [
        ({"seed": 3}, {"random_seed": 3}),
        ({"safe_mode": True}, {"safe_prompt": True}),
        ({"max_completion_tokens": 9}, {"max_tokens": 9}),
        ({"tool_choice": "required"}, {"tool_choice": "any"}),
        ({"tool_choice": "none"}, {"tool_choice": "none"}),
        ({"reasoning_effort": "low"}, {"reasoning_effort": "high"}),
        ({"reasoning_effort": "minimal"}, {"reasoning_effort": "none"}),
        ({"stream_options": {"include_usage": True}}, {}),
        ({"messages": [{"role": "developer", "content": "x"}]}, {"messages": [{"role": "system", "content": "x"}]}),
    ],
)
def test_quirks(said: dict[str, Any], sent: dict[str, Any]) -> None:
    assert send(**said) == sent


def test_embeddings() -> None:
    assert send(Endpoint.EMBEDDINGS, dimensions=8, input="x") == {"output_dimension": 8, "input": "x"}
    assert MISTRAL.prepare(ask(Endpoint.EMBEDDINGS), target()).url == "https://api.mistral.ai/v1/embeddings"


def test_an_ordinary_request_keeps_its_bytes() -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "temperature": 0.5}
    request = Request(
        endpoint=Endpoint.CHAT, dialect="", raw=b"  " + orjson.dumps(body), body=body, model="m", stream=False
    )
    assert MISTRAL.prepare(request, target()).body is request.raw


@pytest.mark.parametrize(
    ("model", "dialect"),
    [("mistral-large-latest", "openai_chat"), ("magistral-medium-2507", "mistral_chat"), ("", "openai_chat")],
)
def test_models_that_think_are_translated(model: str, dialect: str) -> None:
    route = MISTRAL.route(Endpoint.CHAT, "openai_chat", model)
    assert route is not None
    assert route.dialect == dialect
    assert MISTRAL.route(Endpoint.RESPONSES, "openai_responses", model) is None


def test_fill_in_the_middle() -> None:
    assert (
        MISTRAL.prepare(ask(), target(mistral_fim_completion="true")).url == "https://api.mistral.ai/v1/fim/completions"
    )
    assert MISTRAL.prepare(ask(), target(mistral_fim_completion="false")).url.endswith("/v1/chat/completions")
    host = Target(
        path="config",
        provider="mistral-ai",
        options={"mistral_fim_completion": "true"},
        host=Host("http://localhost:1/v1", Origin.OURS, "custom_host"),
    )
    assert MISTRAL.prepare(ask(), host).url == "http://localhost:1/v1/fim/completions"


def test_usage_is_never_asked_for() -> None:
    assert Capability.STREAM_USAGE not in MISTRAL.capabilities
    assert Capability.USAGE in MISTRAL.capabilities


def test_it_registers_itself() -> None:
    found: list[Provider] = []
    mistral.register_providers(found.append)
    assert [provider.name for provider in found] == ["mistral-ai"]
