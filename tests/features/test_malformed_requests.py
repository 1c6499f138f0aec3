"""Requests that two servers could read in two ways, or that are no HTTP: a 400, closed, and nobody else notices."""

from __future__ import annotations

import logging

import pytest

from aiogateway.testing.upstream import unary
from tests.stage import Stage, stage

POST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nx-portkey-provider: mock\r\n"
BODY = b'{"model":"mock","messages":[{"role":"user","content":"hi"}]}'
SMUGGLED = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n"
CHUNKED = {"Content-Length": "", "Transfer-Encoding": "chunked"}
LENGTH = b"Content-Length: %d\r\n" % len(BODY)

AMBIGUOUS = {
    "length and chunks": POST + LENGTH + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "two lengths": POST + LENGTH + b"Content-Length: 5\r\n\r\n" + BODY + SMUGGLED,
    "the same length twice": POST + LENGTH + LENGTH + b"\r\n" + BODY + SMUGGLED,
    "a list of lengths": POST + b"Content-Length: 5, 5\r\n\r\n" + BODY + SMUGGLED,
    "a signed length": POST + b"Content-Length: +5\r\n\r\n" + BODY,
    "a negative length": POST + b"Content-Length: -5\r\n\r\n" + BODY,
    "an unknown coding": POST + b"Transfer-Encoding: nonsense\r\n\r\n" + BODY,
    "chunked is not last": POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "a folded header": POST + b"X-A: 1\r\n 2\r\n" + LENGTH + b"\r\n" + BODY,
    "a space before the colon": POST + b"Content-Length : 5\r\n\r\n" + BODY,
    "NUL in a header": POST + b"X-A: a\x00b\r\n" + LENGTH + b"\r\n" + BODY,
    "CR in a header": POST + b"X-A: a\rb\r\n" + LENGTH + b"\r\n" + BODY,
    "LF in a header": POST + b"X-A: a\nX-Evil: b\r\n" + LENGTH + b"\r\n" + BODY,
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
}


@pytest.mark.parametrize("wire", AMBIGUOUS.values(), ids=AMBIGUOUS)
async def test_a_request_of_two_readings_is_a_400_and_the_connection_is_closed(wire: bytes) -> None:
    async with stage(unary(b"{}")) as live:
        client = await live.connect()
        client.writer.write(wire)
        await client.head()
        assert client.status == 400
        await client.body()
        assert await client.reader.read() == b"", "what follows was answered as a request"
        assert live.up.requests == []


@pytest.mark.parametrize("size", [b"xyz", b"-1", b"0x5", b"5 5", b"f" * 20], ids=bytes.decode)
@pytest.mark.parametrize("late", [False, True], ids=["at once", "later"])
async def test_a_bad_chunk_size_in_a_body_is_a_400(size: bytes, late: bool) -> None:
    async with stage(unary(b"{}")) as live:
        client = await live.connect()
        expect = {"Expect": "100-continue"} if late else {}
        client.send("POST", "/v1/chat/completions", {**live.target(), **expect, **CHUNKED})
        if late:  # the gateway reads the body already
            assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.writer.write(b"5\r\n" + BODY[:5] + b"\r\n" + size + b"\r\n" + BODY)
        assert await client.head() == 400
        await client.body()
        assert await client.reader.read() == b""
        assert live.up.requests == []


async def test_others_are_served_meanwhile() -> None:
    async with stage(unary(b'{"object":"chat.completion"}')) as live:
        good = await live.connect()
        for wire in AMBIGUOUS.values():
            bad = await live.connect()
            bad.writer.write(wire)
            await live.post(client=good, stream=False)
            assert (await good.answer())[0] == 200


async def test_what_is_wrong_is_said_as_json_and_never_with_the_caller_s_own_bytes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with stage(unary(b"{}")) as live:
        for secret in (b"Authorization: Bearer sk-canary\x00", b"x-api-key: sk-canary\r\n sk-canary"):
            body = await _refused(live, POST + secret + b"\r\n" + LENGTH + b"\r\n" + BODY)
            assert b'"error"' in body
            assert b"canary" not in body
    assert "canary" not in caplog.text
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING], caplog.text


async def _refused(live: Stage, wire: bytes) -> bytes:
    client = await live.connect()
    client.writer.write(wire)
    assert await client.head() == 400
    return await client.body()
