from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
from aiogateway_plugin_retry_budget import WINDOW, Budget, CallCounter, Ledger, Limits

from aiogateway import (
    Attempt,
    ConnectFailed,
    FirstTokenTimeout,
    GatewayError,
    Retry,
    RetryPolicy,
    Target,
    UpstreamStatus,
)
from aiogateway.retries.exponential import Exponential

TARGET = Target(path="config", provider="openai", retry=Retry(attempts=5, policy="budget"))
DOWN = UpstreamStatus("down", status=503)


class Bench:
    """A policy, what counts calls for it, and a clock that stands still unless moved."""

    def __init__(self, limits: Limits, policy: RetryPolicy | None = None) -> None:
        self.now = 50.0
        ledger = Ledger(lambda: self.now)
        self.policy = Budget(policy or Exponential(1.0), ledger, limits)
        self.counter = CallCounter(ledger)

    def call(self, provider: str = "openai", retry: int = 0) -> None:
        self.counter.attempt(Attempt(target="config", provider=provider, model="m", start=0.0, retry=retry))

    def ask(self, error: GatewayError = DOWN, made: int = 0, target: Target = TARGET) -> float | None:
        return self.policy.wait(error, made, target, lambda: 0.5)


class Fixed:
    name = "fixed"

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def wait(self, error: GatewayError, made: int, target: Target, draw: Callable[[], float]) -> float | None:
        return self.seconds


def test_its_waits_are_those_of_the_policy_below() -> None:
    bench = Bench(Limits())
    assert bench.policy.name == "budget"
    assert [bench.ask(made=made) for made in range(3)] == [0.75, 1.5, 3.0]
    assert bench.ask(UpstreamStatus("slow down", status=429, headers=(("retry-after", "2"),))) == pytest.approx(2.1)


def test_a_stampede_makes_no_more_retries_than_the_budget_has() -> None:
    """1,000 calls arrive, and each fails for as long as it is tried."""
    bench = Bench(Limits(share=0.2, floor=3.0))
    for _ in range(1000):
        bench.call()
    retries = 0
    waiting = [0] * 1000
    while waiting:
        waiting = [made + 1 for made in waiting if made < 5 and bench.ask(made=made) is not None]
        retries += len(waiting)
        for made in waiting:
            bench.call(retry=made)
        bench.now += 0.5
    assert retries == 0.2 * 1000 + 3 * WINDOW


def test_a_lasting_outage_gets_the_budget_of_every_ten_seconds() -> None:
    bench = Bench(Limits(share=0.2, floor=0.0))
    granted = 0
    for second in range(100):
        bench.now = 50.0 + second
        for _ in range(100):
            bench.call()
            granted += bench.ask() is not None
    assert granted <= 0.2 * 100 * 100
    assert granted > 0.15 * 100 * 100


def test_a_quiet_service_may_retry() -> None:
    bench = Bench(Limits(share=0.2, floor=0.1))
    bench.call()
    assert bench.ask() is not None
    assert bench.ask() is None
    bench.now += WINDOW + 1
    assert bench.ask() is not None


def test_a_provider_that_is_well_is_not_held_to_anothers_budget() -> None:
    bench = Bench(Limits(share=0.5, floor=0.0))
    for _ in range(10):
        bench.call("mock")
    assert bench.ask() is None
    assert bench.ask(target=Target(path="config", provider="mock")) is not None


def test_retries_are_no_calls() -> None:
    bench = Bench(Limits(share=1.0, floor=0.0))
    bench.call()
    bench.call(retry=1)
    bench.call(retry=2)
    assert [bench.ask() is not None for _ in range(2)] == [True, False]


def test_what_is_not_tried_again_costs_nothing() -> None:
    bench = Bench(Limits(share=0.0, floor=0.1))
    for error in (FirstTokenTimeout("silence"), UpstreamStatus("bad", status=400)):
        assert bench.ask(error) is None
    assert bench.ask(UpstreamStatus("later", status=429, headers=(("retry-after", "900"),))) == 900.0
    assert bench.ask(ConnectFailed("refused")) is not None
    assert bench.ask(ConnectFailed("refused")) is None


def test_the_longest_wait_is_paid_for() -> None:
    bench = Bench(Limits(share=0.0, floor=0.1), Fixed(60.0))
    assert [bench.ask(), bench.ask()] == [60.0, None]


def test_a_budget_that_is_used_up_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(Limits(share=0.5, floor=0.0))
    for _ in range(4):
        bench.call()
    with caplog.at_level(logging.WARNING):
        for _ in range(10):
            bench.ask()
        assert caplog.messages == ["no more retries at openai: 2 of 4 calls in 10 s"]
        bench.now += WINDOW + 1
        bench.call()
        bench.call()
        assert bench.ask() is not None
        assert bench.ask() is None
    assert caplog.messages[1:] == ["no more retries at openai: 1 of 2 calls in 10 s"]
