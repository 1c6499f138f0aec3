"""A neutral request as Anthropic writes it.

Thinking: models up to Claude 4.5 take a budget of tokens only, those from 4.7 on (and names without a version) an
effort only, 4.6 takes both (platform.claude.com, "Extended thinking" and "Effort", autumn 2026). What a model can't be
told as the client said it goes by the table in `thinking`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from aiogateway.dialects.anthropic_blocks import TurnWriter
from aiogateway.dialects.anthropic_words import NAME
from aiogateway.dialects.leftovers import name_leftovers
from aiogateway.dialects.thinking import find_budget, find_effort
from aiogateway.errors import Unsupported
from aiogateway.neutral import ChatRequest, NeutralRequest, OpaqueTool, Thinking, Tool, Written

_VERSION = re.compile(r"claude-(?:[a-z]+-)?([0-9]+)(?:[-.]([0-9]{1,2})(?![0-9]))?")
_MODES = {"auto": "auto", "required": "any", "none": "none", "named": "tool"}
_SILENT = frozenset({"omitted", "none"})
_LEAST = 1024  # tokens of a thinking budget

KEPT = frozenset(
    {
        "anthropic_beta", "anthropic_version", "cache_control", "container", "context_management", "inference_geo",
        "mcp_servers", "speed", "thinking",
    }
)  # fmt: skip
"""Anthropic's own fields, which a client of another wire may set beside its own; no other wire has them."""


def write_request(request: NeutralRequest) -> Written:
    """Raises Unsupported for more than one choice: an answer of another shape is no answer."""
    if not isinstance(request, ChatRequest):
        raise Unsupported("only a chat can be written as a message")
    if request.n not in (None, 1):
        raise Unsupported("Anthropic gives one answer per call", param="n")
    ours = request.dialect == NAME
    writer = TurnWriter(ours=ours)
    writer.write_all(request.messages)
    dropped = [name for name in ("seed", "frequency_penalty", "presence_penalty") if getattr(request, name) is not None]
    extra = _sift(request, dropped)
    tools = list(_write_tools(request, extra, dropped))
    wanted = {
        "model": request.model,
        "max_tokens": request.max_tokens,
        "system": _write_system(writer.system),
        "messages": [{**turn, "content": _shorten(turn["content"])} for turn in writer.turns],
        "tools": tools or None,
        "tool_choice": _write_choice(request, bool(tools)),
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_k": request.top_k,
        "stop_sequences": list(request.stop) or None,
        "stream": request.stream or None,
        "metadata": _write_metadata(request, extra),
        **_write_thinking(request, dropped),
    }
    config = _write_format(request, dropped) | wanted.pop("output_config", {}) | _take_paths(extra, "output_config.")
    wanted["output_config"] = config or None
    body = {name: value for name, value in wanted.items() if value is not None}
    return Written(body | extra, tuple(dict.fromkeys((*writer.dropped, *dropped))))


def _sift(request: ChatRequest, dropped: list[str]) -> dict[str, Any]:
    """The client's other fields that go on; the rest is named."""
    extra = dict(request.extra)
    if request.dialect == NAME:  # only a block's own fields may have lost their place
        lost = {name: extra.pop(name) for name in tuple(extra) if name.startswith(("messages[", "system["))}
    else:
        extra.pop("max_tokens", None)  # the older name of a limit that was given under both
        lost = {name: extra.pop(name) for name in tuple(extra) if name not in KEPT}
        if request.user is None and isinstance(lost.get("safety_identifier"), str):
            extra["metadata.user_id"] = lost.pop("safety_identifier")
        if lost.get("service_tier") == "auto":
            extra["service_tier"] = lost.pop("service_tier")
    dropped += name_leftovers(lost)
    return extra


def _take_paths(extra: dict[str, Any], prefix: str) -> dict[str, Any]:
    """The fields of an object that were noted by their path."""
    names = [name for name in extra if name.startswith(prefix)]
    return {name.removeprefix(prefix): extra.pop(name) for name in names}


def _write_system(blocks: list[dict[str, Any]]) -> Any:
    return _shorten(blocks) if blocks else None


