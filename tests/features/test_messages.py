"""Clients of ``/v1/messages``: what their requests become elsewhere, and what comes back of what they send back."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from aiogateway.testing.upstream import Reply, stream, unary
from aiogateway.wire.sse import frame
from tests.answers import call, cast
from tests.stage import GOOD, Stage, stage
from tests.wires import WIRES, Told, recorded

MESSAGES = WIRES["messages"]
VERSIONS = {"anthropic-version": "2023-06-01", "anthropic-beta": "a-2026-01-01, b-2026-02-02"}
REFUSES_OPTIONS = unary(b'{"error":{"message":"Unknown parameter: stream_options"}}', status=400)


def groq(live: Stage, **fields: Any) -> dict[str, Any]:
    """A target that speaks chat completions only."""
    return {"provider": "groq", "api_key": "sk-own", "custom_host": f"{live.up.url}/v1", **fields}


def anthropic(live: Stage, **fields: Any) -> dict[str, Any]:
    return {**groq(live), "provider": "anthropic", **fields}


def google(live: Stage, **fields: Any) -> dict[str, Any]:
    return {"provider": "google", "api_key": "sk-own", "custom_host": live.up.url, **fields}


async def tell(live: Stage, config: dict[str, Any], wire: str = "messages", **fields: Any) -> Told:
    raw = orjson.dumps(WIRES[wire].ask(**fields))
    client, body = await call(live, config, path=WIRES[wire].path, raw=raw)
    assert client.status == 200, body
    told = WIRES[wire].read(body)
    assert (told.whole, told.error) == (True, None)
    return told


# -- Anthropic itself


@pytest.mark.parametrize("name", ["chat_stream", "chat_unary"])
async def test_at_anthropic_every_byte_stays(name: str) -> None:
    recording = recorded(f"anthropic/{name}")
    answer = stream(recording.body) if recording.stream else unary(recording.body)
    raw = b'{ "model":"claude-sonnet-4-5", "max_tokens":9,"stream":%s, "odd": 1.50, "messages":[] }'
    raw = raw % (b"true" if recording.stream else b"false")
    async with stage(answer) as live:
        client = await live.post(path="/v1/messages", headers=VERSIONS, config=anthropic(live), raw=raw)
        assert await client.answer() == (200, recording.body)
        seen = live.seen()
        assert (seen.path, seen.body) == ("/v1/messages", raw)
        assert {name: seen.header(name) for name in VERSIONS} == VERSIONS
        assert (seen.header("x-api-key"), seen.header("authorization")) == ("sk-own", None)


async def test_tokens_are_counted_by_anthropic() -> None:
    raw = b'{"model":"claude-sonnet-4-5", "messages":[{"role":"user","content":"hi"}]}'
    async with stage(unary(b'{"input_tokens":8}')) as live:
        client = await live.post(path="/v1/messages/count_tokens", config=anthropic(live), raw=raw)
        assert await client.answer() == (200, b'{"input_tokens":8}')
        assert (live.seen().path, live.seen().body) == ("/v1/messages/count_tokens", raw)


async def test_nobody_else_can_be_asked_to_count() -> None:
    async with stage(unary(b"{}")) as live:
        client = await live.post(path="/v1/messages/count_tokens", config=groq(live), raw=b'{"model":"m"}')
        status, body = await client.answer()
        assert (status, MESSAGES.error(body)["type"]) == (400, "invalid_request_error")
        assert not live.up.requests


# -- elsewhere

TURNS = [
    {"role": "user", "content": [{"type": "text", "text": "Tide?", "cache_control": {"type": "ephemeral"}}]},
    {
        "role": "assistant",
        "content": [
            {"type": "text", "text": "I'll look."},
            {"type": "tool_use", "id": "t1", "name": "find_tide", "input": {"port": "Cork"}},
        ],
    },
    {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "04:12"}]},
            {"type": "text", "text": "And then?"},
        ],
    },
]


async def test_a_conversation_with_tools_at_a_chat_only_target() -> None:
    system = [{"type": "text", "text": "Be brief."}]
    asked: dict[str, Any] = {
        "system": system,
        "messages": TURNS,
        "tools": [MESSAGES.tool("find_tide")],
        "stop_sequences": ["."],
    }
    async with stage(unary(recorded("groq/chat_unary").body)) as live:
        await tell(live, groq(live), **asked)
        sent = live.sent_body()
        record = await live.recorded()
    function = {"name": "find_tide", "arguments": '{"port":"Cork"}'}
    assert sent["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Tide?"},
        {
            "role": "assistant",
            "content": "I'll look.",
            "tool_calls": [{"id": "t1", "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": "t1", "content": "04:12"},
        {"role": "user", "content": "And then?"},
    ]
    assert (sent["max_completion_tokens"], sent["stop"]) == (64, ["."])
    assert record.dropped_params == ("messages.content.cache_control",)


@pytest.mark.parametrize("wire", ["messages", "responses"])
async def test_a_host_that_refuses_stream_options_is_asked_without(wire: str) -> None:
    """These clients always hear of usage, so it is asked for on their behalf; where that is refused, it is done
    without, and the host is not asked again.
    """
    async with stage(REFUSES_OPTIONS, stream(GOOD), stream(GOOD)) as live:
        for _ in range(2):
            assert (await tell(live, groq(live), wire, stream=True)).text == "ab"
        assert ["stream_options" in live.sent_body(number) for number in range(3)] == [True, False, False]


async def test_a_chat_clients_own_wish_is_not_taken_back() -> None:
    async with stage(REFUSES_OPTIONS) as live:
        raw = orjson.dumps(WIRES["chat"].ask(stream=True))
        client, _ = await call(live, groq(live), raw=raw)
        assert client.status == 400


# -- refusals

WORDS = ("I can't ", "help with that.")


def refuse(streamed: bool) -> Reply:
    """As OpenAI's models refuse: not in the text."""
    if not streamed:
        message = {"role": "assistant", "content": None, "refusal": "".join(WORDS)}
        return unary(orjson.dumps({"id": "c", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}))
    deltas: list[tuple[dict[str, Any], str | None]] = [({"refusal": word}, None) for word in WORDS]
    deltas = [({"role": "assistant", "content": ""}, None), *deltas, ({}, "stop")]
    choices = [{"index": 0, "delta": delta, "finish_reason": finish} for delta, finish in deltas]
    return stream(*(frame(orjson.dumps({"id": "c", "choices": [choice]})) for choice in choices))


