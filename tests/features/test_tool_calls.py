"""Tool calls in streams: the same bytes on the same wire; translated, every call has its index and every chunk its
`finish_reason`, whatever the provider left out.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from aiogateway.testing.upstream import Cut, Pause, stream, unary
from aiogateway.types import Lane, Outcome
from tests import foreign
from tests.stage import DONE, Stage, stage, usage_event
from tests.views import expect_truncation, read_in_band

ORDER = ["Paris", "Rome"]
ARGUMENTS = ['{"city":"Paris"}', '{"city":"Rome"}']


def delta(finish: str | None = None, index: int = 0, **fields: Any) -> bytes:
    choice = {"index": index, "delta": fields, "finish_reason": finish}
    return b"data: " + orjson.dumps({"id": "c", "object": "chat.completion.chunk", "choices": [choice]}) + b"\n\n"


def call(arguments: str, **fields: Any) -> dict[str, Any]:
    """One item of `tool_calls`."""
    function = {"arguments": arguments, **({"name": fields.pop("name")} if "name" in fields else {})}
    return {**fields, "function": function}


def opened(number: int, **fields: Any) -> dict[str, Any]:
    return {"id": f"call_{number}", "type": "function", **fields}


END = [delta("tool_calls"), usage_event(), DONE]

WAYS: dict[str, list[bytes]] = {
    "parallel": [
        delta(role="assistant", content=None),
        delta(tool_calls=[call("", name="weather", **opened(0, index=0))]),
        delta(tool_calls=[call('{"city":', index=0)]),
        delta(tool_calls=[call('"Paris"}', index=0)]),
        delta(tool_calls=[call("", name="weather", **opened(1, index=1))]),
        delta(tool_calls=[call('{"city":"Rome"}', index=1)]),
    ],
    "interleaved": [
        delta(tool_calls=[call("", name="weather", **opened(n, index=n)) for n in (0, 1)]),
        delta(tool_calls=[call('{"city":', index=0), call('{"city":', index=1)]),
        delta(tool_calls=[call('"Rome"}', index=1)]),
        delta(tool_calls=[call('"Paris"}', index=0)]),
    ],
    "index missing": [
        delta(tool_calls=[call('{"city":', name="weather", **opened(0))]),
        delta(tool_calls=[call('"Paris"}')]),
        delta(tool_calls=[call('{"city":', name="weather", **opened(1))]),
        delta(tool_calls=[call('"Rome"}')]),
    ],
    "all at index 0": [
        delta(tool_calls=[call(ARGUMENTS[0], name="weather", **opened(0, index=0))]),
        delta(tool_calls=[call(ARGUMENTS[1], name="weather", **opened(1, index=0))]),
    ],
    "id repeated": [
        delta(tool_calls=[call('{"city":', name="weather", **opened(0, index=0))]),
        delta(tool_calls=[call('"Paris"}', **opened(0, index=0))]),
        delta(tool_calls=[call('{"city":', name="weather", **opened(1, index=1))]),
        delta(tool_calls=[call('"Rome"}', **opened(1, index=1))]),
    ],
    "id only, no index": [
        delta(tool_calls=[call("", name="weather", **opened(0))]),
        delta(tool_calls=[call("", name="weather", **opened(1))]),
        delta(tool_calls=[call(ARGUMENTS[1], id="call_1")]),
        delta(tool_calls=[call(ARGUMENTS[0], id="call_0")]),
    ],
    "empty deltas": [
        delta(),
        delta(role="assistant", content=""),
        delta(tool_calls=[]),
        delta(tool_calls=[call(ARGUMENTS[0], name="weather", **opened(0, index=0))]),
        delta(),
        delta(content=""),
        delta(tool_calls=[call("", index=0)]),
        delta(tool_calls=[call(ARGUMENTS[1], name="weather", **opened(1, index=1))]),
        delta(tool_calls=None),
    ],
    "arguments as objects": [
        delta(tool_calls=[{"index": n, **opened(n), "function": {"name": "weather", "arguments": {"city": ORDER[n]}}}])
        for n in (0, 1)
    ],
}


@pytest.fixture
async def translated(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    """Every way in turn, then all of them once more."""
    foreign.install(monkeypatch)
    async with stage(*[stream(*frames, *END) for frames in WAYS.values()]) as live:
        yield live


def read(body: bytes) -> list[dict[str, Any]]:
    """A stream's chunks."""
    assert body.endswith(b"\n\n" + DONE)
    return [orjson.loads(one.removeprefix(b"data: ")) for one in body.split(b"\n\n")[:-2]]


def gather(chunks: list[dict[str, Any]], index: int = 0) -> list[dict[str, Any]]:
    """One choice's calls, put together as openai-python does: by index, everything appended."""
    calls: dict[int, dict[str, Any]] = {}
    for choice in (choice for one in chunks for choice in one["choices"] if choice["index"] == index):
        for piece in choice["delta"].get("tool_calls") or ():
            known = calls.setdefault(piece["index"], {"id": "", "name": "", "arguments": ""})
            known["id"] += piece.get("id") or ""
            known["name"] += piece["function"].get("name") or ""
            known["arguments"] += piece["function"].get("arguments") or ""
    return [calls[number] for number in range(len(calls))]


async def test_on_the_same_wire_they_pass_as_they_came() -> None:
    async with stage(*[stream(*frames, *END) for frames in WAYS.values()]) as live:
        for count, (name, frames) in enumerate(WAYS.items(), 1):
            assert await live.ask() == (200, b"".join(frames) + END[0] + DONE), name
            record = await live.recorded(count)
            assert (record.outcome, record.lane) == (Outcome.OK, Lane.FRAMED)


