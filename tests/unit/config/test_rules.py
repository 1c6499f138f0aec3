from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from aiogateway.config.mistakes import Mistakes
from aiogateway.config.rules import read_cache, read_circuit, read_recovery, read_retry, read_timeouts
from aiogateway.types import CacheRules, CircuitRules, Recovery, Retry

retry = partial(read_retry, policies=("exponential", "patient"))


def read(reader: Callable[..., Any], value: Any) -> Any:
    mistakes = Mistakes()
    result = reader(value, "a", mistakes=mistakes)
    mistakes.check()
    return result


def spoil(reader: Callable[..., Any], value: Any) -> tuple[Any, set[str]]:
    """What is read all the same, and where the mistakes are."""
    mistakes = Mistakes()
    result = reader(value, "a", mistakes=mistakes)
    error = mistakes.join()
    return result, {one.path for one in error.errors or (error,)}


def test_retries() -> None:
    assert read(retry, {"attempts": 0}) == Retry()
    assert read(
        retry,
        {"attempts": 5, "onStatusCodes": [429, 503, 429], "useRetryAfterHeader": False, "policy": "patient"},
    ) == Retry(attempts=5, on_status_codes=(429, 503), use_retry_after=False, policy="patient")
    assert read(retry, {"attempts": 2.0, "on_status_codes": [], "policy": None}).on_status_codes == ()


@pytest.mark.parametrize("attempts", [-1, 6, "2", True, 1.5, None, [], 10**30])
def test_attempts_are_0_to_5(attempts: Any) -> None:
    assert spoil(retry, {"attempts": attempts}) == (Retry(), {"a.attempts"})


def test_a_retry_with_mistakes_keeps_the_rest() -> None:
    assert spoil(retry, {"attempts": 3, "policy": "x", "on_status_codes": [1, 2], "y": 1}) == (
        Retry(attempts=3),
        {"a.policy", "a.on_status_codes[0]", "a.on_status_codes[1]", "a.y"},
    )
    assert spoil(retry, 3) == (Retry(), {"a"})


def test_caches() -> None:
    assert read(read_cache, {"mode": "simple"}) == CacheRules(mode="simple")
    assert read(read_cache, {"mode": "semantic", "maxAge": 60000}) == CacheRules(mode="semantic", max_age=60000)
    assert read(read_cache, {"mode": "simple", "refresh": True}) == CacheRules(mode="simple", refresh=True)
    assert spoil(read_cache, {"mode": "smart", "max_age": 0}) == (None, {"a.mode", "a.max_age"})
    assert spoil(read_cache, {"max_age": 7_776_001}) == (None, {"a.mode", "a.max_age"})


def test_recovery() -> None:
    assert read(read_recovery, {"mode": "restart"}) == Recovery(mode="restart", attempts=1)
    assert read(read_recovery, {"mode": "continue", "attempts": 5}) == Recovery(mode="continue", attempts=5)
    assert read(read_recovery, {"mode": "off", "attempts": 2}) is False
    assert spoil(read_recovery, {"attempts": 6}) == (None, {"a.mode", "a.attempts"})
    assert spoil(read_recovery, {"mode": "on"}) == (None, {"a.mode"})


def test_timeouts_are_milliseconds_by_deadline() -> None:
    every = {"connect": 1, "first_token": 2, "idle": 3, "client_stall": 4, "total": 86_400_000}
    assert read(read_timeouts, every) == every
    assert read(read_timeouts, {"firstToken": 5, "idle": None}) == {"first_token": 5}
    assert spoil(read_timeouts, {"connect": 0, "idle": "5", "total": 86_400_001, "x": 1, "client_stall": 1}) == (
        {"client_stall": 1},
        {"a.connect", "a.idle", "a.total", "a.x"},
    )


def test_circuits() -> None:
    assert read(read_circuit, {}) == CircuitRules()
    assert read(read_circuit, {"failure_threshold": 2}) == CircuitRules(failures=2)
    assert read(read_circuit, {"failureThresholdPercentage": 12.5}) == CircuitRules(
        failures=None, failure_percentage=12.5
    )
    assert read(
        read_circuit,
        {
            "failure_threshold": 1,
            "failure_threshold_percentage": 100,
            "minimum_requests": 3,
            "cooldown_interval": 250,
            "failure_status_codes": [500, 429],
        },
    ) == CircuitRules(
        failures=1, failure_percentage=100.0, minimum_requests=3, cooldown=0.25, status_codes=frozenset((429, 500))
    )


def test_mistakes_in_circuits() -> None:
    assert spoil(
        read_circuit,
        {
            "failure_threshold": 0,
            "failure_threshold_percentage": 0,
            "minimum_requests": 0,
            "cooldown_interval": 86_400_001,
            "failure_status_codes": [99],
            "window": 1,
        },
    ) == (
        CircuitRules(),
        {
            "a.failure_threshold",
            "a.failure_threshold_percentage",
            "a.minimum_requests",
            "a.cooldown_interval",
            "a.failure_status_codes[0]",
            "a.window",
        },
    )
