"""As much of an aiohttp request as the server room looks at."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from aiohttp import HttpVersion10, HttpVersion11, web
from multidict import CIMultiDict


class FakeTransport:
    """A client's transport; what is written to it after its end fails, as uvloop does."""

    def __init__(self) -> None:
        self.calls: list[bytes | tuple[bytes, ...]] = []
        self.unsent = 0
        self.closing = self.aborted = False

    @property
    def written(self) -> bytes:
        return b"".join(call if isinstance(call, bytes) else b"".join(call) for call in self.calls)

    def write(self, data: bytes) -> None:
        assert not self.closing
        self.calls.append(data)

    def writelines(self, data: list[bytes]) -> None:
        assert not self.closing
        self.calls.append(tuple(data))

    def is_closing(self) -> bool:
        return self.closing

    def abort(self) -> None:
        self.closing = self.aborted = True

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def get_extra_info(self, name: str) -> Any:
        return None


class FakeContent:
    """A body in pieces; an exception among them is raised, an Event is waited for."""

    def __init__(self, *pieces: Any, eof: bool = False) -> None:
        self.pieces = list(pieces)
        self.eof = eof
        self.total_bytes = sum(len(piece) for piece in pieces if isinstance(piece, bytes)) if eof else 0

    def is_eof(self) -> bool:
        return self.eof

    def read_nowait(self) -> bytes:
        data = b"".join(self.pieces)
        self.pieces.clear()
        return data

    async def readany(self) -> bytes:
        await asyncio.sleep(0)
        if not self.pieces:
            self.eof = True
            return b""
        piece = self.pieces.pop(0)
        if isinstance(piece, asyncio.Event):
            await piece.wait()
            return await self.readany()
        if isinstance(piece, BaseException):
            raise piece
        self.total_bytes += len(piece)
        return bytes(piece)


class FakeRequest:
    """A request; `web` is how the server room sees it."""

    def __init__(
        self,
        method: str = "POST",
        raw_path: str = "/v1/chat/completions",
        headers: dict[str, str] | None = None,
        *,
        content: FakeContent | None = None,
        old: bool = False,
        keep_alive: bool = True,
    ) -> None:
        self.method = method
        self.raw_path = raw_path
        self.headers = CIMultiDict({"Host": "localhost"})
        self.headers.update(headers or {})
        self.raw_headers = tuple((name.encode(), value.encode("latin-1")) for name, value in self.headers.items())
        self.version = HttpVersion10 if old else HttpVersion11
        self.keep_alive = keep_alive
        self.content = content or FakeContent(eof=True)
        self.transport: FakeTransport | None = FakeTransport()
        self.protocol = SimpleNamespace(writing_paused=False)
        self.drains = 0
        self.writer = SimpleNamespace(drain=self._drain)
        length = self.headers.get("content-length")
        self.content_length = None if length is None else int(length)

    async def _drain(self) -> None:
        self.drains += 1

    @property
    def web(self) -> web.BaseRequest:
        return cast(web.BaseRequest, self)

    @property
    def written(self) -> bytes:
        assert self.transport is not None
        return self.transport.written

    @property
    def status(self) -> int:
        return int(self.written.split()[1])

    @property
    def answer(self) -> tuple[dict[bytes, bytes], bytes]:
        """The headers and the body as they are on the wire; no header may come twice."""
        head, _, body = self.written.partition(b"\r\n\r\n")
        pairs = [tuple(line.split(b": ", 1)) for line in head.split(b"\r\n")[1:]]
        names = [pair[0] for pair in pairs]
        assert len(names) == len(set(names))
        return dict(pairs), body  # type: ignore[arg-type]