def _shorten(blocks: list[dict[str, Any]]) -> Any:
    """One bare text is a string."""
    if len(blocks) == 1 and blocks[0].keys() == {"type", "text"}:
        return blocks[0]["text"]
    return blocks


def _write_tools(request: ChatRequest, extra: dict[str, Any], dropped: list[str]) -> Iterator[Mapping[str, Any]]:
    for number, tool in enumerate(request.tools):
        path = f"tools[{number}]"
        if isinstance(tool, OpaqueTool):
            if tool.dialect == NAME:
                yield tool.data
            else:
                dropped.append(path)
        elif tool.custom:  # its answer would be JSON, not the plain text the client waits for
            dropped.append(path)
        else:
            yield _write_tool(tool) | _take_paths(extra, f"{path}.")


def _write_tool(tool: Tool) -> dict[str, Any]:
    schema = tool.schema or {}
    written: dict[str, Any] = {"name": tool.name, "input_schema": {"type": "object", "properties": {}, **schema}}
    if tool.description is not None:
        written["description"] = tool.description
    if tool.strict:
        written["strict"] = True
    if tool.cache is not None:
        written["cache_control"] = dict(tool.cache)
    return written


def _write_choice(request: ChatRequest, tools: bool) -> dict[str, Any] | None:
    """Without tools Anthropic takes no choice, and there is nothing to choose."""
    choice = request.tool_choice
    alone = request.parallel_tools is False
    if not tools or (choice is None and not alone):
        return None
    written: dict[str, Any] = {"type": "auto" if choice is None else _MODES[choice.mode]}
    if choice is not None and choice.mode == "named":
        written["name"] = choice.name
    if alone and written["type"] != "none":
        written["disable_parallel_tool_use"] = True
    return written


def _write_metadata(request: ChatRequest, extra: dict[str, Any]) -> dict[str, Any] | None:
    metadata = _take_paths(extra, "metadata.")
    if request.user is not None:
        metadata["user_id"] = request.user
    return metadata or None


def _write_format(request: ChatRequest, dropped: list[str]) -> dict[str, Any]:
    """A schema is ``output_config.format`` (platform.claude.com, "Structured outputs"); a mode that wants just any JSON
    is not among Anthropic's.
    """
    wanted = request.response_format
    if wanted is None or wanted.kind == "text":
        return {}
    if wanted.kind == "schema" and wanted.schema is not None:
        return {"format": {"type": "json_schema", "schema": wanted.schema}}
    dropped.append("response_format")
    return {}


# --- thinking -----------------------------------------------------------------------------------------------------


def _write_thinking(request: ChatRequest, dropped: list[str]) -> dict[str, Any]:
    """``thinking``, and ``output_config`` with an effort."""
    thinking = request.thinking
    if thinking is None:
        return {}
    if thinking.effort == "none" or thinking.budget == 0:
        return {"thinking": {"type": "disabled"}}
    version = read_version(request.model)
    display = {}
    if thinking.summary is not None:
        display["display"] = "omitted" if thinking.summary in _SILENT else "summarized"
    if version < (4, 6) or (version == (4, 6) and thinking.budget is not None):
        budget = _choose_budget(thinking, request.max_tokens)
        if budget is None:
            dropped.append("reasoning_effort")
            return {}
        return {"thinking": {"type": "enabled", "budget_tokens": budget, **display}}
    effort = thinking.effort or (None if thinking.budget is None else find_effort(thinking.budget))
    written: dict[str, Any] = {"thinking": {"type": "adaptive", **display}}
    if effort is not None:
        written["output_config"] = {"effort": "low" if effort == "minimal" else effort}
    return written


def _choose_budget(thinking: Thinking, limit: int | None) -> int | None:
    """The client's own budget as it is; one of ours leaves at least half of the client's limit for the answer. None
    where the limit leaves too little.
    """
    if thinking.budget is not None:
        return thinking.budget
    budget = find_budget(thinking.effort or "medium")
    if budget is None or limit is None:
        return budget
    budget = min(budget, limit // 2)
    return budget if budget >= _LEAST else None


def read_version(model: str) -> tuple[int, int]:
    """Of a Claude, by its name on any platform; a name without a version is taken for a new one."""
    found = _VERSION.search(model)
    return (int(found[1]), int(found[2] or 0)) if found else (99, 0)
