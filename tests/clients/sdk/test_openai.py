"""The OpenAI SDK through the gateway: what it sends arrives, what it gets is what OpenAI would have answered."""

from __future__ import annotations

import asyncio
import io
import json
from typing import Any

import openai
import pytest

from tests.clients.upstream import BINARY, MODELS, TEXT, TOOL_ARGUMENTS, USAGE, Upstream

QUESTION: Any = [{"role": "user", "content": "Who are you? ☠"}]
ASK: dict[str, Any] = {"model": "gpt-4o-mini", "messages": QUESTION}
WEATHER: Any = [
    {
        "type": "function",
        "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
    }
]


def test_a_chat_is_answered_and_only_the_callers_own_headers_arrive(client: openai.OpenAI, upstream: Upstream) -> None:
    completion = client.chat.completions.create(**ASK, temperature=0.3)

    assert completion.choices[0].message.content == TEXT
    assert completion.usage.total_tokens == USAGE["total_tokens"]
    seen = upstream.last
    assert (seen.method, seen.path) == ("POST", "/v1/chat/completions")
    assert seen.json == {**ASK, "temperature": 0.3}
    assert seen.headers["authorization"] == "Bearer sk-caller"
    assert not [name for name in seen.headers if name.startswith(("x-portkey-", "x-aiogateway-"))]


async def test_an_async_chat_is_answered(async_client: openai.AsyncOpenAI) -> None:
    completion = await async_client.chat.completions.create(**ASK)

    assert completion.choices[0].message.content == TEXT


