"""Providers whose wire is OpenAI's or near it: what reaches them, and what a client of the chat wire gets back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from aiogateway.testing.recordings import read_recording
from aiogateway.testing.upstream import stream, unary
from tests.stage import stage

RECORDINGS = Path(__file__).parents[1] / "conformance" / "recordings"
KEY = {"Authorization": "Bearer sk-caller"}


def load(name: str) -> bytes:
    return read_recording((RECORDINGS / f"{name}.rec").read_bytes(), name=name).body


def deltas(body: bytes) -> Iterator[dict[str, Any]]:
    """The deltas of choice 0 of a stream that ended as it should."""
    *events, done, _ = body.split(b"\n\n")
    assert done == b"data: [DONE]"
    for event in events:
        for choice in json.loads(event.removeprefix(b"data: "))["choices"]:
            yield {**choice.get("delta", {}), "finish": choice.get("finish_reason")}


def join(body: bytes, field: str) -> str:
    return "".join(delta.get(field) or "" for delta in deltas(body))


async def test_azure_by_portkeys_headers() -> None:
    answer = load("azure/chat_unary")
    async with stage(unary(answer)) as on:
        headers = {
            "x-portkey-provider": "azure-openai",
            "x-portkey-custom-host": f"{on.up.url}/openai",
            "x-portkey-azure-resource-name": "harbour",
            "x-portkey-azure-deployment-id": "pilot",
            "x-portkey-azure-api-version": "2024-10-21",
        }
        raw = b'{ "model":"gpt-4o", "messages":[] }'
        assert await on.ask(headers=headers, raw=raw) == (200, answer)
        seen = on.seen()
        assert seen.path == "/openai/deployments/pilot/chat/completions?api-version=2024-10-21"
        assert seen.header("api-key") == "sk-caller"
        assert seen.header("authorization") is None
        assert seen.body == raw  # the URL names the deployment, so the client's bytes stay


async def test_azure_by_a_config() -> None:
    async with stage(unary(load("azure/chat_unary"))) as on:
        config = {
            "provider": "azure-openai",
            "custom_host": f"{on.up.url}/openai",
            "azure_ad_token": "canary-token",
            "deployment_id": "pilot",
            "api_version": "v1",
        }
        assert (await on.ask(config=config, stream=False))[0] == 200
        assert on.seen().path == "/openai/v1/chat/completions"
        assert on.seen().header("authorization") == "Bearer canary-token"
        assert on.sent_body()["model"] == "pilot"


async def test_azures_content_filter_comes_as_azure_sent_it() -> None:
    refusal = load("azure/error_content_filter")
    async with stage(unary(refusal, status=400)) as on:
        config = {"provider": "azure-openai", "custom_host": f"{on.up.url}/openai", "api_key": "k"}
        assert await on.ask(config=config) == (400, refusal)


async def test_mistral_keeps_the_bytes_but_for_its_quirks() -> None:
    events = load("mistral/chat_stream")
    async with stage(stream(events)) as on:
        config = {"provider": "mistral-ai", "api_key": "k", "custom_host": f"{on.up.url}/v1"}
        plain = b'{"model":"mistral-large-latest",  "stream":true,"messages":[]}'
        assert await on.ask(config=config, raw=plain) == (200, events)
        assert on.seen().body == plain
        _, body = await on.ask(config=config, seed=7, stream_options={"include_usage": True}, tool_choice="required")
        sent = on.sent_body()
        assert (sent["random_seed"], sent["tool_choice"]) == (7, "any")
        assert not {"seed", "stream_options"} & sent.keys()
        assert b'"usage"' in body  # it comes unasked
        assert (await on.recorded(2)).usage is not None


async def test_mistrals_thoughts_come_as_reasoning() -> None:
    async with stage(stream(load("mistral/chat_stream_thinking"))) as on:
        config = {"provider": "mistral-ai", "api_key": "k", "custom_host": f"{on.up.url}/v1"}
        status, body = await on.ask(config=config, model="magistral-medium-2507")
        assert status == 200
        assert join(body, "reasoning_content") == "One knot is 0.514 m/s."
        assert join(body, "content") == "About 17½ knots."


async def test_cohere_answers_in_the_chat_wire() -> None:
    async with stage(stream(load("cohere/chat_stream_parallel_tools"))) as on:
        config = {"provider": "cohere", "api_key": "k", "custom_host": on.up.url}
        tool = {"type": "function", "function": {"name": "find_tide", "parameters": {"type": "object"}}}
        messages = [{"role": "developer", "content": "be brief"}, {"role": "user", "content": "tide?"}]
        client = await on.post(config=config, messages=messages, tools=[tool], top_p=0.5, logit_bias={"1": 1})
        status, body = await client.answer()
        assert status == 200
        assert client.headers["x-aiogateway-dropped-params"] == "logit_bias"
        assert on.seen().path == "/v2/chat"
        assert on.seen().header("authorization") == "Bearer k"
        assert [message["role"] for message in on.sent_body()["messages"]] == ["system", "user"]
        assert on.sent_body()["p"] == 0.5
        pieces = [call for delta in deltas(body) for call in delta.get("tool_calls") or ()]
        for index, name in enumerate(("find_tide", "find_wind")):
            mine = [piece for piece in pieces if piece["index"] == index]
            assert mine[0]["function"]["name"] == name
            assert orjson.loads("".join(piece["function"]["arguments"] for piece in mine))
        assert [delta["finish"] for delta in deltas(body)][-1] == "tool_calls"
        assert (await on.recorded()).usage is not None


async def test_cohere_embeds() -> None:
    async with stage(unary(load("cohere/embed"))) as on:
        config = {"provider": "cohere", "api_key": "k", "custom_host": on.up.url}
        raw = orjson.dumps({"model": "embed-v4.0", "input": ["a", "b"], "encoding_format": "base64"})
        status, body = await on.ask(config=config, path="/v1/embeddings", raw=raw)
        answer = orjson.loads(body)
        assert status == 200
        assert [row["index"] for row in answer["data"]] == [0, 1]
        assert isinstance(answer["data"][0]["embedding"], str)
        assert answer["usage"]["prompt_tokens"] == 8
        assert on.sent_body()["input_type"] == "search_document"


async def test_a_row_of_the_table() -> None:
    answer = load("compatible/chat_unary")
    async with stage(unary(answer)) as on:
        config = {"provider": "deepseek", "api_key": "k", "custom_host": on.up.url}
        assert await on.ask(config=config, stream=False, max_completion_tokens=4) == (200, answer)
        assert on.seen().path == "/v1/chat/completions"
        assert on.sent_body()["max_tokens"] == 4
