"""Providers that compress unasked: decoded under a cap, and never half an answer or a bomb passed on."""

from __future__ import annotations

import functools
import gzip
import zlib
from collections.abc import Callable
from pathlib import Path

import brotli
import orjson
import pytest

from aiogateway.testing.upstream import END, Cut, Hang, Pause, Reply, Step, chunk, head, stream, unary
from aiogateway.types import Lane, Outcome, Usage
from tests.stage import DONE, GOOD, SEEN, event, stage
from tests.views import both, expect_failure, expect_truncation, read_error, read_in_band

BODY = b'{"choices":[{"index":0,"message":{"content":"hi"}}],"usage":{"prompt_tokens":3,"completion_tokens":2}}'
MIB = 1 << 20


def squeeze_raw(data: bytes) -> bytes:
    """Deflate without zlib's frame, as some servers send it."""
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


def squeeze_members(data: bytes) -> bytes:
    half = len(data) // 2
    return gzip.compress(data[:half]) + gzip.compress(data[half:])


CODINGS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("x-gzip", gzip.compress),
    "GZIP": ("GZIP", gzip.compress),
    "members": ("gzip", squeeze_members),
    "deflate": ("deflate", zlib.compress),
    "raw deflate": ("deflate", squeeze_raw),
    "br": ("br", brotli.compress),
    "identity": ("identity", bytes),
}


def packed(name: str, body: bytes) -> tuple[bytes, tuple[tuple[str, str], ...]]:
    encoding, squeeze = CODINGS[name]
    return squeeze(body), (("content-encoding", encoding),)


