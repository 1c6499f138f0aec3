"""A registered policy, fenced in: what it raises or returns can end no call, and is counted under its plugin's name."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from typing import Protocol

from aiogateway.contracts import RetryPolicy
from aiogateway.errors import GatewayError
from aiogateway.types import Target

log = logging.getLogger(__name__)

HOOK = "register_retry_policies"
SLOW = 0.05  # seconds; a policy runs on the event loop, where everybody waits for it


class Report(Protocol):
    """Who hears of plugins at run time: the metrics."""

    def fail_plugin(self, plugin: str, hook: str) -> None: ...

    def time_plugin(self, plugin: str, seconds: float) -> None: ...


class GuardedPolicy:
    """A `RetryPolicy` that never raises and answers None or a finite wait of 0 or more.

    A policy that fails gives the target up, so that the call goes on to its fallback. `failures` counts that.
    """

    def __init__(self, plugin: str, policy: RetryPolicy, *, report: Report | None) -> None:
        self.name = policy.name
        self.plugin = plugin
        self.policy = policy
        self.failures = 0
        self._report = report
        self._slow = 0

    def wait(self, error: GatewayError, made: int, target: Target, draw: Callable[[], float]) -> float | None:
        """As `RetryPolicy.wait`."""
        start = time.perf_counter()
        try:
            return _check(self.policy.wait(error, made, target, draw))
        except Exception:
            self.failures += 1
            if self._report is not None:
                self._report.fail_plugin(self.plugin, HOOK)
            if _is_worth_a_line(self.failures):
                log.exception("retry policy %s of %s failed (%d times so far)", self.name, self.plugin, self.failures)
            return None
        finally:
            self._time(time.perf_counter() - start)

    def _time(self, spent: float) -> None:
        if self._report is not None:
            self._report.time_plugin(self.plugin, spent)
        if spent > SLOW:
            self._slow += 1
            if _is_worth_a_line(self._slow):
                log.warning(
                    "retry policy %s of %s held up every call for %.0f ms", self.name, self.plugin, spent * 1000
                )


def _check(wait: object) -> float | None:
    """Raises ValueError for what is no wait."""
    if wait is None:
        return None
    if isinstance(wait, bool) or not isinstance(wait, int | float) or not 0 <= wait < math.inf:
        raise ValueError(f"a wait must be None or seconds from 0, got {wait!r}")
    return float(wait)


def _is_worth_a_line(count: int) -> bool:
    return count & (count - 1) == 0  # 1, 2, 4, 8, …: a plugin that always fails must not fill the disk
