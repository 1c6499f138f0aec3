"""Chats of OpenAI's wire at Google: what goes out, what comes back, and how a stream that breaks is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from aiogateway.testing import Recording, load_recordings
from aiogateway.testing.upstream import stream, unary
from aiogateway.types import Outcome
from tests.stage import DONE, Stage, stage

FOLDER = Path(__file__).parents[1] / "conformance" / "recordings" / "google"
RECORDINGS = {recording.name.removesuffix(".rec"): recording for recording in load_recordings(FOLDER)}


def target(live: Stage, **fields: Any) -> dict[str, Any]:
    return {"provider": "google", "api_key": "canary-key", "custom_host": live.up.url, **fields}


def chunks(body: bytes) -> list[dict[str, Any]]:
    return [orjson.loads(event[6:]) for event in body.split(b"\n\n") if event.startswith(b"data: {")]


def pieces(recording: Recording) -> list[bytes]:
    """Cut wherever, as a network does."""
    return [recording.body[at : at + 41] for at in range(0, len(recording.body), 41)]


async def ask(live: Stage, recording: Recording, **fields: Any) -> tuple[int, bytes]:
    return await live.ask(raw=orjson.dumps(recording.request), config=target(live, **fields))


async def test_a_stream() -> None:
    recording = RECORDINGS["chat_stream_crlf"]
    async with stage(stream(*pieces(recording))) as live:
        status, body = await ask(live, recording)
        record = await live.recorded()
        seen = live.seen()
    deltas = [choice for chunk in chunks(body) for choice in chunk["choices"]]
    assert status == 200
    assert "".join(choice["delta"].get("content") or "" for choice in deltas) == recording.text
    assert [choice["finish_reason"] for choice in deltas][-1] == "length"
    assert body.endswith(DONE)
    assert record.usage is not None
    assert (record.usage.input, record.usage.output) == (6, 4)
    assert seen.path == "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse"
    assert dict(seen.headers)["x-goog-api-key"] == "canary-key"
    assert "authorization" not in dict(seen.headers)


async def test_a_tool_call_with_thoughts_and_a_seal() -> None:
    recording = RECORDINGS["chat_stream_thinking_call"]
    async with stage(stream(*pieces(recording))) as live:
        _, body = await ask(live, recording)
        sent = live.sent_body()
    deltas = [choice["delta"] for chunk in chunks(body) for choice in chunk["choices"]]
    assert "".join(delta.get("reasoning_content") or "" for delta in deltas).startswith("**Finding the time**")
    [call] = [call for delta in deltas for call in delta.get("tool_calls", ())]
    assert call["function"] == {"name": "read_clock", "arguments": "{}"}
    assert call["extra_content"] == {"google": {"thought_signature": "c2VhbCBvZiBhIGNhbGw="}}
    assert chunks(body)[-1]["choices"][0]["finish_reason"] == "tool_calls"
    assert sent["generationConfig"] == {"thinkingConfig": {"thinkingBudget": 1024, "includeThoughts": True}}


async def test_an_answer() -> None:
    recording = RECORDINGS["chat_unary"]
    async with stage(unary(recording.body)) as live:
        _, body = await ask(live, recording)
    answer = orjson.loads(body)
    assert answer["choices"][0]["message"]["content"] == recording.text
    assert answer["choices"][0]["message"]["reasoning_content"] == "The moon pulls, the earth turns.\n"
    assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] == 4
    assert answer["usage"]["completion_tokens_details"]["reasoning_tokens"] == 21


@pytest.mark.parametrize("name", ["error_in_stream", "error_in_stream_event"])
async def test_an_error_after_the_first_words_is_told_in_band(name: str) -> None:
    recording = RECORDINGS[name]
    async with stage(stream(*pieces(recording))) as live:
        status, body = await ask(live, recording)
        record = await live.recorded()
    assert recording.error is not None
    assert status == 200
    assert chunks(body)[-1]["error"]["message"] == recording.error.message
    assert chunks(body)[-1]["error"]["type"] == "UNAVAILABLE"
    assert DONE not in body
    assert record.outcome is Outcome.TRUNCATED


async def test_an_answer_that_could_not_be_read_is_tried_again() -> None:
    broken, good = RECORDINGS["error_malformed_call"], RECORDINGS["chat_unary_parallel_tools"]
    async with stage(unary(broken.body), unary(good.body)) as live:
        status, body = await ask(live, broken, retry={"attempts": 1})
    assert status == 200
    assert orjson.loads(body)["choices"][0]["finish_reason"] == "tool_calls"


async def test_a_refusal_says_when_to_come_again() -> None:
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.4s"}]
    error = {"code": 429, "message": "Slow down.", "status": "RESOURCE_EXHAUSTED", "details": details}
    async with stage(unary(orjson.dumps({"error": error}), status=429)) as live:
        client = await live.post(stream=False, config=target(live), messages=[{"role": "user", "content": "Hello"}])
        status, body = await client.answer()
    assert (status, client.headers["retry-after"]) == (429, "35")
    said = orjson.loads(body)["error"]
    assert (said["message"], said["type"]) == ("Slow down.", "RESOURCE_EXHAUSTED")


async def test_what_has_no_place_is_listed() -> None:
    recording = RECORDINGS["chat_unary"]
    async with stage(unary(recording.body)) as live:
        client = await live.post(
            raw=orjson.dumps({**recording.request, "logit_bias": {"1": 1}, "user": "u1", "store": False}),
            config=target(live),
        )
        await client.answer()
    assert client.headers["x-aiogateway-dropped-params"] == "user,logit_bias"


async def test_vectors() -> None:
    recording = RECORDINGS["embed"]
    async with stage(unary(recording.body)) as live:
        status, body = await live.ask(path="/v1/embeddings", raw=orjson.dumps(recording.request), config=target(live))
    assert status == 200
    assert [row["embedding"] for row in orjson.loads(body)["data"]] == [[-0.0223, 0.0187, 0.5], [0.25, -0.125, 1e-05]]
