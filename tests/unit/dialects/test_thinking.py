from __future__ import annotations

from typing import Any

import pytest

from aiogateway.dialects import thinking as thinking_table
from aiogateway.dialects.thinking import BUDGETS, find_budget, find_effort, read_thinking
from aiogateway.errors import RequestError
from aiogateway.neutral import Thinking


def test_the_table_of_the_docstring() -> None:
    rows = [line.split() for line in (thinking_table.__doc__ or "").splitlines() if line.startswith(tuple(BUDGETS))]
    assert {row[0]: int(row[1].replace(",", "")) for row in rows} == BUDGETS


@pytest.mark.parametrize(
    ("budget", "effort"),
    [(-1, "none"), (0, "none"), (1, "low"), (1024, "low"), (1025, "medium"), (8192, "medium"), (31_999, "high")],
)
def test_the_word_for_a_budget(budget: int, effort: str) -> None:
    assert find_effort(budget) == effort


def test_an_unknown_word_has_no_budget() -> None:
    assert find_budget("ultra") is None


@pytest.mark.parametrize(
    ("body", "thinking", "extra"),
    [
        ({}, None, {}),
        ({"reasoning_effort": None, "thinking": None, "reasoning": None}, None, {}),
        ({"reasoning_effort": "xhigh", "thinking": {"type": "disabled"}}, Thinking(effort="xhigh"), {}),
        ({"thinking": {"type": "disabled"}}, Thinking(effort="none"), {}),
        ({"thinking": {"type": "adaptive"}}, Thinking(), {}),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 2000, "display": "omitted"}},
            Thinking(budget=2000, summary="omitted"),
            {},
        ),
        ({"thinking": {"type": "between_tools"}}, None, {"thinking": {"type": "between_tools"}}),
        ({"thinking": {"type": "enabled"}}, None, {"thinking": {"type": "enabled"}}),
        ({"reasoning": {"effort": "low", "exclude": True}}, Thinking(effort="low"), {"reasoning.exclude": True}),
        ({"reasoning": {"max_tokens": 3000}}, Thinking(budget=3000), {}),
        ({"reasoning": {"enabled": True, "summary": "auto"}}, Thinking(summary="auto"), {}),
        ({"reasoning": {"enabled": False}}, Thinking(effort="none"), {}),
        ({"reasoning": {}}, None, {}),
    ],
)
def test_each_way_of_saying_it(body: dict[str, Any], thinking: Thinking | None, extra: dict[str, Any]) -> None:
    left = dict(body)
    assert read_thinking(body, left) == thinking
    assert left == extra


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"reasoning_effort": 3}, "reasoning_effort"),
        ({"thinking": "much"}, "thinking"),
        ({"reasoning": {"summary": 1}}, "reasoning.summary"),
        ({"reasoning": {"effort": 3}}, "reasoning.effort"),
        ({"reasoning": {"max_tokens": "many"}}, "reasoning.max_tokens"),
    ],
)
def test_what_is_wrong_is_named(body: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestError) as caught:
        read_thinking(body, {})
    assert caught.value.param == param
