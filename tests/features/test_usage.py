"""Token counts: the client sees them only if it asked; we account them always."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from aiogateway.testing.upstream import Cut, Pause, Reply, chunk, stream, unary
from aiogateway.types import Lane, Outcome, Usage
from tests import foreign
from tests.stage import DONE, event, stage, usage_event
from tests.views import expect_truncation

COUNTS = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
BOTH = Usage(input=3, output=2)
ASKED = {"stream_options": {"include_usage": True}}
NOT_ASKED: list[dict[str, Any]] = [
    {},
    {"stream_options": None},
    {"stream_options": {}},
    {"stream_options": {"include_usage": False}},
    {"stream_options": {"include_obfuscation": False}},
]
TEXT = [event("a"), event("b"), event("", "stop")]

lanes = pytest.mark.parametrize("checked", [False, True], ids=["spliced", "checked"])


@lanes
async def test_asked_for_it_comes(checked: bool, tmp_path: Path) -> None:
    sent = b"".join([*TEXT, usage_event(), DONE])
    async with stage(stream(sent), tmp=tmp_path, check_streams=checked) as live:
        assert await live.ask(**ASKED) == (200, sent)
        assert live.sent_body()["stream_options"] == {"include_usage": True}
        record = await live.recorded()
        assert record.usage == record.attempts[0].usage == BOTH


@lanes
async def test_not_asked_for_it_is_counted_and_hidden(checked: bool, tmp_path: Path) -> None:
    async with stage(stream(*TEXT, usage_event(), DONE), tmp=tmp_path, check_streams=checked) as live:
        for count, options in enumerate(NOT_ASKED, 1):
            assert await live.ask(**options) == (200, b"".join(TEXT) + DONE), options
            kept = {**(options.get("stream_options") or {}), "include_usage": True}
            assert live.sent_body()["stream_options"] == kept
            record = await live.recorded(count)
            assert record.usage == record.attempts[0].usage == BOTH, options


@lanes
async def test_wherever_the_reads_end_only_the_usage_event_goes(checked: bool, tmp_path: Path) -> None:
    body = b"".join([*TEXT, usage_event(), DONE])
    start = body.index(usage_event())
    at = range(start - 3, start + len(usage_event()) + 3)
    script: list[Reply] = [(*stream(body[:i], end=False), Pause(0.001), *stream(body[i:])[1:]) for i in at]
    async with stage(*script, tmp=tmp_path, check_streams=checked) as live:
        for count, i in enumerate(at, 1):
            assert await live.ask() == (200, b"".join(TEXT) + DONE), i
            assert (await live.recorded(count)).usage == BOTH, i


@pytest.mark.parametrize(
    "write", [orjson.dumps, lambda value: orjson.dumps(value).replace(b":", b": ").replace(b",", b", ")]
)
async def test_compact_and_spaced(write: Any) -> None:
    usage = b"data: " + write({"id": "c", "usage": COUNTS, "choices": []}) + b"\n\n"
    async with stage(stream(*TEXT, usage, DONE)) as live:
        assert await live.ask() == (200, b"".join(TEXT) + DONE)
        assert (await live.recorded()).usage == BOTH


async def test_usage_beside_choices_stays() -> None:
    """It is a part of an event that the client wants, and other servers send it to whoever did not ask, too."""
    last = event("", "stop", usage=COUNTS)
    async with stage(stream(*TEXT[:2], last, DONE)) as live:
        assert await live.ask() == (200, b"".join(TEXT[:2]) + last + DONE)
        assert (await live.recorded()).usage == BOTH


async def test_usage_in_every_chunk_counts_once() -> None:
    """vLLM's `continuous_usage_stats`: the last one is the whole."""
    frames = [event(text, finish, usage={**COUNTS, "completion_tokens": n}) for n, (text, finish) in
              enumerate([("a", None), ("b", None), ("", "stop")])]  # fmt: skip
    async with stage(stream(*frames, DONE)) as live:
        assert await live.ask() == (200, b"".join(frames) + DONE)
        assert (await live.recorded()).usage == BOTH


async def test_events_without_choices_that_are_not_usage_stay() -> None:
    """Azure's first event holds its filters' word on the prompt; others send pings and empty chunks."""
    azure = b'data: {"choices":[],"id":"","model":"","prompt_filter_results":[{"prompt_index":0}]}\n\n'
    none = b'data: {"id":"c","choices":[],"usage":null}\n\n'
    frames = [azure, *TEXT[:2], none, TEXT[2]]
    async with stage(stream(*frames, usage_event(), DONE)) as live:
        assert await live.ask() == (200, b"".join(frames) + DONE)
        assert (await live.recorded()).usage == BOTH


async def test_null_usage_beside_choices_stays() -> None:
    """OpenAI sends it in every chunk once usage was asked for."""
    frames = [event("a", usage=None), event("", "stop", usage=None)]
    async with stage(stream(*frames, usage_event(), DONE)) as live:
        assert await live.ask() == (200, b"".join(frames) + DONE)
        assert (await live.recorded()).usage == BOTH


async def test_text_that_looks_like_usage_stays() -> None:
    frames = [event('{"choices":[],"usage":{"prompt_tokens":9}}'), TEXT[2]]
    async with stage(stream(*frames, usage_event(), DONE)) as live:
        assert await live.ask() == (200, b"".join(frames) + DONE)
        assert (await live.recorded()).usage == BOTH


