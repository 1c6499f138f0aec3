"""How much a model is to think: a word (OpenAI's, Anthropic's newer models) or a number of tokens (the older ones').

The numbers for low, medium and high are those of Google's OpenAI-compatible endpoint (ai.google.dev, "OpenAI
compatibility", Thinking), the only table that a vendor publishes; 1,024 is also the least that Anthropic takes.

=========  ======================  ====================
effort     becomes a budget of     comes from a budget
=========  ======================  ====================
none       0                       0
minimal    1,024
low        1,024                   up to 1,024
medium     8,192                   up to 8,192
high       24,576                  above
xhigh      32,768
max        32,768
=========  ======================  ====================
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiogateway.dialects.fields import take_count, take_object, take_optional_text
from aiogateway.neutral import Thinking

BUDGETS: Mapping[str, int] = {
    "none": 0,
    "minimal": 1024,
    "low": 1024,
    "medium": 8192,
    "high": 24_576,
    "xhigh": 32_768,
    "max": 32_768,
}


def find_budget(effort: str) -> int | None:
    """Tokens for a word; None for a word we don't know."""
    return BUDGETS.get(effort)


def find_effort(budget: int) -> str:
    """The word for a number of tokens."""
    if budget <= 0:
        return "none"
    return next((effort for effort in ("low", "medium") if budget <= BUDGETS[effort]), "high")


def read_thinking(body: Mapping[str, Any], extra: dict[str, Any]) -> Thinking | None:
    """The wish of a client of the chat wire, in the three ways in which such clients say it.

    OpenAI's ``reasoning_effort``, Anthropic's ``thinking`` (as Portkey and LiteLLM take it) and OpenRouter's
    ``reasoning``; the first one found counts. What of it has no neutral form goes to `extra`.
    """
    for name in ("reasoning_effort", "thinking", "reasoning"):
        extra.pop(name, None)
    effort = take_optional_text(body, "reasoning_effort")
    if effort is not None:
        return Thinking(effort=effort)
    config = take_object(body, "thinking")
    if config is not None:
        return read_config(config, extra)
    wish = take_object(body, "reasoning")
    return None if wish is None else _read_wish(wish, extra)


def read_config(config: Mapping[str, Any], extra: dict[str, Any], effort: str | None = None) -> Thinking | None:
    """Anthropic's ``thinking`` object, beside its ``output_config.effort``; another type stays whole in `extra`.

    ``adaptive`` without an effort is a `Thinking` that says nothing: as much as the model sees fit.
    """
    kind, budget, display = (config.get(name) for name in ("type", "budget_tokens", "display"))
    summary = display if isinstance(display, str) else None
    if kind == "disabled":
        return Thinking(effort="none")
    if kind == "adaptive":
        return Thinking(effort=effort, summary=summary)
    if kind == "enabled" and isinstance(budget, int):
        if effort is not None:
            extra["output_config.effort"] = effort
        return Thinking(budget=budget, summary=summary)
    extra["thinking"] = dict(config)
    return None if effort is None else Thinking(effort=effort)


def _read_wish(wish: Mapping[str, Any], extra: dict[str, Any]) -> Thinking | None:
    """OpenRouter's ``reasoning`` (openrouter.ai/docs, "Reasoning tokens")."""
    known = {"effort", "max_tokens", "enabled", "summary"}
    extra |= {f"reasoning.{name}": value for name, value in wish.items() if name not in known}
    effort, summary = (take_optional_text(wish, name, "reasoning.") for name in ("effort", "summary"))
    budget = take_count(wish, "max_tokens", "reasoning.")
    if effort is not None or budget is not None:
        return Thinking(effort=effort, budget=None if effort is not None else budget, summary=summary)
    if wish.get("enabled") is False:
        return Thinking(effort="none")
    return Thinking(summary=summary) if wish.get("enabled") is True or summary else None
