"""Clients of each wire with targets that speak another one: answers, errors, fallback, recovery."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson
import pytest

from aiogateway.testing import FakeUpstream
from aiogateway.testing.recordings import Recording
from aiogateway.testing.upstream import Cut, Reply, stream, unary
from aiogateway.types import Lane, Outcome
from tests.answers import call, cast, index, tell
from tests.stage import Client, Stage, branch, stage
from tests.wires import WIRES, Told, recorded

HOSTS = {"groq": "/v1", "anthropic": "/v1", "google": ""}
"""A target that speaks chat completions only, Anthropic's, Google's: where the URL of its host ends."""
PAIRS = [
    pytest.param(wire, provider, id=f"{wire}-{provider}")
    for wire in WIRES
    for provider in HOSTS
    if (wire, provider) not in (("chat", "groq"), ("messages", "anthropic"))
]
"""Client and target, where both speak the same wire nothing is translated."""
across = pytest.mark.parametrize(("wire", "provider"), PAIRS)
both = pytest.mark.parametrize("streamed", [True, False], ids=["stream", "unary"])


def target(up: FakeUpstream, provider: str, **fields: Any) -> dict[str, Any]:
    return {"provider": provider, "api_key": "sk-own", "custom_host": up.url + HOSTS[provider], **fields}


def play(recording: Recording) -> Reply:
    """A recording as the provider sent it, cut wherever, as a network does."""
    if not recording.stream:
        return unary(recording.body, status=recording.status, headers=recording.headers)
    pieces = (recording.body[at : at + 53] for at in range(0, len(recording.body), 53))
    return stream(*pieces)


async def ask(live: Stage, wire: str, config: dict[str, Any], **fields: Any) -> tuple[Client, bytes]:
    raw = orjson.dumps(WIRES[wire].ask(**fields))
    return await call(live, config, path=WIRES[wire].path, raw=raw)


async def hear(wire: str, provider: str, name: str, **fields: Any) -> tuple[Told, dict[str, Any]]:
    """The answer to a call that went well, and what the provider was asked."""
    recording = recorded(f"{provider}/{name}")
    async with stage(play(recording)) as live:
        config = target(live.up, provider)
        client, body = await ask(live, wire, config, stream=recording.stream or None, **fields)
        assert client.status == 200, body
        record = await live.recorded()
        sent = live.sent_body()
    assert record.outcome is Outcome.OK
    assert record.lane is (Lane.TRANSLATED if recording.stream else Lane.UNARY)
    assert record.usage is not None
    told = WIRES[wire].read(body)
    assert (told.whole, told.error) == (True, None)
    if recording.usage is not None:
        assert told.usage == (recording.usage.input, recording.usage.output)
        assert (record.usage.input, record.usage.output) == told.usage
    return told, sent


DOWN = unary(b'{"error":{"message":"down","type":"server_error"}}', status=503)


# -- answers

ENDS = {"chat": "stop", "messages": "end_turn", "responses": "completed"}


@both
@across
async def test_text(wire: str, provider: str, streamed: bool) -> None:
    name = "chat_stream" if streamed else "chat_unary"
    told, sent = await hear(wire, provider, name)
    assert told.text == recorded(f"{provider}/{name}").text
    assert told.stop == ENDS[wire]
    assert b"Greet the harbour master." in orjson.dumps(sent)


@across
async def test_parallel_calls(wire: str, provider: str) -> None:
    tools = [WIRES[wire].tool(name) for name in ("find_tide", "find_wind", "is_open", "read_tide")]
    told, sent = await hear(wire, provider, "chat_stream_parallel_tools", tools=tools)
    calls = {
        "groq": [("find_tide", "Wellsey"), ("find_wind", "Cape Ørn")],
        "anthropic": [("find_tide", "Wellsey"), ("find_tide", "Port Anna"), ("is_open", None)],
        "google": [("read_tide", "Cork"), ("read_tide", "Brest")],
    }
    said = [(name, orjson.loads(arguments).get("port")) for name, arguments in told.calls]
    assert said == calls[provider]
    assert told.stop == {"chat": "tool_calls", "messages": "tool_use", "responses": "completed"}[wire]
    assert b"find_wind" in orjson.dumps(sent["tools"])


@across
async def test_thoughts(wire: str, provider: str) -> None:
    name = "chat_stream_thinking_call" if provider == "google" else "chat_stream_thinking"
    told, _ = await hear(wire, provider, name)
    thoughts = {
        "groq": "",
        "anthropic": "Synodic: about 29.53 days.",
        "google": "**Finding the time**\n\nThere is a clock I can read.\n\nI read it now.\n",
    }
    assert told.thoughts == thoughts[provider] or provider == "groq"
    assert told.thoughts


# -- errors

ERRORS = {"groq": "error_rate_limit", "anthropic": "error_rate_limit", "google": "error_model"}


@both
@across
async def test_an_error_is_the_providers_in_the_clients_dialect(wire: str, provider: str, streamed: bool) -> None:
    recording = recorded(f"{provider}/{ERRORS[provider]}")
    assert recording.error is not None
    async with stage(play(recording)) as live:
        client, body = await ask(live, wire, target(live.up, provider), stream=streamed)
    assert client.status == recording.status
    assert client.headers.get("retry-after") == dict(recording.headers).get("retry-after")
    error = WIRES[wire].error(body)
    assert error["message"] == recording.error.message
    if wire == "messages":
        assert error["type"] == {429: "rate_limit_error", 404: "not_found_error"}[recording.status]
        details = error["details"]
        assert details["type"] == recording.error.type
        assert details.get("error_code") == recording.error.code
    else:
        assert (error["type"], error["code"]) == (recording.error.type, recording.error.code)


@across
async def test_an_error_in_the_stream_is_said_in_the_clients_dialect(wire: str, provider: str) -> None:
    recording = recorded(f"{provider}/error_in_stream")
    assert recording.error is not None
    async with stage(play(recording)) as live:
        client, body = await ask(live, wire, target(live.up, provider), stream=True)
        record = await live.recorded()
    told = WIRES[wire].read(body)
    assert client.status == 200
    assert told.error is not None
    assert (told.error["message"], told.whole) == (recording.error.message, False)
    assert told.stop == ("failed" if wire == "responses" else None)
    assert record.outcome is Outcome.TRUNCATED


FIRST = {
    "groq": b'data: {"error":{"message":"busy","type":"overloaded","code":503}}\n\n',
    "anthropic": b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"busy"}}\n\n',
    "google": b'data: {"error":{"code":503,"message":"busy","status":"UNAVAILABLE"}}\n\n',
}


@across
async def test_an_error_before_the_answer_is_an_ordinary_one(wire: str, provider: str) -> None:
    async with stage(stream(FIRST[provider])) as live:
        client, body = await ask(live, wire, target(live.up, provider), stream=True)
    assert client.status == (529 if provider == "anthropic" else 503)
    assert WIRES[wire].error(body)["message"] == "busy"


@across
async def test_a_stream_that_is_cut_is_never_whole(wire: str, provider: str) -> None:
    half = recorded(f"{provider}/chat_stream").body
    half = half[: half.rindex(b"data: {", 0, len(half) * 2 // 3)]
    async with stage((*stream(half, end=False), Cut())) as live:
        _, body = await ask(live, wire, target(live.up, provider), stream=True)
        record = await live.recorded()
    told = WIRES[wire].read(body)
    assert told.error is not None
    assert not told.whole
    assert (record.outcome, record.error) == (Outcome.TRUNCATED, "stream_truncated")


# -- what a target can't be told

LOST: dict[str, tuple[dict[str, Any], set[str]]] = {
    "chat": ({"logit_bias": {"5": 1}, "frequency_penalty": 0.5}, {"logit_bias", "frequency_penalty"}),
    "messages": ({"top_k": 4, "speed": "fast", "metadata": {"trip": "7"}}, {"top_k", "speed", "metadata.trip"}),
    "responses": ({"truncation": "auto", "metadata": {"trip": "7"}}, {"truncation", "metadata"}),
}
KNOWN = {
    ("chat", "google"): {"frequency_penalty"},
    ("messages", "google"): {"top_k"},
    ("responses", "groq"): {"metadata"},
}
"""What of it the target understands."""


@across
async def test_what_the_target_can_not_be_told_is_listed(wire: str, provider: str) -> None:
    asked, lost = LOST[wire]
    recording = recorded(f"{provider}/chat_unary")
    async with stage(play(recording)) as live:
        client, _ = await ask(live, wire, target(live.up, provider), **asked)
        record = await live.recorded()
    expected = lost - KNOWN.get((wire, provider), set())
    assert client.status == 200
    assert set(client.headers["x-aiogateway-dropped-params"].split(",")) == expected
    assert set(record.dropped_params) == expected


@across
async def test_a_strict_config_refuses_it_by_name(wire: str, provider: str) -> None:
    asked, lost = LOST[wire]
    async with stage(DOWN) as live:
        client, body = await ask(live, wire, target(live.up, provider, strict=True), **asked)
        assert not live.up.requests
    error = WIRES[wire].error(body)
    param = (error["details"] if wire == "messages" else error)["param"]
    assert client.status == 400
    assert param in lost - KNOWN.get((wire, provider), set())
    assert param in error["message"]


@across
async def test_a_strict_config_has_nothing_against_a_plain_call(wire: str, provider: str) -> None:
    async with stage(play(recorded(f"{provider}/chat_unary"))) as live:
        client, _ = await ask(live, wire, target(live.up, provider, strict=True), temperature=0.5)
        assert client.status == 200
        assert "x-aiogateway-dropped-params" not in client.headers


# -- fallback


@both
@pytest.mark.parametrize("wire", WIRES)
async def test_the_next_target_may_speak_another_dialect(wire: str, streamed: bool) -> None:
    """From a target of OpenAI's wires to Anthropic's to Google's; only what the last one can't be told is listed."""
    good = recorded("google/chat_stream" if streamed else "google/chat_unary")
    overloaded = recorded("anthropic/error_overloaded")
    async with cast([DOWN], [play(overloaded)], [play(good)]) as (live, [first, second, third]):
        config = branch(
            "fallback",
            {"provider": "openai", "api_key": "sk-own", "custom_host": f"{first.url}/v1"},
            target(second, "anthropic", override_params={"model": "claude-sonnet-4-5"}),
            target(third, "google", override_params={"model": "gemini-2.5-flash"}),
        )
        asked, _ = LOST[wire]
        client, body = await ask(live, wire, config, stream=streamed, **asked)
        record = await live.recorded()
        paths = [up.requests[0].path for up in (first, second, third)]
    assert (client.status, index(client)) == (200, "config.targets[2]")
    told = WIRES[wire].read(body)
    assert (told.text, told.whole, told.stop) == (good.text, True, ENDS[wire])
    assert tell(record) == [
        ("targets[0]", 503, "upstream_status"),
        ("targets[1]", 529, "upstream_status"),
        ("targets[2]", 200, None),
    ]
    assert paths == [
        "/v1/responses" if wire == "responses" else "/v1/chat/completions",
        "/v1/messages",
        "/v1beta/models/gemini-2.5-flash:" + ("streamGenerateContent?alt=sse" if streamed else "generateContent"),
    ]
    lost = LOST[wire][1] - KNOWN.get((wire, "google"), set())
    assert set(client.headers["x-aiogateway-dropped-params"].split(",")) == lost


@pytest.mark.parametrize("wire", WIRES)
async def test_when_all_fail_the_last_ones_error_is_told(wire: str) -> None:
    last = recorded("google/error_model")
    async with cast([play(recorded("anthropic/error_rate_limit"))], [play(last)]) as (live, [first, second]):
        config = branch("fallback", target(first, "anthropic"), target(second, "google"))
        client, body = await ask(live, wire, config)
    assert last.error is not None
    assert (client.status, WIRES[wire].error(body)["message"]) == (404, last.error.message)


# -- recovery

WORDS = ("Good ", "evening, ", "harbour ", "master.")


def speak_anthropic(words: Iterable[str] = WORDS, *, end: bool = True) -> list[bytes]:
    start = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "content": []}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {**start, "usage": {"input_tokens": 4, "output_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    ]
    events += (
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}} for word in words
    )
    if end:
        events += [
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}},
            {"type": "message_stop"},
        ]
    return [b"event: %b\ndata: %b\n\n" % (each["type"].encode(), orjson.dumps(each)) for each in events]


def speak_google(words: Iterable[str] = WORDS, *, end: bool = True) -> list[bytes]:
    chunks: list[dict[str, Any]] = [
        {"candidates": [{"content": {"role": "model", "parts": [{"text": word}]}, "index": 0}], "responseId": "r1"}
        for word in words
    ]
    if end:
        last = {"candidates": [{"finishReason": "STOP", "index": 0}]}
        chunks.append({**last, "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 5}})
    return [b"data: %b\r\n\r\n" % orjson.dumps(chunk) for chunk in chunks]


SPEAK = {"anthropic": speak_anthropic, "google": speak_google}


@pytest.mark.parametrize(("first", "second"), [("anthropic", "google"), ("google", "anthropic")])
async def test_a_broken_stream_is_finished_in_another_dialect(first: str, second: str) -> None:
    broken: Reply = (*stream(*SPEAK[first](WORDS[:2], end=False), end=False), Cut())
    async with cast([broken], [stream(*SPEAK[second]())]) as (live, [one, other]):
        targets = (target(one, first), target(other, second))
        config = branch("fallback", *targets, stream_recovery={"mode": "restart"})
        client, body = await ask(live, "chat", config, stream=True)
        record = await live.recorded()
    told = WIRES["chat"].read(body)
    assert (client.status, told.text, told.stop, told.whole) == (200, "".join(WORDS), "stop", True)
    assert told.error is None
    assert b": the stream broke off on config.targets[0]" in body
    assert (record.outcome, record.recovery, record.lane) == (Outcome.OK, "recovered", Lane.TRANSLATED)
    assert tell(record) == [("targets[0]", 200, "stream_truncated"), ("targets[1]", 200, None)]


async def test_an_error_event_of_the_first_target_is_not_seen() -> None:
    error = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n'
    script = stream(*speak_anthropic(WORDS[:2], end=False), error)
    async with cast([script], [stream(*speak_google())]) as (live, [one, other]):
        targets = (target(one, "anthropic"), target(other, "google"))
        config = branch("fallback", *targets, stream_recovery={"mode": "restart"})
        _, body = await ask(live, "chat", config, stream=True)
    told = WIRES["chat"].read(body)
    assert (told.text, told.error, told.whole) == ("".join(WORDS), None, True)
    assert b"Overloaded" not in body


@pytest.mark.parametrize("wire", ["messages", "responses"])
async def test_the_other_wires_are_told_of_the_break(wire: str) -> None:
    """Their streams can't be gone on with in the middle, so no other target is asked."""
    broken: Reply = (*stream(*speak_google(WORDS[:2], end=False), end=False), Cut())
    async with cast([broken], [stream(*speak_google())]) as (live, [one, other]):
        targets = (target(one, "google"), target(other, "google"))
        config = branch("fallback", *targets, stream_recovery={"mode": "restart"})
        _, body = await ask(live, wire, config, stream=True)
        assert not other.requests
    told = WIRES[wire].read(body)
    assert told.text == "Good evening, "
    assert told.error is not None
    assert not told.whole
