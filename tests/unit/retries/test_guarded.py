from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import pytest

from aiogateway.errors import ConnectFailed, GatewayError
from aiogateway.retries.guarded import SLOW, GuardedPolicy
from aiogateway.types import Target

ERROR = ConnectFailed("no")
TARGET = Target(path="config", provider="openai")


class Told:
    """Hears of plugins."""

    def __init__(self) -> None:
        self.failures: list[tuple[str, str]] = []
        self.seconds: list[float] = []

    def fail_plugin(self, plugin: str, hook: str) -> None:
        self.failures.append((plugin, hook))

    def time_plugin(self, plugin: str, seconds: float) -> None:
        assert plugin == "acme"
        self.seconds.append(seconds)


class Policy:
    name = "patient"

    def __init__(self, answer: Callable[..., Any]) -> None:
        self.wait = answer


def guard(answer: Callable[..., Any]) -> tuple[GuardedPolicy, Told]:
    told = Told()
    return GuardedPolicy("acme", Policy(answer), report=told), told


def ask(policy: GuardedPolicy, made: int = 0) -> float | None:
    return policy.wait(ERROR, made, TARGET, lambda: 0.5)


def test_it_asks_the_policy_and_times_it() -> None:
    def answer(error: GatewayError, made: int, target: Target, draw: Callable[[], float]) -> float | None:
        assert error is ERROR
        assert target is TARGET
        return made + draw()

    policy, told = guard(answer)
    assert policy.name == "patient"
    assert ask(policy, made=2) == 2.5
    assert told.failures == []
    assert len(told.seconds) == 1
    assert told.seconds[0] > 0


@pytest.mark.parametrize(("answer", "wait"), [(None, None), (0, 0.0), (3, 3.0), (1.5, 1.5), (1e9, 1e9)])
def test_waits_that_are_waits(answer: Any, wait: float | None) -> None:
    policy, told = guard(lambda *_: answer)
    assert ask(policy) == wait
    assert told.failures == []


@pytest.mark.parametrize("answer", ["1", True, -1, float("nan"), float("inf"), [], object(), 10**400])
def test_rubbish_gives_the_target_up(answer: Any, caplog: pytest.LogCaptureFixture) -> None:
    policy, told = guard(lambda *_: answer)
    assert ask(policy) is None
    assert told.failures == [("acme", "register_retry_policies")]
    assert policy.failures == 1
    assert "retry policy patient of acme failed" in caplog.text


def test_one_that_raises_gives_the_target_up_and_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    def answer(*_: Any) -> float:
        raise RuntimeError("no luck")

    policy, told = guard(answer)
    assert [ask(policy) for _ in range(100)] == [None] * 100
    assert policy.failures == len(told.failures) == len(told.seconds) == 100
    assert len(caplog.records) == 7
    assert "RuntimeError: no luck" in caplog.text


def test_nobody_has_to_listen() -> None:
    assert ask(GuardedPolicy("acme", Policy(lambda *_: "rubbish"), report=None)) is None


def test_one_that_blocks_is_named(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    clock = iter([0.0, SLOW * 2, 1.0, 1.0 + SLOW / 2])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    policy, _ = guard(lambda *_: 1.0)
    with caplog.at_level(logging.WARNING):
        assert ask(policy) == 1.0
        assert ask(policy) == 1.0
    (line,) = caplog.messages
    assert line == "retry policy patient of acme held up every call for 100 ms"
