"""Portkey's own SDK through the gateway, and the configs its users write."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from portkey_ai import AsyncPortkey, Portkey, createHeaders

from tests.clients.upstream import TEXT, TOKENS, USAGE, Fault, Upstream

QUESTION: Any = [{"role": "user", "content": "Who are you?"}]
ASK: dict[str, Any] = {"model": "gpt-3.5-turbo", "messages": QUESTION}


@pytest.fixture
def config(upstream: Upstream) -> dict[str, Any]:
    """The first config of Portkey's LlamaIndex guide, at a host of ours."""
    return {
        "provider": "openai",
        "api_key": "sk-config",
        "override_params": {"model": "gpt-4o", "max_tokens": 64},
        "custom_host": upstream.url,
    }


@pytest.fixture
def portkey(bare_gateway: str, config: dict[str, Any]) -> Portkey:
    return Portkey(api_key="pk-anything", base_url=bare_gateway, config=config)


@pytest.fixture
def async_portkey(bare_gateway: str, config: dict[str, Any]) -> AsyncPortkey:
    return AsyncPortkey(api_key="pk-anything", base_url=bare_gateway, config=config)


def test_a_config_brings_its_key_and_its_overrides(portkey: Portkey, upstream: Upstream) -> None:
    completion = portkey.chat.completions.create(**ASK)

    assert completion.choices[0].message.content == TEXT
    assert upstream.last.json["model"] == "gpt-4o"
    assert upstream.last.json["max_tokens"] == 64
    # The SDK sends the literal "Bearer OPENAI_API_KEY" with every inference call.
    assert upstream.last.headers["authorization"] == "Bearer sk-config"
    assert not [name for name in upstream.last.headers if name.startswith("x-portkey-")]
    assert b"pk-anything" not in upstream.last.body


def test_an_answer_knows_its_trace_id(portkey: Portkey) -> None:
    headers = portkey.with_options(trace_id="trace-9").chat.completions.create(**ASK).get_headers()

    assert headers["trace-id"] == "trace-9"
    assert headers["retry-attempt-count"] == "0"


def test_a_chat_streams(portkey: Portkey) -> None:
    chunks = list(portkey.chat.completions.create(**ASK, stream=True))

    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == TEXT
    assert chunks[-1].choices[0].finish_reason == "stop"


async def test_an_async_chat_streams(async_portkey: AsyncPortkey) -> None:
    stream = await async_portkey.chat.completions.create(**ASK, stream=True)

    assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == TEXT


async def test_an_async_answer_knows_its_trace_id(async_portkey: AsyncPortkey) -> None:
    completion = await async_portkey.chat.completions.create(**ASK)

    assert completion.get_headers()["trace-id"]
    assert completion.usage.total_tokens == USAGE["total_tokens"]


def test_embeddings_arrive(portkey: Portkey) -> None:
    answer = portkey.embeddings.create(model="text-embedding-3-small", input="a", encoding_format="float")

    assert list(answer.data[0].embedding) == [0.25, -0.5, 1.0]


async def test_a_response_streams(async_portkey: AsyncPortkey) -> None:
    stream = await async_portkey.responses.create(model="gpt-4o", input="Who are you?", stream=True)

    deltas = [event.delta async for event in stream if event.type == "response.output_text.delta"]
    assert "".join(deltas) == TEXT


def test_a_target_by_headers_takes_the_callers_credential(bare_gateway: str, upstream: Upstream) -> None:
    portkey = Portkey(
        base_url=bare_gateway,
        api_key="pk-anything",
        provider="openai",
        Authorization="sk-caller",
        custom_host=upstream.url,
        metadata={"_user": "ann", "environment": "test"},
        trace_id="trace-11",
    )

    assert portkey.chat.completions.create(**ASK).choices[0].message.content == TEXT
    assert upstream.last.headers["authorization"] in ("sk-caller", "Bearer sk-caller")


@pytest.mark.parametrize("fault", [Fault.CUT, Fault.EARLY_END, Fault.ERROR_EVENT])
def test_a_broken_stream_raises(portkey: Portkey, upstream: Upstream, fault: Fault) -> None:
    upstream.fault = fault
    text = ""

    with pytest.raises(Exception, match=r".+") as caught:
        for chunk in portkey.chat.completions.create(**ASK, stream=True):
            text += chunk.choices[0].delta.content or ""

    assert type(caught.value).__name__ == "APIError"
    assert text == "".join(TOKENS[:3])


def test_a_rate_limit_keeps_its_class(portkey: Portkey, upstream: Upstream) -> None:
    upstream.fault = Fault.RATE_LIMIT

    with pytest.raises(Exception, match="Slow down") as caught:
        portkey.with_options(max_retries=0).chat.completions.create(**ASK)

    assert type(caught.value).__name__ == "RateLimitError"


@pytest.mark.parametrize(
    "config",
    [{"virtual_key": "openai-virtual-key"}, "pc-saved-config"],
    ids=["virtual key", "saved config"],
)
def test_what_is_not_there_yet_is_refused_by_name(bare_gateway: str, upstream: Upstream, config: Any) -> None:
    headers = createHeaders(api_key="pk-anything", config=config)
    with (
        openai.OpenAI(base_url=bare_gateway, api_key="unused", default_headers=headers, max_retries=0) as client,
        pytest.raises(openai.BadRequestError) as caught,
    ):
        client.chat.completions.create(**ASK)

    assert caught.value.message
    assert upstream.seen == []
