"""Values that expire: fetched once however many ask, renewed before their time without anyone waiting."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, NamedTuple, TypeVar

from aiogateway.tasks import start_task

T = TypeVar("T")
log = logging.getLogger(__name__)

PAUSE = 10.0
"""Seconds until the next try when a value could not be renewed in time, and still holds."""


class Lease(NamedTuple, Generic[T]):
    """A value; after `fresh` seconds it is renewed beside its use, after `valid` seconds it is not used any more."""

    value: T
    fresh: float
    valid: float


class _Held(Generic[T]):
    __slots__ = ("renew", "until", "value")

    def __init__(self, lease: Lease[T], now: float) -> None:
        self.value = lease.value
        self.renew = now + lease.fresh
        self.until = now + lease.valid


class Leases(Generic[T]):
    """At most `limit` values by key, the least recently used goes first."""

    def __init__(self, limit: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._held: OrderedDict[Hashable, _Held[T]] = OrderedDict()
        self._tasks: dict[Hashable, asyncio.Task[T | Exception]] = {}

    async def get(self, key: Hashable, fetch: Callable[[], Awaitable[Lease[T]]]) -> T:
        """The value, from `fetch` if there is none that holds. Raises what `fetch` raised."""
        held = self._held.get(key)
        now = self._clock()
        if held is not None and now < held.until:
            self._held.move_to_end(key)
            if now >= held.renew:
                held.renew = now + PAUSE
                self._fetch(key, fetch)
            return held.value
        result = await asyncio.shield(self._fetch(key, fetch))  # one who leaves takes nothing from the others
        if isinstance(result, Exception):
            raise result
        return result

    def _fetch(self, key: Hashable, fetch: Callable[[], Awaitable[Lease[T]]]) -> asyncio.Task[T | Exception]:
        """The one fetch of a key that is under way."""
        task = self._tasks.get(key)
        if task is None or task.get_loop() is not asyncio.get_running_loop():
            task = self._tasks[key] = start_task(self._renew(key, fetch), name="AWS credentials")
        return task

    async def _renew(self, key: Hashable, fetch: Callable[[], Awaitable[Lease[T]]]) -> T | Exception:
        try:
            lease = await fetch()
        except Exception as error:
            log.warning("AWS credentials could not be had: %s", error)
            return error
        finally:
            self._tasks.pop(key, None)
        self._held[key] = _Held(lease, self._clock())
        self._held.move_to_end(key)
        while len(self._held) > self._limit:
            self._held.popitem(last=False)
        return lease.value
