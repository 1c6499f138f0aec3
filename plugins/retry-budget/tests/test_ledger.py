from __future__ import annotations

from aiogateway_plugin_retry_budget import WINDOW, Ledger, Limits
from hypothesis import given
from hypothesis import strategies as st


class Clock:
    """Seconds that a test moves on."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def fifth(calls: int, seconds: float) -> float:
    return calls / 5


def test_retries_are_a_share_of_the_calls() -> None:
    ledger = Ledger(Clock())
    assert not ledger.withdraw("a", fifth)
    for _ in range(10):
        ledger.deposit("a")
    assert [ledger.withdraw("a", fifth) for _ in range(4)] == [True, True, False, False]
    assert ledger.count("a") == (10, 2)


def test_providers_have_a_budget_each() -> None:
    ledger = Ledger(Clock())
    for _ in range(5):
        ledger.deposit("a")
    assert not ledger.withdraw("b", fifth)
    assert ledger.withdraw("a", fifth)
    assert ledger.count("b") == (0, 0)


def test_what_is_older_than_the_window_is_forgotten() -> None:
    clock = Clock()
    ledger = Ledger(clock)
    for _ in range(5):
        ledger.deposit("a")
    assert ledger.withdraw("a", fifth)
    clock.now += WINDOW
    ledger.deposit("a")
    assert ledger.count("a") == (6, 1)
    clock.now += 1
    assert ledger.count("a") == (1, 0)
    clock.now += 3600
    assert ledger.count("a") == (0, 0)
    assert not ledger.withdraw("a", fifth)


def test_the_seconds_allow_is_the_windows_length() -> None:
    seen: list[float] = []

    def allow(calls: int, seconds: float) -> float:
        seen.append(seconds)
        return 1

    assert Ledger(Clock()).withdraw("a", allow)
    assert seen == [WINDOW]


@given(st.lists(st.tuples(st.floats(0, 4), st.booleans()), max_size=150))
def test_no_retry_is_granted_over_the_budget_of_the_ten_seconds_before_it(steps: list[tuple[float, bool]]) -> None:
    """Counted anew from the times of all calls and retries."""
    clock, limits = Clock(), Limits(share=0.2, floor=0.5)
    ledger = Ledger(clock)
    calls: list[float] = []
    retries: list[float] = []
    for pause, is_retry in steps:
        clock.now += pause
        if not is_retry:
            ledger.deposit("a")
            calls.append(clock.now)
        elif ledger.withdraw("a", limits.allowance):
            retries.append(clock.now)
            recent = sum(time > clock.now - WINDOW for time in retries)
            at_most = sum(time > clock.now - WINDOW - 1 for time in calls)
            assert recent <= limits.allowance(at_most, WINDOW)
