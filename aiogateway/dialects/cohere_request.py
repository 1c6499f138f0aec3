"""A neutral chat as the body of Cohere's ``POST /v2/chat``.

Facts: Cohere's OpenAPI document (cohere-openapi.yaml of cohere-ai/cohere-developer-experience). Thinking is on or off,
with a budget in tokens or without; its page "Compatibility API" knows the efforts none (off) and high (on), those
between get the budgets of `thinking`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aiogateway.dialects.cohere_messages import DIALECT, MessageWriter, read_fields
from aiogateway.dialects.leftovers import name_leftovers
from aiogateway.dialects.thinking import find_budget
from aiogateway.errors import Unsupported
from aiogateway.neutral import ChatRequest, NeutralRequest, OpaqueTool, ResponseFormat, Thinking, Tool, Written

OWN = (
    "documents", "citation_options", "safety_mode", "strict_tools", "k", "p", "stop_sequences", "thinking", "priority",
)  # fmt: skip
"""Fields of Cohere's own that a client may set beside its dialect's; they win."""

UNLIMITED = ("high", "xhigh", "max")
"""Efforts without a budget: as much as the model sees fit."""

_NAMES = {"anthropic": {"user": "metadata.user_id", "parallel": "tool_choice.disable_parallel_tool_use"}}
_OPENAI_NAMES = {"user": "user", "parallel": "parallel_tool_calls"}
_ANY = {"type": "object", "properties": {}}
_CUSTOM = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}


def write_request(request: NeutralRequest) -> Written:
    """Raises Unsupported for several answers to one question, and for content that Cohere has no form for."""
    if not isinstance(request, ChatRequest):
        raise Unsupported("only a chat can be written for /v2/chat")
    if request.n not in (None, 1):
        raise Unsupported("Cohere gives one answer per call", param="n")
    writer = MessageWriter()
    body: dict[str, Any] = {"model": request.model, "messages": writer.write_all(request.messages)}
    dropped = writer.dropped
    body["stream"] = request.stream
    body |= _write_tools(request, dropped)
    body |= _write_sampling(request)
    if request.thinking is not None:
        body |= _write_thinking(request.thinking, dropped)
    body |= _write_format(request.response_format)
    own = read_fields(request.extra, OWN)
    body |= own
    names = _NAMES.get(request.dialect, _OPENAI_NAMES)
    if request.user is not None:
        dropped[names["user"]] = None
    if request.parallel_tools is False:
        dropped[names["parallel"]] = None
    rest = {name: value for name, value in request.extra.items() if name not in own}
    return Written(body, (*dropped, *name_leftovers(rest)))


def _write_sampling(request: ChatRequest) -> dict[str, Any]:
    said = {
        "temperature": request.temperature,
        "p": request.top_p,
        "k": request.top_k,
        "max_tokens": request.max_tokens,
        "stop_sequences": list(request.stop) or None,
        "seed": request.seed,
        "frequency_penalty": request.frequency_penalty,
        "presence_penalty": request.presence_penalty,
    }
    return {name: value for name, value in said.items() if value is not None}


def _write_tools(request: ChatRequest, dropped: dict[str, None]) -> dict[str, Any]:
    """A choice is REQUIRED, NONE or free; the one tool that a client insists on is required by being the only one."""
    choice = request.tool_choice
    only = choice.name if choice is not None and choice.mode == "named" else None
    offered = list(_offer_tools(request, dropped, only))
    if not offered:
        if choice is not None and choice.mode in ("required", "named"):
            dropped["tool_choice"] = None
        return {}
    written: dict[str, Any] = {"tools": offered}
    strict = [tool.strict is True for tool in request.tools if isinstance(tool, Tool) and only in (None, tool.name)]
    if strict and all(strict):
        written["strict_tools"] = True
    elif any(strict):  # it is for all of them or for none
        dropped["tools.function.strict"] = None
    if choice is not None and choice.mode != "auto":
        written["tool_choice"] = "NONE" if choice.mode == "none" else "REQUIRED"
    return written


def _offer_tools(request: ChatRequest, dropped: dict[str, None], only: str | None) -> Iterator[dict[str, Any]]:
    """The client's functions, or the `only` one of that name; tools that another provider runs are dropped by place."""
    for at, tool in enumerate(request.tools):
        if isinstance(tool, OpaqueTool):
            if tool.dialect == DIALECT:
                yield dict(tool.data)
            else:
                dropped[f"tools[{at}]"] = None
        elif only in (None, tool.name):
            if tool.cache is not None:
                dropped[f"tools[{at}].cache_control"] = None
            yield _write_tool(tool)


def _write_tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    function["parameters"] = _CUSTOM if tool.custom else tool.schema or _ANY
    return {"type": "function", "function": function}


def _write_thinking(thinking: Thinking, dropped: dict[str, None]) -> dict[str, Any]:
    if thinking.budget == 0 or (thinking.budget is None and thinking.effort == "none"):
        return {"thinking": {"type": "disabled"}}
    if thinking.budget is not None:
        return {"thinking": {"type": "enabled", "token_budget": thinking.budget}}
    if thinking.effort is None:
        return {}
    if thinking.effort in UNLIMITED:
        return {"thinking": {"type": "enabled"}}
    budget = find_budget(thinking.effort)
    if budget is None:
        dropped["reasoning_effort"] = None
        return {}
    return {"thinking": {"type": "enabled", "token_budget": budget}}


def _write_format(wanted: ResponseFormat | None) -> dict[str, Any]:
    """A schema's name says nothing to Cohere, and its answers always keep to the schema."""
    if wanted is None or wanted.kind == "text":
        return {}
    written: dict[str, Any] = {"type": "json_object"}
    if wanted.schema is not None:
        written["json_schema"] = wanted.schema
    return {"response_format": written}
