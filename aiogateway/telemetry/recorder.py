"""Takes records from calls and brings them to sinks, in batches, where no call waits for them.

Each sink has a bounded queue and a task of its own: one that is slow or broken loses its own records, never another's.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Coroutine, Iterable
from typing import Any

from ..contracts import LogSink
from ..tasks import start_task
from ..types import Record
from .metrics import Metrics

log = logging.getLogger(__name__)

_QUIET = 60.0  # seconds between two log lines about the same sink's losses
_FAREWELL = 1.0  # seconds that closing the sinks may take


class Recorder:
    """Fans records out to `sinks`. Times are seconds; `put` belongs to the loop's thread.

    `bound`: records a sink may lag behind, beyond which new ones are dropped and counted. `batch`: the most records in
    one write. `patience`: how long one write may take. `linger`: how long a record may wait for others to share one.
    """

    def __init__(
        self,
        sinks: Iterable[LogSink],
        metrics: Metrics,
        *,
        bound: int = 10_000,
        batch: int = 500,
        patience: float = 5.0,
        linger: float = 0.1,
    ) -> None:
        self._queues = tuple(
            _Queue(sink, metrics, bound=bound, batch=batch, patience=patience, linger=linger) for sink in sinks
        )

    @property
    def failing(self) -> tuple[str, ...]:
        """The names of the sinks that lost records since their last good write."""
        return tuple(queue.name for queue in self._queues if queue.failing)

    def start(self) -> None:
        """Starts one task per sink; records put before are kept."""
        for queue in self._queues:
            queue.start()

    def put(self, record: Record) -> None:
        """Hands one record over. Never waits, never raises."""
        for queue in self._queues:
            queue.put(record)

    async def close(self, limit: float) -> None:
        """Writes what is queued for at most `limit` seconds, counts the rest as dropped, and closes the sinks.

        Closing them takes at most one more second. A `put` that comes later is counted as dropped.
        """
        await _finish([queue.drain() for queue in self._queues], limit)
        for queue in self._queues:
            queue.abandon()
        await _finish([queue.close() for queue in self._queues], _FAREWELL)


async def _finish(works: list[Coroutine[Any, Any, None]], limit: float) -> None:
    """Waits for `works` for at most `limit` seconds, even if one of them ignores its cancellation."""
    tasks = [start_task(work, name="recorder close") for work in works]
    if tasks:
        _, late = await asyncio.wait(tasks, timeout=limit)
        for task in late:
            task.cancel()


class _Queue:
    """One sink, the records on their way to it, and the task that writes them."""

    def __init__(
        self, sink: LogSink, metrics: Metrics, *, bound: int, batch: int, patience: float, linger: float
    ) -> None:
        self.name = sink.name
        self.failing = False
        self._sink = sink
        self._metrics = metrics
        self._bound = bound
        self._batch = batch
        self._patience = patience
        self._linger = linger
        self._records: deque[Record] = deque()
        self._in_flight = 0
        self._wake = asyncio.Event()
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._unsaid = 0  # records lost since the last line about it
        self._said = float("-inf")  # when that was
        self._loud = False  # whether the log's last word on this sink is a loss

    def start(self) -> None:
        self._task = start_task(self._run(), name=f"log sink {self.name}")

    def put(self, record: Record) -> None:
        if len(self._records) >= self._bound or self._closing.is_set():
            self._lose(1, "its queue is full" if not self._closing.is_set() else "the server is closing")
            return
        self._records.append(record)
        self._wake.set()  # costs 0.1 µs while the task is awake

    async def drain(self) -> None:
        self._closing.set()
        self._wake.set()
        if self._task is not None:
            await asyncio.wait((self._task,))

    def abandon(self) -> None:
        """Stops writing; what is queued or in the middle of a write counts as lost."""
        if self._task is not None:
            self._task.cancel()
        if lost := len(self._records) + self._in_flight:
            self._lose(lost, "the server did not wait any longer")
        self._records.clear()

    async def close(self) -> None:
        try:
            await self._sink.close()
        except Exception as error:
            log.warning("log sink %s failed to close: %s: %s", self.name, type(error).__name__, error)

    async def _run(self) -> None:
        while True:
            if not self._records:
                if self._closing.is_set():
                    return
                self._wake.clear()
                await self._wake.wait()
                continue
            if len(self._records) < self._batch:
                await self._gather()
            await self._write(tuple(self._records.popleft() for _ in range(min(self._batch, len(self._records)))))

    async def _gather(self) -> None:
        """Lets records come together, so that a quiet server writes ten times a second, not once per call."""
        try:
            async with asyncio.timeout(self._linger):
                await self._closing.wait()
        except TimeoutError:
            return

    async def _write(self, batch: tuple[Record, ...]) -> None:
        self._in_flight = len(batch)
        try:
            async with asyncio.timeout(self._patience):
                await self._sink.write(batch)
        except asyncio.CancelledError as error:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
            self._lose(len(batch), _describe(error))  # the sink cancelled something of its own
        except TimeoutError as error:
            self._lose(len(batch), str(error) or f"a write took longer than {self._patience:g} s")
        except Exception as error:
            self._lose(len(batch), _describe(error))
        else:
            self._recover()
        self._in_flight = 0

    def _lose(self, count: int, reason: str) -> None:
        self._metrics.drop_records(self.name, count)
        self.failing = True
        self._unsaid += count
        now = time.monotonic()
        if now - self._said >= _QUIET:
            log.warning("log sink %s lost %d records: %s", self.name, self._unsaid, reason)
            self._said, self._unsaid, self._loud = now, 0, True

    def _recover(self) -> None:
        self.failing = False
        if self._loud:
            log.warning("log sink %s works again; %d more records were lost", self.name, self._unsaid)
            self._unsaid, self._loud = 0, False


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
