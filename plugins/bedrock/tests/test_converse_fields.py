from __future__ import annotations

from typing import Any

import pytest
from aiogateway_plugin_bedrock.converse_fields import ModelFields

from aiogateway.neutral import ChatRequest, Thinking, Tool, ToolChoice

OLD = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
BOTH = "us.anthropic.claude-opus-4-6-v1"
NEW = "anthropic.claude-opus-5"
NOVA = "us.amazon.nova-2-lite-v1:0"
OSS = "openai.gpt-oss-120b-1:0"
OTHER = "meta.llama3-8b-instruct-v1:0"


def fields(model: str, **given: Any) -> ModelFields:
    return ModelFields(ChatRequest(model=model, messages=(), **given))


@pytest.mark.parametrize(
    ("model", "additional", "dropped"),
    [
        (OLD, {"top_k": 5}, []),
        ("mistral.mistral-large-2407-v1:0", {"top_k": 5}, []),
        ("cohere.command-r-v1:0", {"k": 5}, []),
        ("amazon.nova-lite-v1:0", {"inferenceConfig": {"topK": 5}}, []),
        (OTHER, {}, ["top_k"]),
    ],
)
def test_top_k_has_a_name_of_its_own_everywhere(model: str, additional: dict[str, Any], dropped: list[str]) -> None:
    written = fields(model, top_k=5)
    assert (written.additional, written.dropped) == (additional, dropped)


@pytest.mark.parametrize(
    ("model", "thinking", "additional", "output"),
    [
        (OLD, Thinking(budget=3000), {"thinking": {"type": "enabled", "budget_tokens": 3000}}, {}),
        (OLD, Thinking(effort="high"), {"thinking": {"type": "enabled", "budget_tokens": 24576}}, {}),
        (OLD, Thinking(effort="none"), {"thinking": {"type": "disabled"}}, {}),
        (OLD, Thinking(budget=0), {"thinking": {"type": "disabled"}}, {}),
        (BOTH, Thinking(budget=3000), {"thinking": {"type": "enabled", "budget_tokens": 3000}}, {}),
        (BOTH, Thinking(effort="xhigh"), {"thinking": {"type": "adaptive"}}, {"effort": "xhigh"}),
        (NEW, Thinking(budget=3000), {"thinking": {"type": "adaptive"}}, {"effort": "medium"}),
        (NEW, Thinking(effort="minimal"), {"thinking": {"type": "adaptive"}}, {"effort": "low"}),
        (NEW, Thinking(), {"thinking": {"type": "adaptive"}}, {}),
        (NEW, Thinking(summary="auto"), {"thinking": {"type": "adaptive", "display": "summarized"}}, {}),
        (NEW, Thinking(summary="omitted"), {"thinking": {"type": "adaptive", "display": "omitted"}}, {}),
        (NOVA, Thinking(effort="max"), {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "high"}}, {}),
        (NOVA, Thinking(budget=100), {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "low"}}, {}),
        (NOVA, Thinking(effort="none"), {"reasoningConfig": {"type": "disabled"}}, {}),
        (OSS, Thinking(effort="minimal"), {"reasoning_effort": "low"}, {}),
        (OTHER, Thinking(effort="none"), {}, {}),
    ],
)
def test_thinking_is_said_as_the_model_understands_it(
    model: str, thinking: Thinking, additional: dict[str, Any], output: dict[str, Any]
) -> None:
    written = fields(model, thinking=thinking)
    assert (written.additional, written.output, written.dropped) == (additional, output, [])


@pytest.mark.parametrize(
    ("model", "thinking", "dialect", "dropped"),
    [
        (OTHER, Thinking(effort="high"), "openai_chat", ["reasoning_effort"]),
        (OTHER, Thinking(budget=1024), "anthropic", ["thinking"]),
        (OTHER, Thinking(effort="low", summary="auto"), "openai_responses", ["reasoning.summary", "reasoning"]),
        (OSS, Thinking(effort="none"), "", ["reasoning_effort"]),
    ],
)
def test_what_a_model_can_not_be_told_is_named_as_the_client_named_it(
    model: str, thinking: Thinking, dialect: str, dropped: list[str]
) -> None:
    written = fields(model, thinking=thinking, dialect=dialect)
    assert (written.additional, written.dropped) == ({}, dropped)


@pytest.mark.parametrize(("limit", "budget"), [(None, 8192), (4096, 2048), (2048, 1024), (2047, None)])
def test_a_budget_of_ours_leaves_half_of_the_limit(limit: int | None, budget: int | None) -> None:
    written = fields(OLD, thinking=Thinking(effort="medium"), max_tokens=limit)
    if budget is None:
        assert (written.additional, written.dropped) == ({}, ["reasoning_effort"])
    else:
        assert written.additional == {"thinking": {"type": "enabled", "budget_tokens": budget}}


@pytest.mark.parametrize(
    ("choice", "written"),
    [
        (None, {"type": "auto"}),
        (ToolChoice("required"), {"type": "any"}),
        (ToolChoice("named", "f"), {"type": "tool", "name": "f"}),
    ],
)
def test_claude_can_be_told_to_call_one_tool_at_a_time(choice: ToolChoice | None, written: dict[str, Any]) -> None:
    made = fields(OLD, tools=(Tool("f"),), tool_choice=choice, parallel_tools=False)
    assert made.additional == {"tool_choice": {**written, "disable_parallel_tool_use": True}}
    assert made.chooses_tool


def test_others_can_not() -> None:
    assert fields(NOVA, tools=(Tool("f"),), parallel_tools=False).dropped == ["parallel_tool_calls"]
    assert fields(OLD, parallel_tools=False).dropped == []
    none = fields(OLD, tools=(Tool("f"),), tool_choice=ToolChoice("none"), parallel_tools=False, dialect="anthropic")
    assert none.dropped == ["tool_choice.disable_parallel_tool_use"]
    assert not none.chooses_tool