@both
async def test_what_came_compressed_goes_out_plain(stream: bool) -> None:
    """Whole, and a byte at a time."""
    plain, kind = (GOOD, "text/event-stream") if stream else (BODY, "application/json")
    script: list[Reply] = []
    for name in CODINGS:
        data, encoded = packed(name, plain)
        first = head(200, (("content-type", kind), ("transfer-encoding", "chunked"), *encoded))
        script += [(first, chunk(data), END), (first, *[chunk(data[i : i + 1]) for i in range(len(data))], END)]
    async with stage(*script) as live:
        client = await live.connect()
        for number in range(len(script)):
            await live.post(client=client, stream=stream)
            assert await client.answer() == (200, SEEN if stream else BODY), list(CODINGS)[number // 2]
            assert "content-encoding" not in client.headers
            assert live.seen().header("accept-encoding") == "identity"
            record = await live.recorded(number + 1)
            assert (record.outcome, record.usage) == (Outcome.OK, Usage(input=3, output=2))
            assert record.lane is (Lane.FRAMED if stream else Lane.UNARY)
        assert len(live.up.connections) == 1


@pytest.mark.parametrize("name", ["gzip", "br"])
async def test_the_length_is_that_of_the_plain_body(name: str) -> None:
    data, encoded = packed(name, BODY)
    async with stage(unary(data, headers=encoded)) as live:
        client = await live.post(stream=False)
        assert await client.answer() == (200, BODY)
        assert client.headers["content-length"] == str(len(BODY))


@pytest.mark.parametrize("name", ["gzip", "deflate", "br"])
@both
async def test_an_error_that_came_compressed_is_readable(name: str, stream: bool) -> None:
    error = b'{"error":{"message":"slow down","code":"rate_limit_exceeded"}}'
    data, encoded = packed(name, error)
    async with stage(unary(data, status=429, headers=(*encoded, ("retry-after", "3")))) as live:
        client = await live.post(stream=stream)
        assert await client.answer() == (429, error)
        assert client.headers["retry-after"] == "3"
        assert "content-encoding" not in client.headers
        await expect_failure(live, 429, "upstream_status")


@pytest.mark.parametrize("name", ["gzip", "deflate", "br"])
async def test_an_error_event_that_came_compressed_is_an_ordinary_error(name: str) -> None:
    error = orjson.dumps({"error": {"message": "slow down", "code": 429}})
    data, encoded = packed(name, b"data: " + error + b"\n\n")
    async with stage(stream(data, headers=encoded)) as live:
        assert await live.ask() == (429, error)
        await expect_failure(live, 429, "upstream_status")


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, br", "nonsense"])
@both
async def test_an_encoding_that_is_not_what_it_says(encoding: str, stream: bool) -> None:
    """Plain bytes under a false name, and names that we don't know."""
    plain, kind = (GOOD, "text/event-stream") if stream else (BODY, "application/json")
    first = head(200, (("content-type", kind), ("transfer-encoding", "chunked"), ("content-encoding", encoding)))
    async with stage((first, chunk(plain), Pause(0.05), END, Hang())) as live:
        status, body = await live.ask(stream=stream)
        assert (status, read_error(body)["code"]) == (502, "stream_truncated")
        assert encoding in read_error(body)["message"]
        await expect_failure(live, 502, "stream_truncated")
        await live.up.left(limit=1)
        assert len(live.up.requests) == 1


@pytest.mark.parametrize("name", ["gzip", "deflate", "br"])
@pytest.mark.parametrize("last", [END, Cut()], ids=["message whole", "message cut"])
async def test_compressed_bytes_that_are_missing_make_half_an_answer(name: str, last: Step) -> None:
    data, encoded = packed(name, BODY)
    first = head(200, (("content-type", "application/json"), ("transfer-encoding", "chunked"), *encoded))
    async with stage((first, chunk(data[:-9]), Pause(0.02), last)) as live:
        status, body = await live.ask(stream=False)
        assert (status, read_error(body)["code"]) == (502, "stream_truncated")
        await expect_failure(live, 502, "stream_truncated")


@pytest.mark.parametrize("last", [END, Cut()], ids=["message whole", "message cut"])
async def test_a_compressed_stream_that_breaks_off_says_so_in_band(last: Step) -> None:
    packer = zlib.compressobj(wbits=31)
    data = packer.compress(event("a")) + packer.flush(zlib.Z_SYNC_FLUSH)
    async with stage((*stream(data, end=False, headers=(("content-encoding", "gzip"),)), Pause(0.02), last)) as live:
        status, body = await live.ask()
        assert (status, read_in_band(body, event("a"))["code"]) == (200, "stream_truncated")
        await expect_truncation(live, "stream_truncated")


async def test_a_compressed_stream_is_passed_on_as_it_is_flushed() -> None:
    packer = zlib.compressobj(wbits=31)
    pieces = [packer.compress(one) + packer.flush(zlib.Z_SYNC_FLUSH) for one in (event("a"), event("", "stop") + DONE)]
    async with stage(
        (
            *stream(pieces[0], end=False, headers=(("content-encoding", "gzip"),)),
            Pause(0.1),
            chunk(pieces[1] + packer.flush()),
            END,
        )
    ) as live:
        client = await live.post()
        await client.head()
        assert await client.chunk() == event("a")
        assert await client.body() == event("", "stop") + DONE


BOMB = 64 * MIB


@functools.cache
def bomb(name: str) -> tuple[bytes, tuple[tuple[str, str], ...]]:
    if name == "br":  # at its default it takes seconds
        return brotli.compress(bytes(BOMB), quality=1), (("content-encoding", "br"),)
    return packed(name, bytes(BOMB))


@pytest.mark.parametrize("name", ["gzip", "deflate", "br"])
async def test_a_bomb_is_a_502(name: str, tmp_path: Path) -> None:
    data, encoded = bomb(name)
    async with stage(unary(data, headers=encoded), tmp=tmp_path, unary_buffer=2 * BOMB) as live:
        status, body = await live.ask(stream=False)
        assert (status, read_error(body)["code"]) == (502, "stream_truncated")
        assert "suspiciously" in read_error(body)["message"]
        await expect_failure(live, 502, "stream_truncated")


@pytest.mark.parametrize("name", ["gzip", "deflate", "br"])
async def test_a_bomb_in_an_error_is_a_502(name: str, tmp_path: Path) -> None:
    data, encoded = bomb(name)
    async with stage(unary(data, status=500, headers=encoded), tmp=tmp_path, unary_buffer=2 * BOMB) as live:
        status, body = await live.ask()
        assert (status, read_error(body)["code"]) == (502, "stream_truncated")
        await expect_failure(live, 502, "stream_truncated")


@pytest.mark.parametrize("name", ["gzip", "deflate"])
async def test_a_bomb_in_mid_stream_is_said_in_band(name: str) -> None:
    packer = zlib.compressobj(wbits=31 if name == "gzip" else 15)
    first = packer.compress(event("a")) + packer.flush(zlib.Z_SYNC_FLUSH)
    bomb = packer.compress(b"data: " + bytes(BOMB)) + packer.flush(zlib.Z_SYNC_FLUSH)
    script: Reply = (*stream(first, end=False, headers=(("content-encoding", name),)), Pause(0.02), chunk(bomb), Hang())
    async with stage(script) as live:
        status, body = await live.ask()
        assert status == 200
        assert len(body) < 16 * MIB
        at = body.rindex(b"data: ")
        assert read_in_band(body, body[:at])["code"] == "stream_truncated"
        await live.up.left(limit=1)
        await expect_truncation(live, "stream_truncated")


async def test_much_of_the_same_is_no_bomb() -> None:
    """Answers repeat themselves: a hundredfold is normal."""
    body = orjson.dumps({"data": [{"embedding": [0.0] * 100_000}], "usage": {"prompt_tokens": 3, "total_tokens": 3}})
    data, encoded = packed("gzip", body)
    assert len(body) > 100 * len(data)
    async with stage(unary(data, headers=encoded)) as live:
        assert await live.ask(stream=False, path="/v1/embeddings") == (200, body)
