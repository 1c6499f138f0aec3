"""A stream that breaks after its first token and is finished by another target: one answer, whole, in one envelope."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Iterable
from typing import Any

import orjson
import pytest

from aiogateway.testing import FakeUpstream
from aiogateway.testing.upstream import Cut, Hang, Reply, Script, Stall, stream, unary
from aiogateway.types import Attempt, Lane, Outcome, Record, Usage
from aiogateway.wire.sse import frame
from tests.faults import DOWN, break_off
from tests.lab import write_config
from tests.stage import Stage, branch, leaf, stage
from tests.views import Chat
from tests.voices import ASK, DONE, FALLBACK, PRIMARY, TEXT, TOKENS, Pace, Voice

CUT = break_off(True, 40, Cut())
SENT = b"".join(PRIMARY.events()[:41])
FINE = FALLBACK.reply(True)
RECOVERY = {"mode": "restart"}
OLLAMA = "llama-1"


def comment(index: int = 0) -> bytes:
    return b": the stream broke off on config.targets[%d]; looking for another target\n\n" % index


@contextlib.asynccontextmanager
async def pair(first: Script, *second: Script, **fields: Any) -> AsyncIterator[tuple[Stage, FakeUpstream, Any]]:
    """A primary and a fallback behind a gateway, and the config that names both. Waits between retries are short."""
    async with FakeUpstream(*second) as other, stage(first, environ={"AIOGATEWAY_RETRY_WAIT": "0.02"}) as live:
        yield live, other, write_config(live.up, other, Pace(limit=2), **fields)


def tell(attempt: Attempt) -> tuple[str, int | None, Outcome | None, str | None]:
    return attempt.target.removeprefix("config.targets"), attempt.status, attempt.outcome, attempt.error


BROKEN = ("[0]", 200, Outcome.TRUNCATED, "stream_truncated")
ANSWERED = ("[1]", 200, Outcome.OK, None)


def expect_recovered(record: Record, *attempts: Any, usage: Usage | None = None) -> None:
    """A success like any other, which says that it was recovered."""
    assert (record.status, record.outcome, record.error, record.recovery) == (200, Outcome.OK, None, "recovered")
    assert tuple(map(tell, record.attempts)) == (attempts or (BROKEN, ANSWERED))
    assert record.usage == (usage or Usage(input=9, output=61))


def read_whole(body: bytes, usages: int = 0) -> Chat:
    """An answer that is whole in every respect; this client may not have asked for usage."""
    chat = Chat.read(body, streamed=True)
    assert (chat.text, chat.finishes, chat.said("role"), chat.error) == (TEXT, ["stop"], ["assistant"], None)
    assert len({(chunk["id"], chunk["created"]) for chunk in chat.chunks}) == 1
    assert (chat.closed, chat.garbled, len(chat.usages)) == (True, 0, usages)
    return chat


# -- one answer


@pytest.mark.parametrize("mode", ["restart", "continue"])
async def test_the_next_target_is_asked_the_same_question(mode: str) -> None:
    """`continue` is accepted and means `restart` for now."""
    async with pair(CUT, FINE, stream_recovery={"mode": mode}) as (live, other, config):
        status, body = await live.ask(config=config, **ASK)
        assert status == 200
        assert body.startswith(SENT + comment())
        chat = read_whole(body)
        assert [chunk["model"] for chunk in chat.chunks] == [PRIMARY.model] * 41 + [FALLBACK.model] * 21
        asked = orjson.loads(other.requests[0].body)
        assert asked == live.sent_body() | {"model": FALLBACK.model}
        assert asked["messages"] == ASK["messages"]
        expect_recovered(await live.recorded())
        assert live.records[0].lane is Lane.CHECKED
        assert live.records[0].sent == len(body)


async def test_it_is_said_in_the_stream_before_it_is_mended() -> None:
    """The comment reaches the client while the next target is still thinking."""
    async with pair(CUT, (Stall(), *FINE)) as (live, other, config):
        client = await live.post(config=config, **ASK)
        await client.head()
        got = b""
        async with asyncio.timeout(1):
            while not got.endswith(comment()):
                got += await client.chunk()
        assert got == SENT + comment()
        await other.requested()
        other.resume()
        read_whole(got + await client.body())


def cut_pieces(text: str, size: int) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


@pytest.mark.parametrize("size", [1, 13, 10_000], ids=["letters", "pieces", "one piece"])
async def test_the_other_answer_may_come_in_other_pieces(size: int) -> None:
    """And the break may be in the middle of one of them."""
    said = stream(*FALLBACK.events(cut_pieces(TEXT, size)), DONE)
    async with pair(CUT, said) as (live, _, config):
        _, body = await live.ask(config=config, **ASK)
        chat = read_whole(body)
        news = cut_pieces(TEXT, size)[len("".join(TOKENS[:40])) // size :]
        assert len(chat.chunks) == 41 + len(news) + 1
        expect_recovered(await live.recorded())


async def test_the_other_answer_may_be_no_stream() -> None:
    """Some servers ignore `stream`."""
    async with pair(CUT, unary(FALLBACK.body())) as (live, _, config):
        _, body = await live.ask(config=config, **ASK)
        assert body.startswith(SENT + comment())
        read_whole(body)
        expect_recovered(await live.recorded())


async def test_a_break_before_any_text() -> None:
    async with pair(break_off(True, 0, Cut()), FINE) as (live, _, config):
        _, body = await live.ask(config=config, **ASK)
        assert body.startswith(PRIMARY.events()[0] + comment())
        read_whole(body)


async def test_an_error_event_is_a_break_that_nobody_sees() -> None:
    """The provider says that it can't go on, and may even keep the line open."""
    error = frame(b'{"error":{"message":"the engine is overloaded","code":503}}')
    script: Reply = (*break_off(True, 40), *stream(error, PRIMARY.events()[41], end=False)[1:], Hang())
    async with pair(script, FINE) as (live, _, config):
        _, body = await live.ask(config=config, **ASK)
        assert body.startswith(SENT + comment())
        read_whole(body)
        await live.up.left(limit=1)
        expect_recovered(await live.recorded(), ("[0]", 200, Outcome.TRUNCATED, "upstream_status"), ANSWERED)