async def test_translated_every_way_means_the_same_two_calls(translated: Stage) -> None:
    for count, name in enumerate(WAYS, 1):
        status, body = await translated.ask(headers=foreign.HEADERS)
        assert status == 200
        chunks = read(body)
        calls = gather(chunks)
        assert [orjson.loads(one["arguments"]) for one in calls] == [{"city": city} for city in ORDER], name
        assert [(one["id"], one["name"]) for one in calls] == [("call_0", "weather"), ("call_1", "weather")], name
        record = await translated.recorded(count)
        assert (record.outcome, record.lane, record.malformed) == (Outcome.OK, Lane.TRANSLATED, 0)


async def test_translated_every_chunk_says_finish_reason_and_only_the_last_has_one(translated: Stage) -> None:
    for name in WAYS:
        _, body = await translated.ask(headers=foreign.HEADERS)
        choices = [choice for one in read(body) for choice in one["choices"]]
        assert all("finish_reason" in choice for choice in choices), name
        assert [choice["finish_reason"] for choice in choices] == [None] * (len(choices) - 1) + ["tool_calls"], name
        assert [("role" in choice["delta"]) for choice in choices] == [True] + [False] * (len(choices) - 1), name
        assert all(isinstance(one["index"], int) for c in choices for one in c["delta"].get("tool_calls", ())), name


def two_choices() -> list[bytes]:
    """Text in the one, a call in the other, in turns."""
    return [
        delta(role="assistant", content=""),
        delta(role="assistant", content="", index=1),
        delta(content="Hello"),
        delta(tool_calls=[call('{"city":', name="weather", **opened(0, index=0))], index=1),
        delta("stop"),
        delta(tool_calls=[call('"Paris"}', index=0)], index=1),
        delta("tool_calls", index=1),
    ]


async def test_several_choices_keep_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    foreign.install(monkeypatch)
    frames = two_choices()
    async with stage(stream(*frames, usage_event(), DONE)) as live:
        assert await live.ask(n=2) == (200, b"".join(frames) + DONE)
        status, body = await live.ask(n=2, headers=foreign.HEADERS)
        assert status == 200
        chunks = read(body)
        assert gather(chunks, 0) == []
        assert gather(chunks, 1) == [{"id": "call_0", "name": "weather", "arguments": '{"city":"Paris"}'}]
        choices = [choice for one in chunks for choice in one["choices"]]
        assert "".join(c["delta"].get("content") or "" for c in choices if c["index"] == 0) == "Hello"
        assert [(c["index"], c["finish_reason"]) for c in choices if c["finish_reason"]] == [
            (0, "stop"),
            (1, "tool_calls"),
        ]


@pytest.mark.parametrize("wire", ["same", "foreign"])
async def test_a_cut_inside_a_call_is_said_and_nothing_is_made_up(wire: str, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign.install(monkeypatch)
    frames = WAYS["parallel"][:3]
    async with stage((*stream(*frames, end=False), Pause(0.02), Cut())) as live:
        headers = foreign.HEADERS if wire == "foreign" else {}
        status, body = await live.ask(headers=headers)
        at = body.rindex(b"data: ")
        assert (status, read_in_band(body, body[:at])["code"]) == (200, "stream_truncated")
        assert b'"finish_reason":"' not in body
        assert b"[DONE]" not in body
        if wire == "same":
            assert body[:at] == b"".join(frames)
        await expect_truncation(live, "stream_truncated")


async def test_with_several_choices_one_finish_is_not_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    foreign.install(monkeypatch)
    async with stage((*stream(*two_choices()[:-1], end=False), Pause(0.02), Cut())) as live:
        for count, headers in enumerate(({}, foreign.HEADERS), 1):
            status, body = await live.ask(n=2, headers=headers)
            at = body.rindex(b"data: ")
            assert (status, read_in_band(body, body[:at])["code"]) == (200, "stream_truncated")
            await expect_truncation(live, "stream_truncated", count=count)


async def test_unary_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    foreign.install(monkeypatch)
    calls = [{**opened(n), "function": {"name": "weather", "arguments": ARGUMENTS[n]}} for n in (0, 1)]
    choice = {"index": 0, "message": {"role": "assistant", "content": None, "tool_calls": calls}}
    body = orjson.dumps({"id": "c", "choices": [{**choice, "finish_reason": "tool_calls"}]})
    async with stage(unary(body)) as live:
        assert await live.ask(stream=False) == (200, body)
        status, answer = await live.ask(stream=False, headers=foreign.HEADERS)
        assert status == 200
        (got,) = orjson.loads(answer)["choices"]
        assert got["finish_reason"] == "tool_calls"
        assert got["message"]["tool_calls"] == calls
        assert got["message"]["content"] is None


async def test_tools_reach_a_provider_of_another_wire(monkeypatch: pytest.MonkeyPatch) -> None:
    foreign.install(monkeypatch)
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}, "strict": True}}]
    turn = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{**opened(0), "function": {"name": "weather", "arguments": "{}"}}],
    }
    messages = [{"role": "user", "content": "?"}, turn, {"role": "tool", "tool_call_id": "call_0", "content": "fine"}]
    async with stage(stream(*WAYS["parallel"], *END)) as live:
        await live.ask(
            headers=foreign.HEADERS, messages=messages, tools=tools, parallel_tool_calls=True, tool_choice="auto"
        )
        sent = live.sent_body()
        assert sent["tools"] == tools
        assert sent["messages"] == messages
        assert (sent["parallel_tool_calls"], sent["tool_choice"]) == (True, "auto")
