"""The client's body on its way in: bounded in bytes, and in the silence between them."""

from __future__ import annotations

import asyncio

from aiohttp import HttpVersion11, hdrs, web

from ..engine.buffers import Buffers
from ..errors import BodyTooLarge, RequestError, RequestTimeout, UpstreamError
from ..wire.encoding import Inflater


class BrokenBody(TimeoutError):
    """The framing of a request's body broke. Of this kind because aiohttp reads on after an answer, and takes only this
    for an end that needs no line in the log.
    """


class ClientUpload:
    """`max_body` bounds what is read whole, not a passthrough. `patience`: seconds the client may be silent."""

    __slots__ = ("_buffers", "_content", "_held", "_max_body", "_patience", "_request", "length", "touched")

    def __init__(self, request: web.BaseRequest, buffers: Buffers, *, max_body: int, patience: float) -> None:
        self._request = request
        self._content = request.content
        self._buffers = buffers
        self._max_body = max_body
        self._patience = patience
        self._held = 0
        self.touched = False
        self.length: int | None = request.content_length
        if self.length is None and hdrs.TRANSFER_ENCODING not in request.headers:
            self.length = 0

    def take(self) -> bytes | None:
        """The whole body if it came with the head, which is the usual case. Raises as `read_all`."""
        if self.length is not None and self.length > self._max_body:
            raise self._too_large()
        content = self._content
        if self.touched or not content.is_eof():
            return None
        body = content.read_nowait()
        self.touched = bool(body)
        self._hold(len(body))
        return self._decode(body)

    async def read_all(self) -> bytes:
        """The whole body. Raises BodyTooLarge (before reading, if the length is told), Overloaded, RequestTimeout."""
        if (body := self.take()) is not None:
            return body
        parts: list[bytes] = []
        while data := await self.read():
            self._hold(len(data))
            parts.append(data)
            if self._held > self._max_body:
                raise self._too_large()
        return self._decode(b"".join(parts))

    async def read(self) -> bytes:
        """The next piece; empty at the end."""
        self._continue()
        try:
            async with asyncio.timeout(self._patience):
                data = await self._content.readany()
        except (BrokenBody, web.RequestPayloadError) as error:
            raise RequestError("the request's body is not valid HTTP") from error
        except TimeoutError:
            raise RequestTimeout(f"nothing of the body came for {self._patience:g} s") from None
        self.touched = self.touched or bool(data)
        return data

    def free(self) -> None:
        """What was read whole is no longer held."""
        self._buffers.free(self._held)
        self._held = 0

    def _hold(self, size: int) -> None:
        self._buffers.hold(size)
        self._held += size

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(f"the request's body is over {self._max_body} bytes")

    def _continue(self) -> None:
        """RFC 9110 10.1.1: the client waits for a word before it sends its body."""
        request = self._request
        if self.touched or request.version < HttpVersion11 or self._content.total_bytes:
            return
        if request.headers.get(hdrs.EXPECT, "").lower() == "100-continue" and request.transport is not None:
            self.touched = True
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _decode(self, body: bytes) -> bytes:
        """A compressed request body (we read it, so it must be plain), under the same bound."""
        encoding = self._request.headers.get(hdrs.CONTENT_ENCODING)
        if encoding is None or not body:
            return body
        encoding = encoding.strip().lower()
        if encoding in ("", "identity"):
            return body
        try:
            inflater = Inflater(encoding, most=self._max_body)
            plain = inflater.feed(body)
            if len(plain) > self._max_body:
                raise self._too_large()
            inflater.end()
        except UpstreamError as error:
            raise RequestError(f"the body can't be decoded as {encoding}", param="content-encoding") from error
        self._hold(len(plain))
        return plain
