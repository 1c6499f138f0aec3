"""A retry budget for aiogateway: the retry policy ``budget``."""

from __future__ import annotations

import os
from collections.abc import Callable

from aiogateway import Observer, RetryPolicy, hookimpl
from aiogateway.retries.exponential import Exponential, RetrySettings
from aiogateway_plugin_retry_budget.ledger import WINDOW, Ledger
from aiogateway_plugin_retry_budget.limits import Limits, read_limits
from aiogateway_plugin_retry_budget.policy import Budget, CallCounter

__all__ = ["WINDOW", "Budget", "CallCounter", "Ledger", "Limits", "read_limits"]

# One for the process: it is the process's calls that make a storm.
_ledger = Ledger()


@hookimpl
def register_retry_policies(register: Callable[[RetryPolicy], None], settings: RetrySettings) -> None:
    register(Budget(Exponential(settings.retry_wait), _ledger, read_limits(os.environ)))


@hookimpl
def observe_call() -> Observer:
    return CallCounter(_ledger)
