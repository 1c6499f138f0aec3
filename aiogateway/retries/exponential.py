"""The built-in retry policy: the wait that the provider asks for, else one that doubles, both with jitter."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from aiogateway.contracts import RetryPolicy
from aiogateway.errors import (
    ConnectFailed,
    ConnectTimeout,
    FirstTokenTimeout,
    GatewayError,
    IdleTimeout,
    StreamBroken,
    TotalTimeout,
    UpstreamError,
    UpstreamStatus,
    UpstreamTLS,
)
from aiogateway.hookspecs import hookimpl
from aiogateway.retries.retry_after import read_retry_after
from aiogateway.types import Retry, Target

MAX_WAIT = 60.0
"""Seconds that a call is held back for one more try; a provider that asks for more is given up (portkey.md 4.1)."""

# No answer at all: worth another try whatever statuses a config lists.
_NO_ANSWER = (ConnectFailed, ConnectTimeout, StreamBroken)
# A silent target is not asked twice, and a certificate does not get better by asking.
_NEVER = (FirstTokenTimeout, IdleTimeout, TotalTimeout, UpstreamTLS)
_JITTER = 0.1


class RetrySettings(Protocol):
    """What of the Settings is read here."""

    @property
    def retry_wait(self) -> float: ...


@hookimpl
def register_retry_policies(register: Callable[[RetryPolicy], None], settings: RetrySettings) -> None:
    register(Exponential(settings.retry_wait))


class Exponential:
    """Waits as long as the provider asks, and up to a tenth longer; else `first_wait` seconds, doubled at each retry.

    Of a wait that nobody asked for, half is fixed and half random, so that calls which failed together do not come back
    together. `clock` is wall-clock time (Unix), against which a date in ``retry-after`` is read.
    """

    name = "exponential"

    def __init__(self, first_wait: float = 1.0, *, clock: Callable[[], float] = time.time) -> None:
        self._first_wait = first_wait
        self._clock = clock

    def wait(self, error: GatewayError, made: int, target: Target, draw: Callable[[], float]) -> float | None:
        """As `RetryPolicy.wait`: None for what another try would not mend."""
        if not _is_worth_a_try(error, target.retry):
            return None
        asked = self._read_asked(error, target.retry)
        if asked:
            # The jitter alone must not make a wait too long that would have been taken.
            return min(asked * (1 + _JITTER * draw()), max(asked, MAX_WAIT))
        wait = self._first_wait * 2.0**made
        return wait / 2 + wait / 2 * draw()

    def _read_asked(self, error: GatewayError, retry: Retry) -> float | None:
        if retry.use_retry_after and isinstance(error, UpstreamStatus):
            return read_retry_after(error.headers, error.body, now=self._clock())
        return None


def _is_worth_a_try(error: GatewayError, retry: Retry) -> bool:
    if isinstance(error, _NO_ANSWER):
        return True
    return isinstance(error, UpstreamError) and not isinstance(error, _NEVER) and error.status in retry.on_status_codes
