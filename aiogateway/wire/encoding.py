"""Content codings (RFC 9110, section 8.4.1): compressed bytes to plain ones as they come, under a cap against bombs."""

from __future__ import annotations

import importlib
import zlib
from typing import Any, Protocol

from aiogateway.errors import StreamBroken

RATIO = 200
"""How many plain bytes one compressed byte may become: bombs reach 1,000 in gzip, far more in br."""

FLOOR = 1024 * 1024
"""Plain bytes that are allowed whatever the ratio."""

_MEMBERS = 256  # gzip members in one read; servers that flush by member start a few


class _Coding(Protocol):
    def decode(self, data: bytes, limit: int) -> bytes:
        """All that `data` holds, but once it is `limit` bytes no more than a buffer over it. Raises ValueError."""

    @property
    def complete(self) -> bool: ...


class Inflater:
    """Decodes one body. `encoding` is the value of Content-Encoding; empty and ``identity`` leave bytes as they are.

    `most`: plain bytes that the caller can use; a `feed` unpacks little more than that, whatever else it was given.
    """

    def __init__(self, encoding: str, *, ratio: int = RATIO, floor: int = FLOOR, most: int | None = None) -> None:
        self.encoding = encoding
        self._ratio = ratio
        self._budget = floor
        self._most = most
        self._coding: _Coding | None = None

    def feed(self, data: bytes) -> bytes:
        """The plain bytes that `data` completes, perhaps none.

        Raises StreamBroken for an encoding that is not known here, for bytes that are not in it, and for more than
        `floor` + `ratio` x (compressed bytes so far) plain bytes. An empty body is never wrong.
        """
        if not data:
            return b""
        if self._coding is None:
            self._coding = _open_coding(self.encoding)
        self._budget += self._ratio * len(data)
        limit = self._budget if self._most is None else min(self._budget, self._most)
        try:
            plain = self._coding.decode(data, limit + 1)
        except ValueError as error:
            raise StreamBroken(f"the provider's answer is not {self.encoding}, as it claims to be") from error
        self._budget -= len(plain)
        if self._budget < 0:
            raise StreamBroken(f"the provider's {self.encoding} answer unpacks to suspiciously many bytes")
        return plain

    def end(self) -> bytes:
        """Call it where the body ends: the last plain bytes. Raises StreamBroken when compressed bytes are missing."""
        if self._coding is not None and not self._coding.complete:
            raise StreamBroken(f"the provider's {self.encoding} answer ended too early")
        return b""


class _Identity:
    complete = True

    def decode(self, data: bytes, limit: int) -> bytes:
        return data


class _Zlib:
    """gzip (also of several members) and deflate, which is zlib in the standard and raw at some servers."""

    def __init__(self, *, gzip: bool) -> None:
        self._gzip = gzip
        self._head = b""
        self._stream = zlib.decompressobj(31) if gzip else None

    @property
    def complete(self) -> bool:
        return self._stream is not None and self._stream.eof

    def decode(self, data: bytes, limit: int) -> bytes:
        try:
            return self._decode(data, limit)
        except zlib.error as error:
            raise ValueError(str(error)) from error

    def _decode(self, data: bytes, limit: int) -> bytes:
        if self._stream is None:
            data = self._head + data
            if len(data) < 2:
                self._head = data
                return b""
            # RFC 1950: method 8 in the low nibble, and the two bytes are a multiple of 31.
            wrapped = data[0] & 0x0F == 8 and int.from_bytes(data[:2]) % 31 == 0
            self._stream = zlib.decompressobj(15 if wrapped else -15)
        pieces: list[bytes] = []
        for _ in range(_MEMBERS):
            if self._stream.eof:
                data = data.lstrip(b"\0")  # tar and others pad with zeros
                if data and not self._gzip:
                    raise ValueError("bytes after the end")
                if data:
                    self._stream = zlib.decompressobj(31)
            if not data:
                return b"".join(pieces)
            piece = self._stream.decompress(data, limit)
            pieces.append(piece)
            limit -= len(piece)
            if limit <= 0 or not self._stream.eof:
                return b"".join(pieces)
            data = self._stream.unused_data
        raise ValueError("too many gzip members")


class _Brotli:
    """Only with a brotli that can stop on the way (1.2 and later): others unpack a bomb before we can look."""

    def __init__(self, module: Any) -> None:
        self._error: type[Exception] = module.error
        self._stream = module.Decompressor()
        self._stream.process(b"", output_buffer_limit=1)  # TypeError in older versions

    @property
    def complete(self) -> bool:
        return bool(self._stream.is_finished())

    def decode(self, data: bytes, limit: int) -> bytes:
        pieces = []
        try:
            while limit > 0:
                piece: bytes = self._stream.process(data, output_buffer_limit=limit)
                pieces.append(piece)
                limit -= len(piece)
                data = b""
                if not piece and self._stream.can_accept_more_data():
                    break
        except self._error as error:
            raise ValueError(str(error)) from error
        return b"".join(pieces)


def _open_coding(encoding: str) -> _Coding:
    names = [name for part in encoding.lower().split(",") if (name := part.strip()) not in {"", "identity"}]
    if not names:
        return _Identity()
    if names in (["gzip"], ["x-gzip"]):
        return _Zlib(gzip=True)
    if names == ["deflate"]:
        return _Zlib(gzip=False)
    if names == ["br"]:
        try:
            return _Brotli(importlib.import_module("brotli"))
        except (ImportError, TypeError):
            raise StreamBroken(
                "the provider's answer is compressed with br, which this installation can't read"
            ) from None
    raise StreamBroken(f"the provider's answer has the content encoding {encoding[:80]!r}, which we can't read")
