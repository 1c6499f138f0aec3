from __future__ import annotations

import asyncio
import gzip
import random
import tracemalloc
from typing import Any

import pytest
from aiohttp import web

from aiogateway.engine.buffers import Buffers
from aiogateway.errors import BodyTooLarge, GatewayError, Overloaded, RequestError, RequestTimeout
from aiogateway.server.upload import BrokenBody, ClientUpload
from tests.unit.server.requests import FakeContent, FakeRequest

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def make_upload(
    *pieces: Any, eof: bool = False, buffer: int = 1000, max_body: int = 100, old: bool = False, **headers: str
) -> tuple[ClientUpload, FakeRequest, Buffers]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if eof:
        named.setdefault("content-length", str(sum(map(len, pieces))))
    request = FakeRequest(headers=named, content=FakeContent(*pieces, eof=eof), old=old)
    buffers = Buffers(buffer)
    return ClientUpload(request.web, buffers, max_body=max_body, patience=0.05), request, buffers


async def fails(upload: ClientUpload, buffers: Buffers) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        await upload.read_all()
    upload.free()
    assert buffers.held == 0
    return caught.value


async def test_a_body_that_came_with_the_head() -> None:
    upload, _, buffers = make_upload(b"he", b"llo", eof=True)
    assert (upload.length, upload.touched) == (5, False)
    assert upload.take() == b"hello"
    assert (upload.touched, buffers.held) == (True, 5)
    upload.free()
    upload.free()
    assert buffers.held == 0


async def test_no_body() -> None:
    upload, _, _ = make_upload(eof=True, content_length="0")
    assert (upload.take(), upload.touched) == (b"", False)
    upload, _, _ = make_upload(eof=False)
    assert upload.length == 0


async def test_a_body_that_is_still_on_its_way() -> None:
    upload, _, buffers = make_upload(b"he", b"llo", content_length="5")
    assert upload.take() is None
    assert await upload.read_all() == b"hello"
    assert buffers.held == 5
    upload.free()
    assert buffers.held == 0


async def test_a_chunked_body_has_no_length() -> None:
    upload, _, _ = make_upload(b"he", b"llo", transfer_encoding="chunked")
    assert upload.length is None
    assert await upload.read() == b"he"
    assert upload.touched
    assert await upload.read() == b"llo"
    assert await upload.read() == b""


async def test_what_says_to_be_too_large_is_refused_unread() -> None:
    for eof in (True, False):
        upload, request, buffers = make_upload(b"x" * 101, eof=eof, content_length="101", expect="100-continue")
        error = await fails(upload, buffers)
        assert isinstance(error, BodyTooLarge)
        assert "100 bytes" in error.message
        assert not upload.touched
        assert request.written == b""  # nor is it asked for


async def test_the_bound_itself_is_not_too_large() -> None:
    upload, _, _ = make_upload(b"x" * 100, eof=True)
    assert len(await upload.read_all()) == 100
    upload, _, _ = make_upload(b"x" * 60, b"x" * 40, transfer_encoding="chunked")
    assert len(await upload.read_all()) == 100


async def test_what_turns_out_to_be_too_large() -> None:
    upload, request, buffers = make_upload(b"x" * 60, b"x" * 41, b"never read", transfer_encoding="chunked")
    assert isinstance(await fails(upload, buffers), BodyTooLarge)
    assert request.content.pieces == [b"never read"]


@pytest.mark.parametrize("eof", [True, False])
async def test_a_full_worker_reads_no_body(eof: bool) -> None:
    upload, _, buffers = make_upload(b"x" * 50, eof=eof, content_length="50", buffer=40)
    assert isinstance(await fails(upload, buffers), Overloaded)


async def test_a_silent_client() -> None:
    upload, _, buffers = make_upload(b"x", asyncio.Event(), content_length="5")
    error = await fails(upload, buffers)
    assert isinstance(error, RequestTimeout)
    assert "0.05 s" in error.message


