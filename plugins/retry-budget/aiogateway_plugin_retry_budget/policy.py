"""The policy, and the observer that counts calls for it."""

from __future__ import annotations

import logging
from collections.abc import Callable

from aiogateway import Attempt, Call, GatewayError, Record, RetryPolicy, Target
from aiogateway.retries.exponential import MAX_WAIT
from aiogateway_plugin_retry_budget.ledger import WINDOW, Ledger
from aiogateway_plugin_retry_budget.limits import Limits

log = logging.getLogger(__name__)


class CallCounter:
    """An `Observer` that counts the calls which go to a provider: its first tries there, not its retries."""

    __slots__ = ("_ledger",)

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def attempt(self, attempt: Attempt) -> None:
        if attempt.retry == 0:
            self._ledger.deposit(attempt.provider)

    def commit(self, call: Call) -> None:
        """A call that got its answer was counted when it began."""

    def end(self, record: Record) -> None:
        """The same for one that failed."""


class Budget:
    """Waits as `policy` does while the budget of the target's provider lasts, then gives targets up."""

    name = "budget"

    def __init__(self, policy: RetryPolicy, ledger: Ledger, limits: Limits) -> None:
        self._policy = policy
        self._ledger = ledger
        self._limits = limits
        self._spent: set[str] = set()

    def wait(self, error: GatewayError, made: int, target: Target, draw: Callable[[], float]) -> float | None:
        """As `RetryPolicy.wait`. A retry is paid for when it is planned, also if the call then ends before it."""
        wait = self._policy.wait(error, made, target, draw)
        if wait is None or wait > MAX_WAIT:  # the gateway makes no retry of these
            return wait
        paid = self._ledger.withdraw(target.provider, self._limits.allowance)
        self._tell(target.provider, paid=paid)
        return wait if paid else None

    def _tell(self, provider: str, *, paid: bool) -> None:
        """One line when a budget is used up, not one for each call that it turns down."""
        if paid:
            self._spent.discard(provider)
        elif provider not in self._spent:
            self._spent.add(provider)
            calls, retries = self._ledger.count(provider)
            log.warning("no more retries at %s: %d of %d calls in %d s", provider, retries, calls, WINDOW)
