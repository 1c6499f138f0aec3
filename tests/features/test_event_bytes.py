"""Events however they are written and cut: the same bytes come out, and none is too large to be handled."""

from __future__ import annotations

import asyncio
import logging
import tracemalloc
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson
import pytest

from aiogateway.testing.upstream import END, Hang, Reply, Step, chunk, head, stream, unary
from aiogateway.types import Lane, Outcome, Usage
from tests import foreign
from tests.stage import DONE, GOOD, Client, event, stage, usage_event
from tests.views import expect_truncation, read_in_band

SSE = head(200, (("content-type", "text/event-stream"), ("transfer-encoding", "chunked")))
MIB = 1 << 20

lanes = pytest.mark.parametrize("lane", [Lane.VERBATIM, Lane.FRAMED, Lane.CHECKED])
"""Those that pass a stream's own bytes on."""


def settings_for(lane: Lane) -> dict[str, Any]:
    return {"check_streams": lane is Lane.CHECKED}


def options_for(lane: Lane) -> dict[str, Any]:
    return {"stream_options": {"include_usage": True}} if lane is Lane.VERBATIM else {}


TEXT = [event("a"), event("b"), event("", "stop")]
USAGE = usage_event()


def rewrite(old: bytes, new: bytes) -> list[bytes]:
    return [one.replace(old, new) for one in [*TEXT, USAGE, DONE]]


PRETTY = (
    b'data: {\ndata:   "id": "c",\ndata:   "choices": [\ndata:    {"index": 0, "delta": {"content": "a"},\n'
    b'data: "finish_reason": null}]\ndata: }\n\n'
)
FRAMINGS: dict[str, list[bytes]] = {
    "lf": rewrite(b"", b""),
    "crlf": rewrite(b"\n", b"\r\n"),
    "cr": rewrite(b"\n", b"\r"),
    "mixed": [
        one.replace(b"\n\n", end)
        for one, end in zip([*TEXT, USAGE, DONE], (b"\r\n\r\n", b"\n\n", b"\r\r", b"\n\r\n", b"\r\n\n"), strict=True)
    ],
    "comments": [b": hello\n\n", TEXT[0], b": two\n: lines\n\n", b": with\n" + TEXT[1], TEXT[2], USAGE, b":\n\n", DONE],
    "pretty": [PRETTY, TEXT[2], USAGE, DONE],
    "no space": rewrite(b"data: ", b"data:"),
    "two spaces": rewrite(b"data: ", b"data:  "),
    "bom": [b"\xef\xbb\xbf" + TEXT[0], *TEXT[1:], USAGE, DONE],
    "fields": [b"event: message\nid: 7\nretry: 10\nnonsense\n" + one for one in [*TEXT, USAGE, DONE]],
    "fields after": [one[:-1] + b"id: 8\n\n" for one in [*TEXT, USAGE, DONE]],
    "spaced json": [b"data: " + orjson.dumps(orjson.loads(one[6:])).replace(b":", b": ").replace(b",", b", ") + b"\n\n"
                    for one in [*TEXT, USAGE]] + [DONE],
    "null usage": [event("a", usage=None), event("b", usage=None), event("", "stop", usage=None), USAGE, DONE],
    "empty events": [TEXT[0], b"data:\n\n", b"event: ping\n\n", *TEXT[1:], USAGE, DONE],
    "utf-8": [event("äöü€😀\u2028\u0085\u00a0"), *TEXT, USAGE, DONE],
    "escaped": [TEXT[0].replace(b'"a"', b'"\\ud83d\\ude00\\n\\n\\u0000"'), *TEXT[1:], USAGE, DONE],
    "half a pair": [TEXT[0].replace(b'"a"', b'"\\ud83d"'), *TEXT[1:], USAGE, DONE],
    "invalid utf-8": [TEXT[0].replace(b'"a"', b'"\xff\xfe\xc3"'), *TEXT[1:], USAGE, DONE],
    "big numbers": [event("a", n=1).replace(b'"n":1', b'"n":123456789012345678901234567890.0'), *TEXT[1:], USAGE, DONE],
}  # fmt: skip


def cuts(body: bytes) -> list[Reply]:
    """Whole, in two, byte by byte."""
    half = len(body) // 2
    pieces = [[body], [body[:half], body[half:]], [body[i : i + 1] for i in range(len(body))]]
    return [(SSE, *[chunk(piece) for piece in some], END) for some in pieces]


@lanes
async def test_every_way_to_write_events_comes_out_as_it_went_in(lane: Lane, tmp_path: Path) -> None:
    script = [reply for frames in FRAMINGS.values() for reply in cuts(b"".join(frames))]
    async with stage(*script, tmp=tmp_path, **settings_for(lane)) as live:
        client = await live.connect()
        for name, frames in FRAMINGS.items():
            expected = b"".join(one for one in frames if lane is Lane.VERBATIM or b'"prompt_tokens"' not in one)
            for cut in ("whole", "halves", "bytes"):
                await live.post(client=client, **options_for(lane))
                assert await client.answer() == (200, expected), (name, cut)
                record = await live.recorded(len(live.records))
                assert (record.outcome, record.lane, record.malformed) == (Outcome.OK, lane, 0), (name, cut)
                assert record.usage == Usage(input=3, output=2), (name, cut)
        assert len(live.up.connections) == 1


