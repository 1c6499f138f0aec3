"""The story of a call. Read `Pipeline.run` first; everything else is called from there.

Until the commit nothing has been written to the client. After it there is one status and one stream, and what goes
wrong is said in-band. Whatever happens, one record is put, exactly once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial
from types import TracebackType
from typing import Protocol

from ..config.conditions import Facts
from ..config.tree import Tree
from ..contracts import Observer, Sink
from ..errors import GatewayError
from ..types import Call, Lane, Outcome, Record, Request
from . import replies
from .answer import give_answer
from .attempt import Opened, Tools, open_attempt
from .recovery import Broken, Rescue
from .search import Search

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

    async def run(self, call: Call, sink: Sink, resolve: Callable[[], Awaitable[tuple[Request, Tree]]]) -> None:
        """Answers into `sink` what `resolve` makes of the client's request. Raises only when the client left."""
        with Account(self, call, sink) as account:
            request, tree = await resolve()
            attempt = partial(open_attempt, self.tools, call, request, account.observers)
            search = Search(self.tools, call, tree, partial(look_at, call, request), attempt)
            opened = await search.find()
            try:
                self._commit(call, opened, account.observers)
                error, broken = await give_answer(self.tools, call, opened, sink)
            finally:
                self._close(call, opened)
            if error is not None:
                search.note_break(error)
            if broken is not None:
                await self._recover(call, sink, search, broken)

    async def _recover(self, call: Call, sink: Sink, search: Search[Opened], broken: Broken) -> None:
        """Goes on with a stream that broke after its commit, and ends it one way or the other."""
        rescue = Rescue(self.tools, call, sink, broken)
        while (error := rescue.wanted) is not None:
            rescue.announce()
            try:
                opened = await search.find(error)
            except GatewayError:
                break
            try:
                self._enter(call, opened)
                failure = await rescue.resume(opened)
            finally:
                self._close(call, opened)
            if failure is not None:
                search.note_break(failure)
        rescue.conclude()

    def _commit(self, call: Call, opened: Opened, observers: tuple[Observer, ...]) -> None:
        """From here on the client has a status, and no other target can be tried."""
        call.lane, call.status = opened.lane, opened.exchange.status
        call.committed = self._enter(call, opened)
        for observer in observers:
            observer.commit(call)

    def _enter(self, call: Call, opened: Opened) -> float:
        """The attempt's answer begins."""
        now = opened.attempt.first_token = time.monotonic() - call.clock
        if opened.lane is not Lane.UNARY:
            self.books.open_stream()
        return now

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


def look_at(call: Call, request: Request) -> Facts:
    """What conditions may ask about."""
    return Facts(metadata=call.metadata, params=request.body, path=call.route, headers=dict(request.headers))


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
