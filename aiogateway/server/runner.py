"""Starts, drains and stops the HTTP server: the one runner of production and of the tests.

aiohttp cancels a handler whose client left only with `handler_cancellation`, which its own test server sets and its
own runner does not. So there is one place that starts servers, and it is this.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Any, cast

import aiohttp
from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.web_protocol import RequestHandler

from ..engine.replies import write_plain_error
from ..errors import Overloaded, RequestError, SettingsError
from ..settings import Settings
from ..tasks import start_task
from .health import DRAINING, STARTING, Health
from .routes import Routes
from .upload import BrokenBody

log = logging.getLogger(__name__)

BACKLOG = 2048
HEAD_SLACK = 4096  # beside the largest config header there are the others
FAREWELL = 1.0  # seconds for in-band errors to reach clients at a forced stop


class Connection(RequestHandler):
    """aiohttp's, but for what it says of bytes that are no HTTP: its own log line and its answer hold those bytes, a
    caller's key among them, and anybody could fill the log with them.
    """

    __slots__ = ("_heads", "_payload", "busy")

    def __init__(self, manager: Listener, **options: Any) -> None:
        super().__init__(manager, **options)
        self._heads = manager
        self._payload: aiohttp.StreamReader | None = None
        self.busy = False  # a request of this connection is being answered

    def data_received(self, data: bytes) -> None:
        """Times a head that comes in pieces, and ends a body in which a chunk's framing breaks: aiohttp's C parser
        leaves its reader waiting.
        """
        super().data_received(data)
        if self._messages:
            last, self._payload = self._payload, self._messages[-1][1]
            if last is not None and last is not self._payload and not last.is_eof():
                last.set_exception(BrokenBody())
        elif not self.busy and self.transport is not None:
            self._heads.await_head(self, self.transport)

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        if status != 400:
            return super().handle_error(request, status, exc, message)
        log.debug("a request that is not valid HTTP: %s", type(exc).__name__)
        long = isinstance(exc, LineTooLong)
        body = write_plain_error(RequestError("a header is too long" if long else "the request is not valid HTTP"))
        response = web.Response(status=400, body=body, content_type="application/json")
        response.force_close()
        return response


class Listener(web.Server):
    """aiohttp's server, which also closes connections that don't bring a request's head in time (slowloris)."""

    def __init__(self, handler: Any, *, head_timeout: float, **options: Any) -> None:
        super().__init__(handler, handler_cancellation=True)
        self._options = options
        self._head_timeout = head_timeout
        self._waiting: dict[Any, asyncio.TimerHandle] = {}

    def __call__(self) -> Connection:
        return Connection(self, loop=asyncio.get_running_loop(), **self._options)

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        self.await_head(handler, transport)
        _bound_unsent(transport)

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        self.see_head(handler)

    def await_head(self, handler: Any, transport: asyncio.Transport) -> None:
        """From a connection's start, or a later head's first bytes; an idle connection is `keepalive`'s."""
        if handler not in self._waiting:
            loop = asyncio.get_running_loop()
            self._waiting[handler] = loop.call_later(self._head_timeout, self._close_slow, handler, transport)

    def see_head(self, handler: Any) -> None:
        """A request's head is here, or the connection has gone."""
        timer = self._waiting.pop(handler, None)
        if timer is not None:
            timer.cancel()

    def _close_slow(self, handler: Any, transport: asyncio.Transport) -> None:
        self._waiting.pop(handler, None)
        if not transport.is_closing():
            transport.write(b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            transport.close()


class Runner:
    """Serves `routes` on the settings' host and port."""

    def __init__(self, settings: Settings, routes: Routes, health: Health) -> None:
        self._settings = settings
        self._routes = routes
        self._health = health
        self._calls = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._listener: asyncio.Server | None = None
        self._server: Listener | None = None
        self._forced = asyncio.Event()
        self.port = settings.port

    async def start(self) -> None:
        """Listens. Raises SettingsError when the port can't be had."""
        settings = self._settings
        self._server = Listener(
            self._handle,
            head_timeout=settings.head_timeout,
            access_log=None,  # +53 % a request; records say more
            auto_decompress=False,  # a passthrough keeps its bytes
            keepalive_timeout=settings.keepalive,
            max_line_size=settings.max_config_header + HEAD_SLACK,
            max_field_size=settings.max_config_header + HEAD_SLACK,
        )
        loop = asyncio.get_running_loop()
        try:
            self._listener = await loop.create_server(self._server, settings.host, settings.port, backlog=BACKLOG)
        except OSError as error:
            message = f"can't listen on {settings.host}:{settings.port}: {error.strerror}"
            raise SettingsError(message, path="port") from error
        self.port = self._listener.sockets[0].getsockname()[1]
        self._health.clear(STARTING)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        assert self._server is not None
        connection = cast(Connection, request.protocol)
        self._server.see_head(connection)
        connection.busy = True
        self._calls += 1
        self._idle.clear()
        try:
            return await self._routes.handle(request)
        finally:
            connection.busy = False
            self._calls -= 1
            if not self._calls:
                self._idle.set()

    def force(self) -> None:
        """Ends a drain that is under way."""
        self._forced.set()

    async def stop(self, drain: float) -> None:
        """Not ready at once; answers say ``connection: close``; calls end by themselves for up to `drain` seconds.

        We still accept: requests that were under way to us when we were told to stop are served, and whoever asks
        ``/readyz`` gets its 503. What is left after the drain ends with an in-band error.
        """
        self._health.block(DRAINING)
        server, listener = self._server, self._listener
        if server is None or listener is None:
            return
        if self._calls and drain > 0:
            log.info("draining: %d calls under way", self._calls)
            await self._wait_idle(drain)
        listener.close()
        server.pre_shutdown()
        if self._calls:
            log.warning("cutting %d calls that the drain did not end", self._calls)
            self._routes.stop(Overloaded("the gateway is shutting down"))
            await self._wait_idle(FAREWELL, forced=False)
        await server.shutdown(FAREWELL)

    async def _wait_idle(self, limit: float, *, forced: bool = True) -> None:
        waits = [start_task(self._idle.wait(), name="drain")]
        if forced:
            waits.append(start_task(self._forced.wait(), name="forced end of a drain"))
        _, pending = await asyncio.wait(waits, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        for wait in pending:
            wait.cancel()


def _bound_unsent(transport: asyncio.Transport) -> None:
    """The kernel closes a connection whose client takes nothing for two minutes, also after our answer has ended."""
    sock = transport.get_extra_info("socket")
    option = getattr(socket, "TCP_USER_TIMEOUT", None)  # Linux
    if sock is not None and option is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, option, 120_000)
