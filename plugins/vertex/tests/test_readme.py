"""The README's config, sent through a real gateway to a scripted Vertex AI."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiogateway_plugin_vertex import VertexAI

from aiogateway import app
from aiogateway.settings import load_settings
from aiogateway.testing import FakeUpstream, load_recordings, stream, unary

HERE = Path(__file__).parent
RECORDINGS = {recording.name.removesuffix(".rec"): recording for recording in load_recordings(HERE / "recordings")}
PLACE = "/v1/projects/my-project/locations/europe-west4"


@pytest.fixture
async def gateway() -> AsyncIterator[app.Gateway]:
    settings = load_settings({}, {"HOME": "/nonexistent", "AIOGATEWAY_PORT": "0", "AIOGATEWAY_PLUGINS": "vertex"}, None)
    running = await app.start(settings)
    yield running
    await running.stop()


def read_config() -> dict[str, Any]:
    (block,) = re.findall(r"```json\n(.*?)```", (HERE.parent / "README.md").read_text(), re.DOTALL)
    config: dict[str, Any] = json.loads(block)
    return config


async def post(gateway: app.Gateway, up: FakeUpstream, name: str, **changes: Any) -> tuple[int, str]:
    """Sends a recording's request by the README's config; status and body of what the client gets."""
    recording = RECORDINGS[name]
    headers = {"x-portkey-config": json.dumps({**read_config(), "custom_host": up.url, **changes})}
    url = f"{gateway.url}/v1/{recording.endpoint}"
    async with (
        aiohttp.ClientSession() as http,
        http.post(url, json=dict(recording.request), headers=headers) as answer,
    ):
        return answer.status, await answer.text()


def pieces(name: str) -> list[bytes]:
    return RECORDINGS[name].body.splitlines(keepends=True)


def text_of(body: str) -> str:
    events = [json.loads(event.removeprefix("data: ")) for event in body.split("\n\n") if event.startswith("data: {")]
    return "".join(choice["delta"].get("content") or "" for event in events for choice in event["choices"])


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("gemini_stream", "/publishers/google/models/gemini-2.5-flash:streamGenerateContent?alt=sse"),
        ("claude_stream", "/publishers/anthropic/models/claude-3-7-sonnet@20250219:streamRawPredict"),
    ],
)
async def test_a_stream_comes_out_as_openais(gateway: app.Gateway, name: str, path: str) -> None:
    async with FakeUpstream(stream(*pieces(name))) as up:
        status, body = await post(gateway, up, name)
    assert (status, text_of(body)) == (200, RECORDINGS[name].text)
    assert body.endswith("data: [DONE]\n\n")
    [asked] = up.requests
    assert asked.path == PLACE + path
    assert dict(asked.headers)["authorization"] == f"Bearer {read_config()['api_key']}"


async def test_an_answer_comes_out_as_openais(gateway: app.Gateway) -> None:
    async with FakeUpstream(unary(RECORDINGS["gemini_unary_parallel_tools"].body)) as up:
        status, body = await post(gateway, up, "gemini_unary_parallel_tools")
    [choice] = json.loads(body)["choices"]
    assert (status, choice["finish_reason"]) == (200, "tool_calls")
    assert [call["function"]["name"] for call in choice["message"]["tool_calls"]] == ["read_tide", "read_clock"]


async def test_embeddings(gateway: app.Gateway) -> None:
    async with FakeUpstream(unary(RECORDINGS["embed_predict"].body)) as up:
        status, body = await post(gateway, up, "embed_predict")
    assert status == 200
    assert [row["embedding"] for row in json.loads(body)["data"]] == [[-0.0625, 0.5], [0.25, -1e-05]]
    assert up.requests[0].path == f"{PLACE}/publishers/google/models/text-embedding-005:predict"


async def test_an_error_keeps_its_status_and_words(gateway: app.Gateway) -> None:
    recording = RECORDINGS["gemini_error_permission"]
    async with FakeUpstream(unary(recording.body, status=403)) as up:
        status, body = await post(gateway, up, "gemini_error_permission")
    assert recording.error is not None
    error = json.loads(body)["error"]
    assert (status, error["message"], error["type"]) == (403, recording.error.message, "PERMISSION_DENIED")


async def test_what_is_missing_is_named(gateway: app.Gateway) -> None:
    async with FakeUpstream(unary(b"{}")) as up:
        status, body = await post(gateway, up, "gemini_stream", vertex_project_id=None)
    assert status == 400
    assert "vertex_project_id" in body
    assert up.requests == []


async def test_a_plain_start_lends_no_identity(gateway: app.Gateway) -> None:
    provider = gateway.registry.providers["vertex-ai"]
    assert isinstance(provider, VertexAI)
    assert not provider.lends_identity
