"""LlamaIndex through the gateway: `OpenAI` and `OpenAILike`, the target in `createHeaders` or in the settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import openai
import pytest
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai import OpenAI
from llama_index.llms.openai_like import OpenAILike
from portkey_ai import createHeaders

from tests.clients.upstream import TEXT, TOKENS, TOOL_ARGUMENTS, Fault, Upstream

MESSAGES = [
    ChatMessage(role="system", content="You are a pirate with a colorful personality"),
    ChatMessage(role="user", content="What is your name"),
]
HALF = "".join(TOKENS[:3])
BROKEN = [Fault.CUT, Fault.EARLY_END, Fault.ERROR_EVENT]

Build = Callable[..., Any]


def _like(**options: Any) -> OpenAILike:
    return OpenAILike(model="a-model-nobody-knows", is_chat_model=True, **options)


def _like_text(**options: Any) -> OpenAILike:
    return OpenAILike(model="a-model-nobody-knows", is_chat_model=False, **options)


@pytest.fixture(params=[OpenAI, _like], ids=["OpenAI", "OpenAILike"])
def build(request: pytest.FixtureRequest) -> Build:
    chosen: Build = request.param
    return chosen


@pytest.fixture
def config(upstream: Upstream) -> dict[str, Any]:
    """The first config of Portkey's LlamaIndex guide, at a host of ours."""
    return {
        "provider": "openai",
        "api_key": "sk-config",
        "override_params": {"model": "gpt-4o", "max_tokens": 64},
        "custom_host": upstream.url,
    }


@pytest.fixture(params=["createHeaders", "settings"])
def llm(request: pytest.FixtureRequest, build: Build, upstream: Upstream) -> Any:
    """Both classes, once with the target in the headers and once with none."""
    options: dict[str, Any] = {"max_retries": 0, "timeout": 20.0}
    if request.param == "settings":
        return build(api_base=request.getfixturevalue("default_gateway"), api_key="sk-caller", **options)
    headers = createHeaders(api_key="pk-anything", config=request.getfixturevalue("config"), trace_id="trace-3")
    gateway = request.getfixturevalue("bare_gateway")
    return build(api_base=gateway, api_key="not-used", default_headers=headers, **options)


async def _texts(stream: Any) -> list[str]:
    return [part.delta or "" async for part in stream]


async def test_astream_chat(llm: Any, upstream: Upstream) -> None:
    assert "".join(await _texts(await llm.astream_chat(MESSAGES))) == TEXT
    assert upstream.last.json["stream"] is True
    assert upstream.last.headers["authorization"] in ("Bearer sk-config", "Bearer sk-ours")
    assert upstream.last.path == "/v1/chat/completions"


async def test_astream_complete(llm: Any) -> None:
    assert "".join(await _texts(await llm.astream_complete("Paul Graham is "))) == TEXT


async def test_acomplete(llm: Any) -> None:
    assert (await llm.acomplete("Paul Graham is ")).text == TEXT


async def test_achat(llm: Any) -> None:
    assert (await llm.achat(MESSAGES)).message.content == TEXT


def test_chat(llm: Any) -> None:
    assert llm.chat(MESSAGES).message.content == TEXT


def test_stream_chat(llm: Any) -> None:
    assert "".join(part.delta or "" for part in llm.stream_chat(MESSAGES)) == TEXT


def test_stream_complete(llm: Any) -> None:
    assert "".join(part.delta or "" for part in llm.stream_complete("Paul Graham is ")) == TEXT


@pytest.mark.parametrize("fault", BROKEN)
async def test_a_truncated_stream_raises_instead_of_returning_half_an_answer(
    llm: Any, upstream: Upstream, fault: Fault
) -> None:
    upstream.fault = fault
    text = ""

    with pytest.raises(openai.APIError):
        async for part in await llm.astream_chat(MESSAGES):
            text += part.delta or ""

    assert text == HALF


@pytest.mark.parametrize("fault", BROKEN)
def test_a_truncated_stream_raises_in_the_synchronous_client(llm: Any, upstream: Upstream, fault: Fault) -> None:
    upstream.fault = fault

    with pytest.raises(openai.APIError):
        list(llm.stream_chat(MESSAGES))


async def test_a_rate_limit_keeps_its_class(llm: Any, upstream: Upstream) -> None:
    upstream.fault = Fault.RATE_LIMIT

    with pytest.raises(openai.RateLimitError) as caught:
        await llm.achat(MESSAGES)

    assert caught.value.response.headers["retry-after"] == "7"


async def test_overrides_of_the_config_win_over_the_class(
    build: Build, bare_gateway: str, config: dict[str, Any], upstream: Upstream
) -> None:
    config["override_params"]["temperature"] = None  # what the guide's prompt example sends
    llm = build(
        api_base=bare_gateway,
        api_key="not-used",
        default_headers=createHeaders(api_key="pk", config=config),
        max_retries=0,
    )

    assert (await llm.achat(MESSAGES)).message.content == TEXT
    assert upstream.last.json["model"] == "gpt-4o"
    assert upstream.last.json["max_tokens"] == 64
    assert upstream.last.json.get("temperature", "absent") is not None


async def test_tool_calls_stream(llm: Any) -> None:
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}]

    parts = [part async for part in await llm.astream_chat(MESSAGES, tools=tools)]

    calls = parts[-1].message.additional_kwargs["tool_calls"]
    assert [call.function.arguments for call in calls] == ["".join(TOOL_ARGUMENTS)]


async def test_legacy_completions_stream(bare_gateway: str, config: dict[str, Any], upstream: Upstream) -> None:
    llm = _like_text(
        api_base=bare_gateway, api_key="not-used", default_headers=createHeaders(api_key="pk", config=config)
    )

    assert "".join(await _texts(await llm.astream_complete("Paul Graham is "))) == TEXT
    assert upstream.last.path == "/v1/completions"


async def test_the_mock_provider_streams_without_a_key(build: Build, bare_gateway: str, upstream: Upstream) -> None:
    headers = createHeaders(api_key="pk", config={"provider": "mock"})
    llm = build(api_base=bare_gateway, api_key="not-used", default_headers=headers)

    assert "".join(await _texts(await llm.astream_chat(MESSAGES)))
    assert upstream.seen == []
