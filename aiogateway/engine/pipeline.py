"""The story of a call. Read `Pipeline.run` first; everything else is called from there.

Until the commit nothing has been written to the client. After it there is one status and one stream, and what goes
wrong is said in-band. Whatever happens, one record is put, exactly once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Protocol

from ..contracts import Observer, Sink
from ..errors import GatewayError
from ..types import Call, Lane, Outcome, Record, Request, Target
from . import replies
from .answer import give_answer
from .attempt import Opened, Tools, open_attempt

log = logging.getLogger(__name__)


class Books(Protocol):
    """Where finished calls are put and streams are counted. Synchronous, never raises."""

    def begin_call(self) -> None: ...

    def put(self, record: Record) -> None: ...

    def open_stream(self) -> None: ...

    def close_stream(self) -> None: ...


class Pipeline:
    """Runs calls. One per worker."""

    def __init__(self, tools: Tools, books: Books) -> None:
        self.tools = tools
        self.books = books

    async def run(self, call: Call, sink: Sink, resolve: Callable[[], Awaitable[tuple[Request, Target]]]) -> None:
        """Answers into `sink` what `resolve` makes of the client's request. Raises only when the client left."""
        with Account(self, call, sink) as account:
            request, target = await resolve()
            until = self.tools.loop.time() + target.deadlines.total
            opened = await open_attempt(self.tools, call, request, target, until, account.observers)
            try:
                self._commit(call, opened, account.observers)
                await give_answer(self.tools, call, opened, sink)
            finally:
                self._close(call, opened)

    def _commit(self, call: Call, opened: Opened, observers: tuple[Observer, ...]) -> None:
        """From here on the client has a status, and no other target can be tried."""
        now = time.monotonic() - call.clock
        call.lane, call.status, call.committed = opened.lane, opened.exchange.status, now
        opened.attempt.first_token = now
        if opened.lane is not Lane.UNARY:
            self.books.open_stream()
        for observer in observers:
            observer.commit(call)

    def _close(self, call: Call, opened: Opened) -> None:
        opened.close()
        opened.attempt.end = time.monotonic() - call.clock
        self.tools.live.discard(opened.exchange)
        if opened.lane is not Lane.UNARY:
            self.books.close_stream()

    def stop(self, error: GatewayError) -> None:
        """Ends every call that has an upstream with `error`: in-band where its answer has begun."""
        for exchange in list(self.tools.live):
            exchange.fail(error)


class Account:
    """One call's bookkeeping: every way to fail has its outcome, and one record is put at the end."""

    __slots__ = ("_call", "_pipeline", "_sink", "observers")

    def __init__(self, pipeline: Pipeline, call: Call, sink: Sink) -> None:
        self._pipeline = pipeline
        self._call = call
        self._sink = sink
        self.observers: tuple[Observer, ...] = ()
        if pipeline.tools.registry.observers:
            found = (observe(call) for observe in pipeline.tools.registry.observers)
            self.observers = tuple(observer for observer in found if observer is not None)

    def __enter__(self) -> Account:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        try:
            return error is None or self._excuse(error)
        finally:
            self._settle()

    def _excuse(self, error: BaseException) -> bool:
        """Answers for what was raised; False lets it go on: a cancellation, the end of the process."""
        call, sink = self._call, self._sink
        if isinstance(error, GatewayError):
            self._refuse(error)
            return True
        if isinstance(error, asyncio.CancelledError | ConnectionError):
            call.outcome = call.outcome or Outcome.CLIENT_LEFT
            sink.abort()
            return isinstance(error, ConnectionError)
        if not isinstance(error, Exception):
            return False
        log.error("call %s failed inside the gateway", call.id, exc_info=error)
        self._refuse(GatewayError("the gateway failed on this call"))
        return True

    def _refuse(self, error: GatewayError) -> None:
        """Answers with an error, unless the client already has a status: then it is cut."""
        call, sink = self._call, self._sink
        call.error = error.code
        if sink.started:
            call.outcome = Outcome.TRUNCATED
            sink.abort()
            return
        call.outcome = Outcome.FAILED if call.attempts else Outcome.REFUSED
        call.status = error.status
        registry = self._pipeline.tools.registry
        dialect = registry.client_dialect(call.endpoint) if call.endpoint is not None else None
        body, headers = replies.write_error(call, error, dialect)
        try:
            sink.start(error.status, headers, length=len(body))
            sink.write(body)
            sink.end()
            call.sent = len(body)
        except ConnectionError:  # nobody is there to hear it
            call.outcome = Outcome.CLIENT_LEFT

    def _settle(self) -> None:
        """One synchronous put."""
        record = replies.make_record(self._call, time.monotonic())
        self._pipeline.books.put(record)
        for observer in self.observers:
            observer.end(record)