async def test_several_choices() -> None:
    """One had ended, one had begun, one had not: each goes on from where it was."""

    def say(voice: Voice, *pieces: tuple[int, str | None]) -> list[bytes]:
        chunks = []
        for index, text in pieces:
            choice = {"index": index, "delta": {"content": text} if text else {}, "finish_reason": None}
            chunks.append(voice.chunk([choice if text else {**choice, "finish_reason": "stop"}]))
        return [frame(orjson.dumps(chunk)) for chunk in chunks]

    sent = say(PRIMARY, (0, "zero"), (1, "on"), (0, None))
    whole = say(FALLBACK, (2, "two"), (1, "o"), (1, "ne"), (0, "zero"), (2, None), (1, None), (0, None))
    async with pair((*stream(*sent, end=False), Cut()), stream(*whole, DONE)) as (live, _, config):
        _, body = await live.ask(config=config, n=3, **ASK)
        assert body.startswith(b"".join(sent) + comment())
        chat = Chat.read(body, streamed=True)
        texts = dict.fromkeys(range(3), "")
        for choice in chat.choices:
            texts[choice["index"]] += choice["delta"].get("content") or ""
        assert texts == {0: "zero", 1: "one", 2: "two"}
        assert sorted(choice["index"] for choice in chat.choices if choice["finish_reason"]) == [0, 1, 2]
        assert (chat.closed, chat.garbled, chat.error) == (True, 0, None)


# -- usage


def count_tokens(events: Iterable[bytes], usage: dict[str, int]) -> list[bytes]:
    """As servers do that count in every chunk."""
    return [frame(orjson.dumps(orjson.loads(event.removeprefix(b"data: ")) | {"usage": usage})) for event in events]


@pytest.mark.parametrize("asks", [True, False])
async def test_usage_is_that_of_both(asks: bool) -> None:
    """The client sees the sum, if it asked, once at the end; the record also tells who used what."""
    used = {"prompt_tokens": 7, "completion_tokens": 40, "total_tokens": 47}
    events = count_tokens(PRIMARY.events()[:41], used)
    options: dict[str, Any] = {"stream_options": {"include_usage": True}} if asks else {}
    async with pair((*stream(*events, end=False), Cut()), FINE) as (live, _, config):
        _, body = await live.ask(config=config, **ASK, **options)
        chat = Chat.read(body[len(b"".join(events)) :], streamed=True)
        told = [{name: usage[name] for name in used} for usage in chat.usages]
        assert told == ([{"prompt_tokens": 16, "completion_tokens": 101, "total_tokens": 117}] if asks else [])
        record = await live.recorded()
        expect_recovered(record, usage=Usage(input=16, output=101))
        assert [attempt.usage for attempt in record.attempts] == [
            Usage(input=7, output=40),
            Usage(input=9, output=61),
        ]


# -- who goes on


async def test_the_next_target_has_its_own_retries() -> None:
    async with pair(CUT, DOWN, DOWN, FINE) as (live, _, config):
        _, body = await live.ask(config=config, **ASK)
        read_whole(body)
        down = ("[1]", 503, Outcome.FAILED, "upstream_status")
        expect_recovered(await live.recorded(), BROKEN, down, down, ANSWERED)
        assert len(live.up.requests) == 1


async def test_a_third_target_finishes_what_two_have_begun() -> None:
    again: Reply = (*stream(*FALLBACK.events()[:51], end=False), Cut())
    async with FakeUpstream(FINE) as third, pair(CUT, again) as (live, _, config):
        config["targets"].append(leaf(third))
        config["stream_recovery"] = {"mode": "restart", "attempts": 2}
        _, body = await live.ask(config=config, **ASK)
        chat = read_whole(body)
        assert body.startswith(SENT + comment(0))
        assert [line.split("; ")[0][-10:] for line in chat.comments] == ["targets[0]", "targets[1]"]
        broken = ("[1]", 200, Outcome.TRUNCATED, "stream_truncated")
        expect_recovered(await live.recorded(), BROKEN, broken, ("[2]", 200, Outcome.OK, None))