@pytest.mark.parametrize("streamed", [True, False], ids=["stream", "unary"])
async def test_a_refusal_is_told(streamed: bool) -> None:
    async with stage(refuse(streamed), refuse(streamed)) as live:
        told = await tell(live, groq(live), stream=streamed)
        assert (told.text, told.stop) == ("I can't help with that.", "refusal")
        told = await tell(live, groq(live), "responses", stream=streamed)
        assert (told.refusal, told.text, told.stop) == ("I can't help with that.", "", "completed")


# -- what one provider sealed, and another gets

SEALED = recorded("google/chat_stream_parallel_tools")
CLAUDES = recorded("anthropic/chat_stream_thinking")
GEMINI = "gemini-3-pro-preview"


def go_on(told: Told) -> list[dict[str, Any]]:
    """The client sends the turn back, with results for its calls."""
    calls = [block["id"] for block in told.turn["content"] if block["type"] == "tool_use"]
    results = [{"type": "tool_result", "tool_use_id": each, "content": "1 m"} for each in calls]
    user = {"role": "user", "content": [*results, {"type": "text", "text": "Thanks."}]}
    return [{"role": "user", "content": "Tides?"}, told.turn, user]


async def test_geminis_seals_come_back_to_it() -> None:
    async with stage(stream(SEALED.body), unary(recorded("google/chat_unary").body)) as live:
        told = await tell(live, google(live), stream=True, model=GEMINI)
        assert [block["type"] for block in told.turn["content"]] == ["redacted_thinking", "tool_use", "tool_use"]
        await tell(live, google(live, strict=True), messages=go_on(told), model=GEMINI)
        _, turn, results, _ = live.sent_body()["contents"]
    first, second = turn["parts"]
    assert (first["functionCall"]["id"], first["thoughtSignature"]) == ("lpndqlku", "c2VhbCBvZiBwYXJhbGxlbCBjYWxscw==")
    assert "thoughtSignature" not in second
    assert [part["functionResponse"]["name"] for part in results["parts"]] == ["read_tide", "read_tide"]


async def test_anthropic_is_spared_geminis_seals() -> None:
    scripts = [stream(SEALED.body)], [unary(recorded("anthropic/chat_unary").body)]
    async with cast(*scripts) as (live, [_, other]):
        told = await tell(live, google(live), stream=True, model=GEMINI)
        config = {**anthropic(live), "custom_host": f"{other.url}/v1"}
        messages = go_on(told)
        await tell(live, config, messages=messages)
        sent = orjson.loads(other.requests[0].body)
        assert [block["type"] for block in sent["messages"][1]["content"]] == ["tool_use", "tool_use"]
        assert sent["messages"][2] == messages[2]
        raw = orjson.dumps(MESSAGES.ask(messages=messages))
        client, body = await call(live, {**config, "strict": True}, path="/v1/messages", raw=raw)
        assert (client.status, MESSAGES.error(body)["details"]["param"]) == (400, "messages[1].content[0]")


async def test_claudes_seals_come_back_to_it_and_go_nowhere_else() -> None:
    scripts = [stream(CLAUDES.body)], [unary(recorded("google/chat_unary").body)]
    async with cast(*scripts) as (live, [first, other]):
        told = await tell(live, anthropic(live), stream=True)
        thought = told.turn["content"][0]
        assert thought["signature"]
        config = google(live, custom_host=other.url)
        client, _ = await call(live, config, path="/v1/messages", raw=orjson.dumps(MESSAGES.ask(messages=go_on(told))))
        assert client.headers["x-aiogateway-dropped-params"] == "messages[1].content[0].signature"
        assert thought["signature"].encode() not in other.requests[0].body
        assert len(first.requests) == 1


async def test_openai_is_spared_thoughts_that_others_sealed() -> None:
    """A Responses client whose first turn was Claude's, and whose second one OpenAI serves in the client's own wire."""
    answer = unary(b'{"id":"resp_1","object":"response","status":"completed","output":[],"usage":null}')
    async with cast([stream(CLAUDES.body)], [answer]) as (live, [_, other]):
        told = await tell(live, anthropic(live), "responses", stream=True)
        kinds = [item["type"] for item in told.turn]
        assert kinds == ["reasoning", "message"]
        user = {"role": "user", "content": "And?"}
        config = {"provider": "openai", "api_key": "sk-own", "custom_host": f"{other.url}/v1"}
        await tell(live, config, "responses", input=[user, *told.turn, user])
        sent = orjson.loads(other.requests[0].body)["input"]
    assert sent == [user, told.turn[1], user]
