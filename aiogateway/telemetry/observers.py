"""Plugins that watch calls, fenced in: each word to them is timed, and one that raises is counted and named."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Protocol

from aiogateway.contracts import Observer
from aiogateway.types import Attempt, Call, Record

log = logging.getLogger(__name__)

SLOW = 0.05  # seconds; an observer runs on the event loop, where everybody waits for it


class Report(Protocol):
    """Who hears of plugins at run time: the metrics."""

    def fail_plugin(self, plugin: str, hook: str) -> None: ...

    def time_plugin(self, plugin: str, seconds: float) -> None: ...


class GuardedObserver:
    """One plugin's `observe_call`, which can neither break nor silently slow a call.

    `failures` counts what it raised, `calls` and `seconds` how often it ran and for how long altogether.
    """

    def __init__(self, plugin: str, begin: Callable[..., Any], *, takes_call: bool, report: Report | None) -> None:
        self._report = report
        self.plugin = plugin
        self.failures = 0
        self.calls = 0
        self.seconds = 0.0
        self._slow = 0
        self._begin = begin
        self._takes_call = takes_call

    def __call__(self, call: Call) -> Observer | None:
        """An observer of `call` whose methods never raise, or None when the plugin doesn't want this one."""
        arguments = (call,) if self._takes_call else ()
        observer: Observer | None = self.guard(self._begin, *arguments)
        return None if observer is None else _GuardedWatch(self, observer)

    def guard(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What `function` returns; None when it raises."""
        start = time.perf_counter()
        try:
            return function(*arguments)
        except Exception:
            self.failures += 1
            if self._report is not None:
                self._report.fail_plugin(self.plugin, "observe_call")
            if _is_worth_a_line(self.failures):
                log.exception("plugin %s failed to observe a call (%d times so far)", self.plugin, self.failures)
            return None
        finally:
            spent = time.perf_counter() - start
            self.calls += 1
            self.seconds += spent
            if self._report is not None:
                self._report.time_plugin(self.plugin, spent)
            if spent > SLOW:
                self._slow += 1
                if _is_worth_a_line(self._slow):
                    log.warning("plugin %s held up every call for %.0f ms", self.plugin, spent * 1000)


def _is_worth_a_line(count: int) -> bool:
    return count & (count - 1) == 0  # 1, 2, 4, 8, …: a plugin that always fails must not fill the disk


class _GuardedWatch:
    """An `Observer` of one call."""

    __slots__ = ("_observer", "_owner")

    def __init__(self, owner: GuardedObserver, observer: Observer) -> None:
        self._owner = owner
        self._observer = observer

    def attempt(self, attempt: Attempt) -> None:
        self._owner.guard(lambda: self._observer.attempt(attempt))

    def commit(self, call: Call) -> None:
        self._owner.guard(lambda: self._observer.commit(call))

    def end(self, record: Record) -> None:
        self._owner.guard(lambda: self._observer.end(record))
