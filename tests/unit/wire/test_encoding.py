from __future__ import annotations

import gzip
import sys
import tracemalloc
import types
import zlib
from collections.abc import Callable

import brotli
import pytest

from aiogateway.errors import StreamBroken
from aiogateway.wire.encoding import Inflater

PLAIN = b"".join(b'data: {"n":%d,"text":"\xc3\xa4"}\n\n' % number for number in range(40))


def raw_deflate(data: bytes) -> bytes:
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    return stream.compress(data) + stream.flush()


CODINGS: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("gzip", gzip.compress),
    ("X-GZIP", gzip.compress),
    ("deflate", zlib.compress),
    ("deflate", raw_deflate),
    ("br", brotli.compress),
    ("identity", bytes),
    ("", bytes),
    ("gzip, identity", gzip.compress),
]
IDS = [f"{name or 'none'}-{number}" for number, (name, _) in enumerate(CODINGS)]


@pytest.mark.parametrize(("name", "compress"), CODINGS, ids=IDS)
def test_decodes_at_every_split_point(name: str, compress: Callable[[bytes], bytes]) -> None:
    data = compress(PLAIN)
    for cut in range(len(data) + 1):
        inflater = Inflater(name)
        assert inflater.feed(data[:cut]) + inflater.feed(data[cut:]) + inflater.end() == PLAIN
    inflater = Inflater(name)
    assert b"".join(inflater.feed(data[at : at + 1]) for at in range(len(data))) + inflater.end() == PLAIN


@pytest.mark.parametrize(("name", "compress"), CODINGS[:5], ids=IDS[:5])
def test_an_incomplete_body_is_broken_wherever_it_ends(name: str, compress: Callable[[bytes], bytes]) -> None:
    data = compress(PLAIN)
    for cut in range(1, len(data)):
        inflater = Inflater(name)
        inflater.feed(data[:cut])
        with pytest.raises(StreamBroken, match="ended too early"):
            inflater.end()


@pytest.mark.parametrize("name", ["gzip", "deflate", "br", "zstd", "identity", ""])
def test_an_empty_body_is_fine(name: str) -> None:
    inflater = Inflater(name)
    assert inflater.feed(b"") == b""
    assert inflater.end() == b""


@pytest.mark.parametrize("name", ["gzip", "deflate", "br"])
def test_bytes_that_are_not_encoded_are_broken(name: str) -> None:
    with pytest.raises(StreamBroken, match=f"is not {name}"):
        Inflater(name).feed(b'{"error": {"message": "plain text after all"}}')


@pytest.mark.parametrize("name", ["zstd", "gzip, br", "compress", "\r\nx: y"])
def test_an_encoding_we_cannot_read_is_named(name: str) -> None:
    with pytest.raises(StreamBroken, match="content encoding") as caught:
        Inflater(name).feed(b"x")
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("name", "compress"), [("gzip", gzip.compress), ("deflate", raw_deflate), ("br", brotli.compress)]
)
def test_a_bomb_breaks_before_it_fills_the_memory(name: str, compress: Callable[[bytes], bytes]) -> None:
    bomb = compress(b"\0" * 10_000_000)
    inflater = Inflater(name, ratio=10, floor=100_000)
    tracemalloc.start()
    try:
        with pytest.raises(StreamBroken, match="suspiciously many"):
            for at in range(0, len(bomb), 4096):
                inflater.feed(bomb[at : at + 4096])
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("name", "compress"), CODINGS[:5], ids=IDS[:5])
def test_a_small_answer_may_be_as_repetitive_as_it_likes(name: str, compress: Callable[[bytes], bytes]) -> None:
    plain = b"[0,0,0,0]" * 10_000
    inflater = Inflater(name)
    assert inflater.feed(compress(plain)) + inflater.end() == plain


def test_several_gzip_members_and_padding() -> None:
    data = gzip.compress(b"one ") + gzip.compress(b"two ") + gzip.compress(b"three") + b"\0" * 10
    for cut in range(len(data) + 1):
        inflater = Inflater("gzip")
        assert inflater.feed(data[:cut]) + inflater.feed(data[cut:]) + inflater.end() == b"one two three"


@pytest.mark.parametrize(("name", "compress"), CODINGS[:5], ids=IDS[:5])
def test_bytes_after_the_end_are_broken(name: str, compress: Callable[[bytes], bytes]) -> None:
    data = compress(b"x")
    with pytest.raises(StreamBroken):
        Inflater(name).feed(data + b"surplus")
    inflater = Inflater(name)
    inflater.feed(data)
    with pytest.raises(StreamBroken):
        inflater.feed(b"surplus")


def test_a_read_of_countless_gzip_members_is_broken() -> None:
    with pytest.raises(StreamBroken):
        Inflater("gzip").feed(gzip.compress(b"") * 1000)


@pytest.mark.parametrize("broken", [None, "old"])
def test_br_needs_a_brotli_that_can_stop(monkeypatch: pytest.MonkeyPatch, broken: str | None) -> None:
    module = types.SimpleNamespace(
        error=ValueError, Decompressor=lambda: types.SimpleNamespace(process=lambda data: b"")
    )
    monkeypatch.setitem(sys.modules, "brotli", module if broken else None)
    with pytest.raises(StreamBroken, match="can't read"):
        Inflater("br").feed(brotli.compress(b"x"))
