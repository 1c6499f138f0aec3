"""The README's config, sent through a real gateway to a scripted Ollama."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from aiogateway import app
from aiogateway.settings import load_settings
from aiogateway.testing import FakeUpstream, Reset, Send, load_recordings, stream, unary

HERE = Path(__file__).parent
RECORDINGS = {recording.name.removesuffix(".rec"): recording for recording in load_recordings(HERE / "recordings")}
NDJSON = "application/x-ndjson"


@pytest.fixture
async def gateway() -> AsyncIterator[app.Gateway]:
    settings = load_settings({}, {"HOME": "/nonexistent", "AIOGATEWAY_PORT": "0", "AIOGATEWAY_PLUGINS": "ollama"}, None)
    running = await app.start(settings)
    yield running
    await running.stop()


async def post(gateway: app.Gateway, up: FakeUpstream, name: str) -> tuple[int, str, str]:
    """Sends a recording's request by the README's config; status, trace id and body of what the client gets."""
    recording = RECORDINGS[name]
    (block,) = re.findall(r"```json\n(.*?)```", (HERE.parent / "README.md").read_text(), re.DOTALL)
    config = {**json.loads(block), "custom_host": up.url}
    headers = {"x-portkey-config": json.dumps(config)}
    url = f"{gateway.url}/v1/{recording.endpoint}"
    async with (
        aiohttp.ClientSession() as http,
        http.post(url, json=dict(recording.request), headers=headers) as answer,
    ):
        return answer.status, answer.headers["x-portkey-trace-id"], await answer.text()


def chunks(body: str) -> list[dict[str, Any]]:
    events = [event.removeprefix("data: ") for event in body.split("\n\n") if event]
    return [json.loads(event) for event in events if event != "[DONE]"]


def lines(name: str) -> list[bytes]:
    return RECORDINGS[name].body.splitlines(keepends=True)


async def test_a_stream_comes_out_as_openais(gateway: app.Gateway) -> None:
    async with FakeUpstream(stream(*lines("chat_stream"), media_type=NDJSON)) as up:
        status, _, body = await post(gateway, up, "chat_stream")
    assert status == 200
    deltas = [choice for chunk in chunks(body) for choice in chunk["choices"]]
    assert "".join(choice["delta"].get("content") or "" for choice in deltas) == RECORDINGS["chat_stream"].text
    assert [choice["finish_reason"] for choice in deltas if choice["finish_reason"]] == ["stop"]
    assert body.endswith("data: [DONE]\n\n")
    (seen,) = up.requests
    assert (seen.method, seen.path) == ("POST", "/api/chat")
    sent = json.loads(seen.body)
    assert (sent["keep_alive"], sent["options"], sent["stream"]) == ("10m", {"num_ctx": 8192}, True)


async def test_a_tool_call_comes_out_as_openais(gateway: app.Gateway) -> None:
    recording = RECORDINGS["chat_unary_tools"]
    async with FakeUpstream(unary(recording.body)) as up:
        status, _, body = await post(gateway, up, "chat_unary_tools")
    (choice,) = json.loads(body)["choices"]
    assert (status, choice["finish_reason"]) == (200, "tool_calls")
    (call,) = choice["message"]["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == {"port": "Wellsey"}
    assert json.loads(body)["usage"]["total_tokens"] == 190


async def test_embeddings_come_out_as_openais(gateway: app.Gateway) -> None:
    recording = RECORDINGS["embed_many"]
    async with FakeUpstream(unary(recording.body)) as up:
        status, _, body = await post(gateway, up, "embed_many")
    rows = json.loads(body)["data"]
    assert (status, [row["index"] for row in rows]) == (200, [0, 1])
    assert rows[0]["embedding"] == [0.25, -0.0625, 0.5, 0.010071029]
    assert up.requests[0].path == "/api/embed"


async def test_an_error_keeps_its_status_and_message(gateway: app.Gateway) -> None:
    recording = RECORDINGS["error_model_not_found"]
    async with FakeUpstream(unary(recording.body, status=404)) as up:
        status, _, body = await post(gateway, up, "error_model_not_found")
    assert status == 404
    assert "model 'nope' not found" in body


async def test_an_error_in_the_stream_is_said_and_the_stream_not_finished(gateway: app.Gateway) -> None:
    async with FakeUpstream(stream(*lines("error_in_stream"), media_type=NDJSON)) as up:
        _, _, body = await post(gateway, up, "error_in_stream")
    assert chunks(body)[-1]["error"]["message"] == "an error was encountered while running the model"
    assert "[DONE]" not in body
    assert '"finish_reason":"stop"' not in body


@pytest.mark.parametrize("ending", [Send(b"0\r\n\r\n"), Reset()], ids=["ended", "reset"])
async def test_a_stream_that_breaks_off_is_said_to(gateway: app.Gateway, ending: Send | Reset) -> None:
    async with FakeUpstream((*stream(*lines("chat_stream")[:2], media_type=NDJSON, end=False), ending)) as up:
        _, _, body = await post(gateway, up, "chat_stream")
    assert "error" in chunks(body)[-1]
    assert "[DONE]" not in body