@pytest.mark.parametrize("name", FRAMINGS)
async def test_translated_every_way_to_write_events_means_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign.install(monkeypatch)
    texts = {"pretty": "a", "utf-8": "äöü€😀\u2028\u0085\u00a0ab", "escaped": "😀\n\n\0b", "half a pair": "\ufffdb"}
    texts["invalid utf-8"] = "\ufffd\ufffd\ufffdb"
    async with stage(*cuts(b"".join(FRAMINGS[name]))) as live:
        for count in (1, 2, 3):
            status, body = await live.ask(headers=foreign.HEADERS)
            assert status == 200
            assert body.endswith(b"\n\n" + DONE)
            chunks = [orjson.loads(one[6:]) for one in body.split(b"\n\n")[:-2]]
            choices = [choice for one in chunks for choice in one["choices"]]
            assert "".join(choice["delta"].get("content") or "" for choice in choices) == texts.get(name, "ab")
            assert [choice["finish_reason"] for choice in choices] == [None] * (len(choices) - 1) + ["stop"]
            record = await live.recorded(count)
            assert (record.lane, record.malformed, record.usage) == (Lane.TRANSLATED, 0, Usage(input=3, output=2))


# -- text that is no Unicode


async def test_invalid_utf8_is_replaced_and_warned_about_when_translating(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    foreign.install(monkeypatch)
    body = b'{"choices":[{"index":0,"message":{"content":"a\xffb"},"finish_reason":"stop"}]}'
    async with stage(stream(*FRAMINGS["invalid utf-8"]), unary(body)) as live:
        status, streamed = await live.ask(headers=foreign.HEADERS)
        assert (status, streamed.count("\ufffd".encode())) == (200, 3)
        warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        assert [message for message in warnings if "U+FFFD" in message]
        status, whole = await live.ask(stream=False, headers=foreign.HEADERS)
        assert (status, orjson.loads(whole)["choices"][0]["message"]["content"]) == (200, "a\ufffdb")


@pytest.mark.parametrize("text", [b"a\xffb", b"a\\ud83db", b"\xc3"], ids=["byte", "half a pair", "cut"])
async def test_a_request_with_text_that_is_no_unicode_is_not_lost(text: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign.install(monkeypatch)
    raw = b'{"stream":true,"model":"m","messages":[{"role":"user","content":"' + text + b'"}]}'
    async with stage(stream(GOOD)) as live:
        assert (await live.ask(raw=raw))[0] == 200
        assert live.seen().body == b'{"stream_options":{"include_usage":true},' + raw[1:]  # as it came
        config = {
            "provider": "openai",
            "api_key": "sk-caller",
            "custom_host": f"{live.up.url}/v1",
            "override_params": {"seed": 1},
        }
        plain = {"x-portkey-provider": "", "x-portkey-custom-host": "", "Authorization": ""}
        for headers in (foreign.HEADERS, {**plain, "x-portkey-config": orjson.dumps(config).decode()}):
            assert (await live.ask(raw=raw, headers=headers))[0] == 200
            assert "\ufffd" in live.sent_body()["messages"][0]["content"]


# -- an event that is no JSON


@pytest.mark.parametrize("lane", [Lane.FRAMED, Lane.CHECKED, Lane.TRANSLATED])
async def test_an_event_that_is_no_json(lane: Lane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spliced, the bytes are the provider's business; where events are read it is dropped and counted."""
    foreign.install(monkeypatch)
    bad = b'data: {"id":"c","choices":[{"index":0,"del\n\n'
    async with stage(stream(TEXT[0], bad, *TEXT[1:], USAGE, DONE), tmp=tmp_path, **settings_for(lane)) as live:
        headers = foreign.HEADERS if lane is Lane.TRANSLATED else {}
        status, body = await live.ask(headers=headers)
        assert status == 200
        if lane is Lane.TRANSLATED:
            assert bad not in body
            assert body.endswith(DONE)
        else:
            assert body == TEXT[0] + (bad if lane is Lane.FRAMED else b"") + TEXT[1] + TEXT[2] + DONE
        record = await live.recorded()
        assert (record.outcome, record.lane) == (Outcome.OK, lane)
        assert record.malformed == (0 if lane is Lane.FRAMED else 1)


# -- large ones


@lanes
@pytest.mark.parametrize("place", ["first", "second"])
async def test_a_large_event_passes_whole(lane: Lane, place: str, tmp_path: Path) -> None:
    large = event("x" * (2 * MIB))
    frames = [large, *TEXT] if place == "first" else [TEXT[0], large, *TEXT[1:]]
    async with stage(stream(*frames, USAGE, DONE), tmp=tmp_path, **settings_for(lane)) as live:
        usage = USAGE if lane is Lane.VERBATIM else b""
        assert await live.ask(**options_for(lane)) == (200, b"".join(frames) + usage + DONE)
        assert (await live.recorded()).usage == Usage(input=3, output=2)


@pytest.mark.parametrize("place", ["first", "second"])
async def test_a_large_event_is_translated(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign.install(monkeypatch)
    large = event("x" * (2 * MIB))
    frames = [large, *TEXT] if place == "first" else [TEXT[0], large, *TEXT[1:]]
    async with stage(stream(*frames, USAGE, DONE)) as live:
        status, body = await live.ask(headers=foreign.HEADERS)
        assert (status, body.count(b"x" * (2 * MIB))) == (200, 1)
        assert (await live.recorded()).outcome is Outcome.OK


def endless(*before: bytes) -> Any:
    """A script: events, then one that never ends, until nobody listens."""
    piece = chunk(b"x" * 65_536)

    def play(_: object) -> Iterable[Step]:
        yield SSE
        for one in before:
            yield chunk(one)
        yield chunk(b'data: {"choices":[{"index":0,"delta":{"content":"')
        for _ in range(1024):  # 64 MiB: more than any bound
            yield piece
        yield Hang()

    return play


async def drink(client: Client) -> tuple[int, bytes]:
    """Reads an answer and keeps only its end: how much it was, and the last of it."""
    await client.head()
    size, last = 0, b""
    while piece := await client.chunk():
        size += len(piece)
        last = (last + piece)[-4096:]
    return size, last


@pytest.mark.parametrize("lane", [Lane.VERBATIM, Lane.FRAMED, Lane.CHECKED, Lane.TRANSLATED])
@pytest.mark.parametrize("place", ["first", "second"])
async def test_an_event_without_an_end_is_cut_off(
    lane: Lane, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign.install(monkeypatch)
    before = (event("a"),) if place == "second" else ()
    async with stage(endless(*before), tmp=tmp_path, max_event=MIB, **settings_for(lane)) as live:
        headers = foreign.HEADERS if lane is Lane.TRANSLATED else {}
        size, last = await drink(await live.post(headers=headers, **options_for(lane)))
        at = last.rindex(b"data: ")
        error = read_in_band(last, last[:at])
        assert error["code"] == "stream_truncated"
        assert str(MIB) in error["message"]
        assert at == 0 or last[:at].endswith(b"\n\n")  # what is left of the broken event is ended first
        assert size < MIB + 300_000
        await live.up.left(limit=1)
        record = await expect_truncation(live, "stream_truncated")
        assert record.lane is lane


@pytest.mark.parametrize("size", [15, 40])
async def test_a_huge_event_takes_no_memory_on_its_way(size: int) -> None:
    """15 MiB are within the default bound, 40 are not; either way only a piece of it is held at a time."""
    piece = chunk(b"x" * 65_536)

    def play(_: object) -> Iterable[Step]:
        yield SSE
        yield chunk(event("a") + b'data: {"choices":[{"index":0,"delta":{"content":"')
        for _ in range(size * 16):
            yield piece
        yield chunk(b'"},"finish_reason":null}]}\n\n' + event("", "stop") + DONE)
        yield END

    async with stage(play) as live:
        client = await live.post()
        tracemalloc.start()
        try:
            got, last = await drink(client)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 4 * MIB
        assert live.gateway.tools.buffers.held == 0
        if size == 15:
            assert last.endswith(event("", "stop") + DONE)
            assert got > 15 * MIB
            assert (await live.recorded()).outcome is Outcome.OK
        else:
            assert read_in_band(last, last[: last.rindex(b"data: ")])["code"] == "stream_truncated"
            await live.up.left(limit=1)
            await expect_truncation(live, "stream_truncated")


async def test_comments_for_ever_take_no_memory(tmp_path: Path) -> None:
    """Before the first event they are held back, but only the newest."""
    piece = chunk((b": keep-alive" + b" " * 500 + b"\n\n") * 100)

    def play(_: object) -> Iterable[Step]:
        yield SSE
        for _ in range(200):  # 10 MB
            yield piece
        yield chunk(GOOD)
        yield END

    async with stage(play) as live:
        client = await live.post()
        tracemalloc.start()
        try:
            got, last = await drink(client)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert last.endswith(event("", "stop") + DONE)
        assert got < MIB
        assert peak < 4 * MIB


async def read_slowly(client: Client) -> bytes:
    """Reads with pauses, so that the provider has to wait."""
    await client.head()
    pieces = []
    while piece := await client.chunk():
        pieces.append(piece)
        await asyncio.sleep(0)
    return b"".join(pieces)


@lanes
async def test_many_events_at_once_are_the_same_events(lane: Lane, tmp_path: Path) -> None:
    """Reads of 256 KiB hold thousands of events and end anywhere."""
    frames = [event(f"{number} " + "y" * (number % 97)) for number in range(20_000)]
    body = b"".join(frames) + event("", "stop") + USAGE + DONE
    pieces = [body[at : at + 50_021] for at in range(0, len(body), 50_021)]
    async with stage((SSE, *map(chunk, pieces), END), tmp=tmp_path, **settings_for(lane)) as live:
        got = await read_slowly(await live.post(**options_for(lane)))
        assert got == (body if lane is Lane.VERBATIM else body.replace(USAGE, b""))
        assert (await live.recorded()).usage == Usage(input=3, output=2)
