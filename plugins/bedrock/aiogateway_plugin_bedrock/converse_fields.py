"""What Converse has no field for, or only for some models: by the model's vendor.

Sources: "Model parameters" and "Adaptive thinking" in the Amazon Bedrock user guide; "Using reasoning" in the Amazon
Nova 2 user guide; the requests recorded in pydantic/pydantic-ai ``tests/models/cassettes/test_bedrock`` (top_k of
Claude and Nova, reasoning_effort of gpt-oss, thinking of Claude) and vercel/ai ``packages/amazon-bedrock``
(disable_parallel_tool_use).
"""

from __future__ import annotations

from typing import Any

from aiogateway.dialects.anthropic_write import read_version
from aiogateway.dialects.thinking import find_budget, find_effort
from aiogateway.neutral import ChatRequest, Thinking, ToolChoice
from aiogateway_plugin_bedrock.models import can_think, find_vendor

LEAST = 1024
"""Tokens of a thinking budget that Claude accepts."""

_EFFORTS = {"minimal": "low"}
_THREE = {"minimal": "low", "xhigh": "high", "max": "high"}

_NAMES = {
    "openai_chat": {"thinking": "reasoning_effort", "parallel": "parallel_tool_calls", "summary": "reasoning.summary"},
    "openai_responses": {"thinking": "reasoning", "parallel": "parallel_tool_calls", "summary": "reasoning.summary"},
    "anthropic": {
        "parallel": "tool_choice.disable_parallel_tool_use",
        "summary": "thinking.display",
        "user": "metadata.user_id",
    },
}


def name_of(field: str, request: ChatRequest) -> str:
    """What the client calls the neutral `field` (thinking, summary, parallel, user)."""
    return _NAMES.get(request.dialect or "openai_chat", {}).get(field, field)


class ModelFields:
    """Fields for one request: `additional` go into additionalModelRequestFields, `output` into outputConfig."""

    def __init__(self, request: ChatRequest) -> None:
        self.additional: dict[str, Any] = {}
        self.output: dict[str, Any] = {}
        self.dropped: list[str] = []
        self.chooses_tool = False
        """Whether the choice of a tool stands in `additional`, where it must not stand in toolConfig too."""
        self._request = request
        self._vendor = find_vendor(request.model)
        if request.top_k is not None:
            self._write_top_k(request.top_k)
        if request.thinking is not None:
            self._write_thinking(request.thinking)
        if request.parallel_tools is False and request.tools:
            self._forbid_parallel(request.tool_choice)

    def _write_top_k(self, top_k: int) -> None:
        if self._vendor in ("anthropic", "mistral"):
            self.additional["top_k"] = top_k
        elif self._vendor == "cohere":
            self.additional["k"] = top_k
        elif self._vendor == "amazon":
            self.additional["inferenceConfig"] = {"topK": top_k}
        else:
            self.dropped.append("top_k")

    def _write_thinking(self, thinking: Thinking) -> None:
        model = self._request.model
        off = thinking.effort == "none" or thinking.budget == 0
        effort = thinking.effort or (None if thinking.budget is None else find_effort(thinking.budget))
        if can_think(model):
            self._write_claudes(thinking, effort, off=off)
            return
        if thinking.summary is not None:
            self.dropped.append(name_of("summary", self._request))
        if "nova-2" in model and self._vendor == "amazon" and effort is not None:
            enabled = {"type": "enabled", "maxReasoningEffort": _THREE.get(effort, effort)}
            self.additional["reasoningConfig"] = {"type": "disabled"} if off else enabled
        elif "gpt-oss" in model and effort is not None and not off:
            self.additional["reasoning_effort"] = _THREE.get(effort, effort)
        elif not off or "gpt-oss" in model:  # what does not think anyway need not be told not to
            self.dropped.append(name_of("thinking", self._request))

    def _write_claudes(self, thinking: Thinking, effort: str | None, *, off: bool) -> None:
        """Up to 4.5 it takes a budget, from 4.7 on an effort, 4.6 takes both; as in Anthropic's own wire."""
        if off:
            self.additional["thinking"] = {"type": "disabled"}
            return
        version = read_version(self._request.model)
        display = {}
        if thinking.summary is not None:
            display["display"] = "omitted" if thinking.summary in ("omitted", "none") else "summarized"
        if version > (4, 6) or (version == (4, 6) and thinking.budget is None):
            self.additional["thinking"] = {"type": "adaptive", **display}
            if effort is not None:
                self.output["effort"] = _EFFORTS.get(effort, effort)
            return
        budget = thinking.budget or self._choose_budget(effort or "medium")
        if budget is None:
            self.dropped.append(name_of("thinking", self._request))
        else:
            self.additional["thinking"] = {"type": "enabled", "budget_tokens": budget, **display}

    def _choose_budget(self, effort: str) -> int | None:
        """Of an effort; half of the client's limit is left for the answer. None where that leaves too little."""
        budget, limit = find_budget(effort), self._request.max_tokens
        if budget is None or limit is None:
            return budget
        budget = min(budget, limit // 2)
        return budget if budget >= LEAST else None

    def _forbid_parallel(self, choice: ToolChoice | None) -> None:
        mode = choice.mode if choice is not None else "auto"
        if self._vendor != "anthropic" or mode == "none":
            self.dropped.append(name_of("parallel", self._request))
            return
        written: dict[str, Any] = {"type": {"auto": "auto", "required": "any", "named": "tool"}[mode]}
        if choice is not None and choice.name is not None:
            written["name"] = choice.name
        self.additional["tool_choice"] = {**written, "disable_parallel_tool_use": True}
        self.chooses_tool = True
