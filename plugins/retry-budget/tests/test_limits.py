from __future__ import annotations

import pytest
from aiogateway_plugin_retry_budget import Limits, read_limits


def test_the_defaults() -> None:
    assert read_limits({}) == Limits() == Limits(share=0.2, floor=3.0)
    assert read_limits({"RETRY_BUDGET_PERCENT": "", "RETRY_BUDGET_PER_SECOND": " "}) == Limits()


def test_what_the_environment_says() -> None:
    environ = {"RETRY_BUDGET_PERCENT": "12.5", "RETRY_BUDGET_PER_SECOND": " 0 "}
    assert read_limits(environ) == Limits(share=0.125, floor=0.0)


@pytest.mark.parametrize("value", ["-1", "100.1", "nan", "inf", "20%", "many"])
def test_a_bad_share_is_shown_with_what_is_allowed(value: str) -> None:
    with pytest.raises(ValueError, match=rf"^RETRY_BUDGET_PERCENT must be a number from 0 up to 100, got '{value}'$"):
        read_limits({"RETRY_BUDGET_PERCENT": value})


@pytest.mark.parametrize("value", ["-1", "1001", "nan"])
def test_a_bad_floor_is_too(value: str) -> None:
    with pytest.raises(ValueError, match=r"^RETRY_BUDGET_PER_SECOND must be a number from 0 up to 1000"):
        read_limits({"RETRY_BUDGET_PER_SECOND": value})


def test_an_allowance_is_a_share_and_a_floor() -> None:
    assert Limits(share=0.2, floor=3.0).allowance(1000, 10) == 230.0
    assert Limits(share=0.0, floor=0.0).allowance(1000, 10) == 0.0