async def test_usage_far_from_the_end() -> None:
    """Behind it come events and reads, but not many: the last 4 KiB of each of the last few reads are kept."""
    late = [b": bye\n\n", b": bye\n\n"]
    script = [*stream(*TEXT, usage_event(), end=False)]
    async with stage((*script, *[step for one in late for step in (Pause(0.005), chunk(one))], Pause(0.005),
                      *stream(DONE)[1:])) as live:  # fmt: skip
        assert await live.ask(**ASKED) == (200, b"".join([*TEXT, usage_event(), *late, DONE]))
        assert (await live.recorded()).usage == BOTH


async def test_usage_before_a_large_event_is_hidden_and_counted() -> None:
    large = event("x" * 600_000)
    async with stage(stream(usage_event() + large, *TEXT, DONE)) as live:
        assert await live.ask() == (200, large + b"".join(TEXT) + DONE)
        assert (await live.recorded()).usage == BOTH


@pytest.mark.parametrize("options", [{}, ASKED], ids=["not asked", "asked"])
async def test_a_cut_keeps_what_was_told(options: dict[str, Any]) -> None:
    async with stage((*stream(event("a"), usage_event(), event("b"), end=False), Pause(0.02), Cut())) as live:
        status, body = await live.ask(**options)
        assert status == 200
        assert (usage_event() in body) is bool(options)
        assert (await expect_truncation(live, "stream_truncated")).usage == BOTH


async def test_none_was_told() -> None:
    async with stage(stream(*TEXT, DONE)) as live:
        assert await live.ask() == (200, b"".join(TEXT) + DONE)
        record = await live.recorded()
        assert (record.outcome, record.usage) == (Outcome.OK, None)


async def test_details_are_counted() -> None:
    counts = {
        **COUNTS,
        "prompt_tokens_details": {"cached_tokens": 1},
        "completion_tokens_details": {"reasoning_tokens": 2},
    }
    usage = b"data: " + orjson.dumps({"choices": [], "usage": counts}) + b"\n\n"
    async with stage(stream(*TEXT, usage, DONE), unary(orjson.dumps({"choices": [], "usage": counts}))) as live:
        await live.ask()
        await live.ask(stream=False)
        for count in (1, 2):
            assert (await live.recorded(count)).usage == Usage(input=3, output=2, cached=1, reasoning=2)


async def test_text_completions_count_the_same() -> None:
    frames = [b'data: {"choices":[{"index":0,"text":"a","finish_reason":"stop"}]}\n\n']
    async with stage(stream(*frames, usage_event(), DONE)) as live:
        assert await live.ask(path="/v1/completions", prompt="x") == (200, frames[0] + DONE)
        assert live.sent_body()["stream_options"] == {"include_usage": True}
        record = await live.recorded()
        assert (record.usage, record.lane) == (BOTH, Lane.FRAMED)


async def test_responses_tell_it_by_themselves() -> None:
    response = {"usage": {"input_tokens": 3, "output_tokens": 2}}
    event = orjson.dumps({"type": "response.completed", "response": response})
    done = b"event: response.completed\ndata: " + event + b"\n\n"
    async with stage(stream(done)) as live:
        assert await live.ask(path="/v1/responses", input="x") == (200, done)
        assert "stream_options" not in live.sent_body()
        assert (await live.recorded()).usage == BOTH


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/v1/embeddings"])
async def test_unary_answers_count(path: str) -> None:
    body = orjson.dumps({"choices": [], "data": [], "usage": COUNTS})
    async with stage(unary(body)) as live:
        assert await live.ask(stream=False, path=path) == (200, body)
        assert "stream_options" not in live.sent_body()
        record = await live.recorded()
        assert record.usage == record.attempts[0].usage == BOTH


@pytest.mark.parametrize("options", [{}, ASKED], ids=["not asked", "asked"])
async def test_translated_it_comes_last_and_only_if_asked(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign.install(monkeypatch)
    async with stage(stream(*TEXT, usage_event(), DONE)) as live:
        status, body = await live.ask(headers=foreign.HEADERS, **options)
        assert status == 200
        assert live.sent_body()["stream_options"]["include_usage"] is True
        chunks = [orjson.loads(one[6:]) for one in body.split(b"\n\n")[:-2]]
        told = [one for one in chunks if one.get("usage")]
        if options:
            assert told == chunks[-1:]
            assert told[0]["choices"] == []
            assert {name: told[0]["usage"][name] for name in COUNTS} == COUNTS
            assert all(one["usage"] is None for one in chunks[:-1])
        else:
            assert not told
            assert all(one["choices"] for one in chunks)
        record = await live.recorded()
        assert (record.lane, record.usage) == (Lane.TRANSLATED, BOTH)


async def test_stream_options_that_are_no_object_are_the_providers_to_refuse() -> None:
    refusal = b'{"error":{"message":"stream_options must be an object"}}'
    async with stage(unary(refusal, status=400)) as live:
        assert await live.ask(stream_options=5) == (400, refusal)
        assert live.sent_body()["stream_options"] == 5
        assert len(live.up.requests) == 1
