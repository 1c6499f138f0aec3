"""A provider that answers in this process: its answer goes through the same exchange, deadlines and lanes as a
socket's.
"""

from __future__ import annotations

import asyncio
import logging

from ..contracts import Responder
from ..errors import ConnectFailed, StreamBroken, UpstreamError
from ..tasks import start_task
from ..types import Headers, UpstreamRequest
from .exchange import Exchange

log = logging.getLogger(__name__)


class LocalSource:
    """Runs `provider.respond` in an owned task and feeds `exchange`; back-pressure makes `send` wait."""

    def __init__(self, provider: Responder, request: UpstreamRequest, exchange: Exchange) -> None:
        self._exchange: Exchange | None = exchange
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._started = False
        exchange.source = self
        self._task = start_task(self._run(provider, request), name="local answer")

    async def _run(self, provider: Responder, request: UpstreamRequest) -> None:
        error: UpstreamError | None = None
        try:
            await provider.respond(request, self)
        except ConnectionError:
            error = (
                StreamBroken("the provider closed the connection before its answer was complete")
                if self._started
                else ConnectFailed("the provider closed the connection without an answer")
            )
        except Exception:
            log.exception("provider %s failed while answering", provider.name)
            error = UpstreamError("the provider's plugin failed")
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.on_read(b"", True, error)

    # -- Answer

    def start(self, status: int, headers: Headers) -> None:
        self._started = True
        if self._exchange is not None:
            self._exchange.on_head(status, [(name.encode(), value.encode("latin-1")) for name, value in headers])

    async def send(self, data: bytes) -> None:
        await self._flowing.wait()
        if self._exchange is None:
            raise ConnectionResetError
        self._exchange.on_read(data, False, None)

    # -- Source

    def pause(self) -> None:
        self._flowing.clear()

    def resume(self) -> None:
        self._flowing.set()

    def drop(self) -> None:
        self._exchange = None
        self._flowing.set()
        self._task.cancel()