async def test_a_refusal_of_the_next_target_is_not_seen_when_a_third_goes_on() -> None:
    refusal = unary(b'{"error":{"message":"no assistant message at the end"}}', status=400)
    async with FakeUpstream(FINE) as third, pair(CUT, refusal) as (live, _, config):
        config["targets"].append(leaf(third))
        _, body = await live.ask(config=config, **ASK)
        assert b"assistant message" not in body
        read_whole(body)
        refused = ("[1]", 400, Outcome.FAILED, "upstream_status")
        expect_recovered(await live.recorded(), BROKEN, refused, ("[2]", 200, Outcome.OK, None))


async def test_a_loadbalancer_with_failover_draws_again() -> None:
    async with pair(CUT, FINE) as (live, other, _):
        live.gateway.tools.draw = lambda: 0.0
        config = branch(
            "loadbalance", leaf(live.up), leaf(other), strategy={"failover": True}, stream_recovery=RECOVERY
        )
        _, body = await live.ask(config=config, **ASK)
        read_whole(body)
        expect_recovered(await live.recorded())


async def test_codes_that_a_fallback_is_limited_to_do_not_keep_a_stream_broken() -> None:
    async with pair(CUT, FINE) as (live, _, config):
        config["strategy"]["on_status_codes"] = [429]
        _, body = await live.ask(config=config, **ASK)
        read_whole(body)


async def test_a_stream_that_broke_speaks_against_its_target() -> None:
    """With a threshold of one the next call goes straight to the other."""
    async with pair(CUT, FINE, circuit=True) as (live, _, config):
        config["strategy"]["cb_config"]["failure_threshold"] = 1
        read_whole((await live.ask(config=config, **ASK))[1])
        read_whole((await live.ask(config=config, **ASK))[1])
        assert len(live.up.requests) == 1
        assert list(map(tell, (await live.recorded(2)).attempts)) == [ANSWERED]


# -- other dialects


def speak_ollama(tokens: Iterable[str] = TOKENS, *, done: bool = True, **fields: Any) -> list[bytes]:
    """Lines as Ollama's ``/api/chat`` writes them."""
    created = {"model": OLLAMA, "created_at": "2026-11-03T09:14:07.385406455Z", **fields}
    lines = [{**created, "message": {"role": "assistant", "content": token}, "done": False} for token in tokens]
    last = {**created, "message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "stop"}
    last |= {"prompt_eval_count": 5, "eval_count": 60}
    return [orjson.dumps(line) + b"\n" for line in (*lines, *([last] if done else ()))]


def ollama(up: FakeUpstream) -> dict[str, Any]:
    return {"provider": "ollama", "custom_host": up.url, "override_params": {"model": OLLAMA}}


def ndjson(lines: list[bytes], end: bool = True) -> Reply:
    return stream(*lines, end=end, media_type="application/x-ndjson")


async def test_the_next_target_may_speak_another_dialect() -> None:
    async with pair(CUT, ndjson(speak_ollama())) as (live, other, config):
        config["targets"][1] = ollama(other)
        _, body = await live.ask(config=config, **ASK)
        assert body.startswith(SENT + comment())
        read_whole(body)
        assert other.requests[0].path == "/api/chat"
        assert orjson.loads(other.requests[0].body)["messages"] == ASK["messages"]
        expect_recovered(await live.recorded(), usage=Usage(input=5, output=60))


@pytest.mark.parametrize("second", ["openai", "ollama"])
async def test_so_may_the_first(second: str) -> None:
    broken = (*ndjson(speak_ollama(TOKENS[:40], done=False), end=False), Cut())
    async with pair(broken, FINE if second == "openai" else ndjson(speak_ollama())) as (live, other, config):
        config["targets"][0] = ollama(live.up)
        if second == "ollama":
            config["targets"][1] = ollama(other)
        _, body = await live.ask(config=config, **ASK)
        read_whole(body)
        record = await live.recorded()
        expect_recovered(record, usage=Usage(input=9, output=61) if second == "openai" else Usage(input=5, output=60))
        assert record.lane is Lane.TRANSLATED


async def test_the_envelope_stays_the_one_that_we_gave_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider that tells no time: the client was told ours, and is not told another one."""

    class Seconds:
        time = staticmethod(itertools.count(1_790_000_000).__next__)

    monkeypatch.setattr("aiogateway.engine.body.time", Seconds)
    lines = speak_ollama(TOKENS[:40], done=False, created_at=None)
    async with pair((*ndjson(lines, end=False), Cut()), FINE) as (live, _, config):
        config["targets"][0] = ollama(live.up)
        read_whole((await live.ask(config=config, **ASK))[1])
