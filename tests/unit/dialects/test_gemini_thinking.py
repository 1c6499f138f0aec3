from __future__ import annotations

from typing import Any

import pytest

from aiogateway.dialects.gemini_thinking import BUDGETS, LEVELS, generation_of, takes_levels, write_thinking
from aiogateway.neutral import Thinking

OLD, NEW = "gemini-2.5-flash", "gemini-3.1-pro-preview"


@pytest.mark.parametrize(
    ("model", "generation", "levels"),
    [
        (OLD, 2, False),
        (NEW, 3, True),
        ("models/gemini-3-flash-preview", 3, True),
        ("gemini-flash-latest", None, True),
        ("gemma-3-27b-it", None, False),
        ("tunedModels/mine", None, False),
    ],
)
def test_a_models_generation_decides(model: str, generation: int | None, levels: bool) -> None:
    assert generation_of(model) == generation
    assert takes_levels(model) is levels


@pytest.mark.parametrize("effort", sorted(BUDGETS))
def test_an_effort_is_a_budget_for_older_models_and_a_level_for_newer_ones(effort: str) -> None:
    shown: dict[str, Any] = {} if effort == "none" else {"includeThoughts": True}
    assert write_thinking(Thinking(effort=effort), OLD) == {"thinkingBudget": BUDGETS[effort], **shown}
    assert write_thinking(Thinking(effort=effort), NEW) == {"thinkingLevel": LEVELS[effort], **shown}


@pytest.mark.parametrize("model", [OLD, NEW])
@pytest.mark.parametrize("budget", [-1, 7, 1_000_000])
def test_a_budget_goes_out_as_it_is(model: str, budget: int) -> None:
    assert write_thinking(Thinking(budget=budget), model) == {"thinkingBudget": budget, "includeThoughts": True}


def test_no_budget_shows_no_thoughts() -> None:
    assert write_thinking(Thinking(budget=0), OLD) == {"thinkingBudget": 0}


def test_a_budget_wins_over_an_effort() -> None:
    """Google refuses both at once."""
    assert write_thinking(Thinking(effort="low", budget=99), NEW) == {"thinkingBudget": 99, "includeThoughts": True}


def test_thoughts_that_are_not_to_be_told_are_not_asked_for() -> None:
    assert write_thinking(Thinking(effort="low", summary="omitted"), NEW) == {
        "thinkingLevel": "LOW",
        "includeThoughts": False,
    }


def test_an_unknown_effort_is_none() -> None:
    assert write_thinking(Thinking(effort="heroic"), NEW) is None
