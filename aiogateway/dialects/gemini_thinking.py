"""How much a Gemini model is to think, and what its generations can be told about it.

Facts: Google's pages "Gemini thinking" and "OpenAI compatibility" (ai.google.dev): models up to 2.5 take a budget in
tokens, later ones a level. "Thought signatures" has `SKIP`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from aiogateway.dialects import thinking
from aiogateway.neutral import Thinking

BUDGETS: Mapping[str, int] = {**thinking.BUDGETS, "xhigh": 24_576, "max": 24_576}
"""Tokens for an effort, for models up to 2.5; the last two are the most that every model of 2.5 takes."""

LEVELS: Mapping[str, str] = {
    "none": "MINIMAL",
    "minimal": "MINIMAL",
    "low": "LOW",
    "medium": "MEDIUM",
    "high": "HIGH",
    "xhigh": "XHIGH",
    "max": "XHIGH",
}
"""Levels for an effort, for models from 3 on, whose thinking can't be switched off."""

SKIP = "skip_thought_signature_validator"
"""The seal for a call that another model made, or that lost its own on the way: without one, models from 3 on refuse
a conversation whose last turn holds calls."""

_SILENT = frozenset({"none", "omitted"})
_GENERATION = re.compile(r"gemini-([0-9]+)")


def generation_of(model: str) -> int | None:
    """2 for ``gemini-2.5-flash``; None for a name without a number (``gemini-flash-latest``, a tuned model's)."""
    found = _GENERATION.search(model)
    return int(found[1]) if found else None


def takes_levels(model: str) -> bool:
    """Whether thinking is told as a level; a Gemini of unknown generation is taken for a new one."""
    generation = generation_of(model)
    return generation >= 3 if generation is not None else "gemini" in model


def write_thinking(wish: Thinking, model: str) -> dict[str, Any] | None:
    """``thinkingConfig``; None for an effort that nobody knows. A budget goes out as it is, to every model."""
    config: dict[str, Any] = {}
    effort, budget = wish.effort, wish.budget
    if budget is not None:
        config["thinkingBudget"] = budget
    elif effort is not None:
        table: Mapping[str, Any] = LEVELS if takes_levels(model) else BUDGETS
        if effort not in table:
            return None
        config["thinkingLevel" if table is LEVELS else "thinkingBudget"] = table[effort]
    if budget != 0 and effort != "none":
        config["includeThoughts"] = wish.summary not in _SILENT
    return config