@pytest.mark.parametrize("error", [BrokenBody(), web.RequestPayloadError("bad chunk")])
async def test_a_body_whose_framing_breaks(error: Exception) -> None:
    upload, _, buffers = make_upload(b"x", error, transfer_encoding="chunked")
    told = await fails(upload, buffers)
    assert (type(told), told.status) == (RequestError, 400)


async def test_a_client_that_leaves_is_not_swallowed() -> None:
    upload, _, _ = make_upload(ConnectionResetError(), content_length="5")
    with pytest.raises(ConnectionResetError):
        await upload.read()


# --- Expect: 100-continue ---


async def test_a_client_that_waits_for_a_word_gets_it_once() -> None:
    upload, request, _ = make_upload(b"he", b"llo", content_length="5", expect="100-Continue")
    assert await upload.read_all() == b"hello"
    assert request.written == CONTINUE
    upload, request, _ = make_upload(b"he", b"llo", transfer_encoding="chunked", expect="100-continue")
    await upload.read()
    await upload.read()
    assert request.written == CONTINUE


async def test_who_gets_no_word() -> None:
    for upload, request, _ in (
        make_upload(b"hello", content_length="5"),
        make_upload(b"hello", content_length="5", expect="something-else"),
        make_upload(b"hello", content_length="5", expect="100-continue", old=True),
        make_upload(b"hello", eof=True, expect="100-continue"),
    ):
        await upload.read_all()
        assert request.written == b""


async def test_an_upload_that_was_asked_for_is_touched() -> None:
    """Nothing was read, but the client has been told to send: the request can't be repeated."""
    upload, _, _ = make_upload(asyncio.Event(), content_length="5", expect="100-continue")
    reading = asyncio.create_task(upload.read())
    await asyncio.sleep(0)
    assert upload.touched
    reading.cancel()


# --- Content-Encoding ---


@pytest.mark.parametrize("eof", [True, False])
async def test_a_compressed_body_is_unpacked_and_counted(eof: bool) -> None:
    packed = gzip.compress(b'{"model": "m"}', mtime=0)
    upload, _, buffers = make_upload(packed, eof=eof, content_encoding="GZip", content_length=str(len(packed)))
    assert await upload.read_all() == b'{"model": "m"}'
    assert buffers.held == len(packed) + 14
    upload.free()
    assert buffers.held == 0


@pytest.mark.parametrize(
    ("encoding", "body"), [("zstd", b"x"), ("gzip", b"not gzip"), ("gzip", gzip.compress(b"{}" * 9, mtime=0)[:-4])]
)
async def test_what_cant_be_unpacked(encoding: str, body: bytes) -> None:
    upload, _, buffers = make_upload(body, eof=True, content_encoding=encoding)
    error = await fails(upload, buffers)
    assert (type(error), error.param) == (RequestError, "content-encoding")


async def test_a_bomb_is_too_large() -> None:
    upload, _, buffers = make_upload(gzip.compress(b"\0" * 10_000), eof=True, content_encoding="gzip")
    assert isinstance(await fails(upload, buffers), BodyTooLarge)


async def test_a_bomb_below_the_ratio_is_not_unpacked_beyond_the_bound() -> None:
    packed = gzip.compress((random.Random(1).randbytes(700) + b"a" * 100_000) * 400)  # 100 to 1, 40 MB
    upload, _, buffers = make_upload(packed, eof=True, buffer=10_000_000, max_body=1_000_000, content_encoding="gzip")
    tracemalloc.start()
    try:
        assert isinstance(await fails(upload, buffers), BodyTooLarge)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("encoding", ["identity", " Identity ", ""])
async def test_no_encoding(encoding: str) -> None:
    upload, _, buffers = make_upload(b"\x1f\x8b", eof=True, content_encoding=encoding)
    assert await upload.read_all() == b"\x1f\x8b"
    assert buffers.held == 2


async def test_a_passthrough_keeps_its_encoding() -> None:
    upload, _, buffers = make_upload(b"\x1f\x8b", content_encoding="gzip", content_length="2")
    assert await upload.read() == b"\x1f\x8b"
    assert buffers.held == 0
