"""Anthropic behind the gateway: its own SDK in its own wire, and OpenAI's SDK by translation.

The target answers with the recordings of the conformance suite.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from tests.clients.replay import Replay

Target = dict[str, str]


@pytest.fixture(scope="module")
def replay() -> Iterator[Replay]:
    replay = Replay()
    replay.start()
    yield replay
    replay.stop()


@pytest.fixture
def own_target(replay: Replay) -> Target:
    return {"x-portkey-provider": "anthropic", "x-portkey-custom-host": replay.url}


@pytest.fixture
def chats(bare_gateway: str, own_target: Target) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=bare_gateway, api_key="sk-ant-caller", default_headers=own_target, max_retries=0, timeout=20
    ) as client:
        yield client


@pytest.fixture
def messages(bare_gateway: str, own_target: Target) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(
        base_url=bare_gateway.removesuffix("/v1"),
        api_key="sk-ant-caller",
        default_headers=own_target | {"anthropic-beta": "one-2026,two-2026"},
        max_retries=0,
        timeout=20,
    ) as client:
        yield client


def ask(client: openai.OpenAI, replay: Replay, name: str) -> Any:
    request = dict(replay.play("anthropic", name))
    own = {"thinking": request.pop("thinking")} if "thinking" in request else None
    return client.chat.completions.create(**request, extra_body=own)


def join(client: openai.OpenAI, replay: Replay, name: str) -> Any:
    """A stream, put together by the SDK."""
    request = {field: value for field, value in replay.play("anthropic", name).items() if field != "stream"}
    with client.chat.completions.stream(**request, stream_options={"include_usage": True}) as stream:
        return stream.get_final_completion()


@pytest.mark.parametrize("name", ["chat_unary", "chat_stream"])
def test_a_chat(chats: openai.OpenAI, replay: Replay, name: str) -> None:
    completion = (ask if name == "chat_unary" else join)(chats, replay, name)
    assert completion.choices[0].message.content.startswith("Good morning, harbour master")
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage.prompt_tokens == 14
    seen = replay.seen[-1]
    assert seen.path == "/v1/messages"
    assert seen.body["max_tokens"] == 64
    assert seen.headers["x-api-key"] == "sk-ant-caller"
    assert seen.headers["anthropic-version"] == "2023-06-01"


@pytest.mark.parametrize("name", ["chat_unary_parallel_tools", "chat_stream_parallel_tools"])
def test_parallel_tool_calls(chats: openai.OpenAI, replay: Replay, name: str) -> None:
    choice = (ask if "unary" in name else join)(chats, replay, name).choices[0]
    assert choice.finish_reason == "tool_calls"
    calls = [call.function for call in choice.message.tool_calls]
    assert [call.name for call in calls][:2] == ["find_tide", "find_tide"]
    assert [call.arguments.replace(" ", "") for call in calls][:2] == ['{"port":"Wellsey"}', '{"port":"PortAnna"}']


def test_thoughts_come_sealed_and_go_back(chats: openai.OpenAI, replay: Replay) -> None:
    message = ask(chats, replay, "chat_unary_thinking").choices[0].message
    assert [block["type"] for block in message.thinking_blocks] == ["thinking", "redacted_thinking"]
    assert replay.seen[-1].body["messages"][1]["content"][0]["signature"] == "EqQBCkYIARgCKkDharbourSignatureMadeUp"
    streamed = join(chats, replay, "chat_stream_thinking").choices[0].message
    assert streamed.reasoning_content == "Synodic: about 29.53 days."
    assert streamed.thinking_blocks[0]["signature"] == "EqQBCkYIARgCKkDharbourSignatureMadeUp"


def test_images_and_a_schema_arrive_in_anthropics_wire(chats: openai.OpenAI, replay: Replay) -> None:
    ask(chats, replay, "chat_unary_image")
    assert [block["type"] for block in replay.seen[-1].body["messages"][0]["content"]] == ["text", "image", "image"]
    completion = ask(chats, replay, "chat_unary_structured")
    assert completion.choices[0].message.content == '{"port":"Wellsey","berths":12}'
    assert replay.seen[-1].body["output_config"]["format"]["type"] == "json_schema"


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("error_authentication", openai.AuthenticationError),
        ("error_invalid_request", openai.BadRequestError),
        ("error_rate_limit", openai.RateLimitError),
        ("error_overloaded", openai.InternalServerError),
    ],
)
def test_errors_in_openais_shape(
    chats: openai.OpenAI, replay: Replay, name: str, error: type[openai.APIStatusError]
) -> None:
    with pytest.raises(error) as caught:
        ask(chats, replay, name)
    assert caught.value.type.endswith("_error")
    assert caught.value.response.headers.get("retry-after") == ("17" if name == "error_rate_limit" else None)


def test_an_error_in_the_stream(chats: openai.OpenAI, replay: Replay) -> None:
    with pytest.raises(openai.APIError, match="Overloaded"):
        for _ in ask(chats, replay, "error_in_stream"):
            pass


def test_a_message_keeps_its_wire(messages: anthropic.Anthropic, replay: Replay) -> None:
    request = {
        field: value for field, value in replay.play("anthropic", "messages_stream").items() if field != "stream"
    }
    with messages.messages.stream(**request) as stream:
        message = stream.get_final_message()
    assert [block.type for block in message.content] == ["thinking", "tool_use"]
    assert message.content[0].signature == "EqQBCkYIARgCKkDharbourSignatureMadeUp"
    assert message.usage.cache_read_input_tokens == 2048
    seen = replay.seen[-1]
    assert seen.body == {**request, "stream": True}
    assert seen.headers["anthropic-beta"] == "one-2026,two-2026"
    assert seen.headers["x-api-key"] == "sk-ant-caller"


def test_tokens_are_counted(messages: anthropic.Anthropic, replay: Replay) -> None:
    request = replay.play("anthropic", "count_tokens")
    assert messages.messages.count_tokens(**request).input_tokens == 14
    assert replay.seen[-1].path == "/v1/messages/count_tokens"


def test_a_messages_error_is_anthropics(messages: anthropic.Anthropic, replay: Replay) -> None:
    replay.play("anthropic", "error_overloaded")
    with pytest.raises(anthropic.APIStatusError) as caught:
        messages.messages.create(model="claude", max_tokens=5, messages=[{"role": "user", "content": "hi"}])
    assert (caught.value.status_code, caught.value.type) == (529, "overloaded_error")