def test_the_answer_says_how_it_was_routed(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(**ASK)

    assert len(raw.headers["x-portkey-trace-id"]) >= 16
    assert raw.headers["x-portkey-provider"] == "openai"
    assert raw.headers["x-portkey-last-used-option-index"].startswith("config")
    assert raw.headers["x-portkey-retry-attempt-count"] == "0"
    assert raw.headers["x-portkey-cache-status"]
    assert raw.headers["x-request-id"] == "req_upstream"
    assert raw.headers["x-ratelimit-remaining-requests"] == "99"
    assert raw.parse().choices[0].message.content == TEXT


def test_a_trace_id_of_the_caller_comes_back(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(**ASK, extra_headers={"x-portkey-trace-id": "trace-7"})

    assert raw.headers["x-portkey-trace-id"] == "trace-7"


def test_a_stream_arrives_whole_and_hides_the_usage_that_nobody_asked_for(
    client: openai.OpenAI, upstream: Upstream
) -> None:
    chunks = list(client.chat.completions.create(**ASK, stream=True))

    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == TEXT
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)
    assert upstream.last.json["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize("wanted", [True, False])
def test_usage_is_streamed_to_whoever_asks(client: openai.OpenAI, wanted: bool) -> None:
    chunks = list(client.chat.completions.create(**ASK, stream=True, stream_options={"include_usage": wanted}))

    totals = [chunk.usage.total_tokens for chunk in chunks if chunk.usage]
    assert totals == ([USAGE["total_tokens"]] if wanted else [])
    assert [chunk for chunk in chunks if not chunk.choices] == (chunks[-1:] if wanted else [])


async def test_an_async_stream_arrives_whole_and_carries_our_headers(async_client: openai.AsyncOpenAI) -> None:
    stream = await async_client.chat.completions.create(**ASK, stream=True)

    headers = stream.response.headers
    assert headers["x-portkey-trace-id"]
    assert headers["content-type"].startswith("text/event-stream")
    assert headers["x-accel-buffering"] == "no"
    assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == TEXT


async def test_fifty_streams_at_once_stay_apart(async_client: openai.AsyncOpenAI) -> None:
    async def ask(model: str) -> tuple[set[str], str]:
        stream = await async_client.chat.completions.create(model=model, messages=QUESTION, stream=True)
        chunks = [chunk async for chunk in stream]
        return {chunk.model for chunk in chunks}, "".join(chunk.choices[0].delta.content or "" for chunk in chunks)

    names = [f"model-{number}" for number in range(50)]
    assert await asyncio.gather(*map(ask, names)) == [({name}, TEXT) for name in names]


def test_the_streaming_helper_accumulates_tool_calls(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(**ASK, tools=WEATHER) as stream:
        kinds = [event.type for event in stream]
        message = stream.get_final_completion().choices[0].message

    assert kinds.count("tool_calls.function.arguments.delta") >= len(TOOL_ARGUMENTS)
    call = message.tool_calls[0]
    assert (call.id, call.function.name) == ("call_1", "weather")
    assert json.loads(call.function.arguments) == {"city": "Wellsey"}


async def test_tool_call_deltas_keep_their_order(async_client: openai.AsyncOpenAI) -> None:
    stream = await async_client.chat.completions.create(**ASK, tools=WEATHER, stream=True)

    chunks = [chunk async for chunk in stream]
    deltas = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or ()]
    assert [delta.id for delta in deltas] == ["call_1", None, None, None]
    assert [delta.function.arguments for delta in deltas] == ["", *TOOL_ARGUMENTS]
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


@pytest.mark.parametrize("encoding", [None, "float"])
def test_embeddings_arrive_in_either_encoding(client: openai.OpenAI, upstream: Upstream, encoding: str | None) -> None:
    options: dict[str, Any] = {"encoding_format": encoding} if encoding else {}

    answer = client.embeddings.create(model="text-embedding-3-small", input=["a", "b"], **options)

    assert [list(item.embedding) for item in answer.data] == [[0.25, -0.5, 1.0]] * 2
    assert upstream.last.json["encoding_format"] == (encoding or "base64")


async def test_legacy_completions_are_answered_and_streamed(async_client: openai.AsyncOpenAI) -> None:
    ask: dict[str, Any] = {"model": "gpt-3.5-turbo-instruct", "prompt": "Who"}

    whole = await async_client.completions.create(**ask)
    stream = await async_client.completions.create(**ask, stream=True)

    assert whole.choices[0].text == TEXT
    assert "".join([chunk.choices[0].text async for chunk in stream]) == TEXT


def test_a_response_is_answered(client: openai.OpenAI, upstream: Upstream) -> None:
    answer = client.responses.create(model="gpt-4o-mini", input="Who are you?", store=False)

    assert answer.output_text == TEXT
    assert upstream.last.json == {"model": "gpt-4o-mini", "input": "Who are you?", "store": False}


async def test_a_response_streams_its_events_in_order(async_client: openai.AsyncOpenAI) -> None:
    stream = await async_client.responses.create(model="gpt-4o-mini", input="Who are you?", stream=True)

    events = [event async for event in stream]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[0].type == "response.created"
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == TEXT
    assert events[-1].response.usage.total_tokens == USAGE["total_tokens"]


def test_fields_that_the_gateway_does_not_know_arrive(client: openai.OpenAI, upstream: Upstream) -> None:
    extra = {"not_yet_invented": {"depth": [1, {"big": 2**63}]}, "seed": 2**53 + 1, "note": "naïve"}

    client.chat.completions.create(**ASK, extra_body=extra)

    assert upstream.last.json == ASK | extra


def test_headers_arrive_when_the_caller_says_so(client: openai.OpenAI, upstream: Upstream) -> None:
    client.chat.completions.create(
        **ASK, extra_headers={"x-mine": "1", "x-other": "2", "x-portkey-forward-headers": "x-mine, user-agent"}
    )

    assert upstream.last.headers["x-mine"] == "1"
    assert upstream.last.headers["user-agent"].startswith("OpenAI/Python")
    assert "x-other" not in upstream.last.headers


def test_the_providers_models_are_listed_when_the_request_names_a_target(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == list(MODELS)


def test_without_a_target_the_gateway_lists_what_it_knows(bare_gateway: str, upstream: Upstream) -> None:
    with openai.OpenAI(base_url=bare_gateway, api_key="unused", max_retries=0) as client:
        models = list(client.models.list())

    assert all(model.id and model.object == "model" for model in models)
    assert upstream.seen == []


def test_a_file_is_uploaded_byte_for_byte_and_read_back(client: openai.OpenAI, upstream: Upstream) -> None:
    content = b"\x00\r\n--boundary\xff" * 60_000

    stored = client.files.create(file=("notes.bin", io.BytesIO(content)), purpose="batch")

    seen = upstream.last
    assert seen.headers["content-type"].startswith("multipart/form-data; boundary=")
    assert content in seen.body
    assert stored.bytes == len(seen.body)
    assert client.files.content(stored.id).read() == BINARY
    assert upstream.last.path == f"/v1/files/{stored.id}/content"


def test_an_endpoint_nobody_heard_of_is_passed_through(client: openai.OpenAI, upstream: Upstream) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.patch("/future/thing%2Fone?x=%7B%7D", cast_to=object, body={"a": 1})

    assert caught.value.code == "unknown_url"
    assert caught.value.request_id == "req_upstream"
    assert (upstream.last.method, upstream.last.path) == ("PATCH", "/v1/future/thing%2Fone?x=%7B%7D")
    assert upstream.last.json == {"a": 1}


async def test_the_mock_provider_needs_no_key_and_no_network(bare_gateway: str, upstream: Upstream) -> None:
    async with openai.AsyncOpenAI(
        base_url=bare_gateway,
        api_key="unused",
        default_headers={"x-portkey-config": '{"provider":"mock"}'},
        max_retries=0,
    ) as client:
        whole = await client.chat.completions.create(**ASK)
        stream = await client.chat.completions.create(**ASK, stream=True)
        chunks = [chunk async for chunk in stream]

    assert whole.choices[0].message.content
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert upstream.seen == []


def test_settings_name_the_target_for_clients_that_cannot(default_gateway: str, upstream: Upstream) -> None:
    with openai.OpenAI(base_url=default_gateway, api_key="sk-caller", max_retries=0) as client:
        assert client.chat.completions.create(**ASK).choices[0].message.content == TEXT

    assert upstream.last.headers["authorization"] == "Bearer sk-ours"
