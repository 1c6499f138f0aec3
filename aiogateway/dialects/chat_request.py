"""A chat request as OpenAI writes it, to a neutral one and back."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from aiogateway.dialects.chat_messages import DIALECT, read_message
from aiogateway.dialects.chat_turns import MessageWriter
from aiogateway.dialects.fields import (
    take_count,
    take_flag,
    take_number,
    take_object,
    take_objects,
    take_optional_text,
    take_text,
    take_texts,
    wrong,
)
from aiogateway.dialects.leftovers import name_leftovers
from aiogateway.dialects.payload import as_text
from aiogateway.dialects.thinking import find_effort, read_thinking
from aiogateway.errors import Unsupported
from aiogateway.neutral import (
    ChatRequest,
    NeutralRequest,
    OpaqueTool,
    ResponseFormat,
    Tool,
    ToolChoice,
    Written,
)

FAMILY = frozenset({"", DIALECT, "openai_completions"})
"""Dialects whose clients mean by every field what this wire means by it; "" is a request nobody read."""

SHARED = frozenset(
    {
        "logit_bias", "metadata", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention",
        "safety_identifier", "service_tier", "store", "stream_options", "verbosity",
    }
)  # fmt: skip
"""What else means the same where OpenAI's other API has a field of that name. `top_logprobs` doesn't: here it wants
`logprobs` beside it, which the other API says by `include`.
"""

_FORMAT = re.compile(r"tools\[[0-9]+\]\.format")
_NUMBERS = ("temperature", "top_p", "frequency_penalty", "presence_penalty")
_COUNTS = ("seed", "n")
_READ = frozenset(
    {
        *_NUMBERS, *_COUNTS, "model", "messages", "stream", "stream_options", "tools", "tool_choice", "response_format",
        "max_tokens", "max_completion_tokens", "stop", "parallel_tool_calls", "top_k", "user",
    }
)  # fmt: skip


def read_request(body: Mapping[str, Any]) -> ChatRequest:
    """Raises RequestError with the path of the field that is wrong."""
    if not isinstance(body.get("messages"), list):
        raise wrong("messages", "", "a list of messages")
    messages = take_objects(body, "messages")
    extra = {name: value for name, value in body.items() if name not in _READ}
    return ChatRequest(
        model=take_text(body, "model"),
        messages=tuple(read_message(message, f"messages[{number}].") for number, message in enumerate(messages)),
        dialect=DIALECT,
        tools=_read_tools(body, extra),
        tool_choice=_read_choice(body, extra),
        parallel_tools=take_flag(body, "parallel_tool_calls"),
        thinking=read_thinking(body, extra),
        response_format=_read_format(body, extra),
        top_k=take_count(body, "top_k"),
        user=take_optional_text(body, "user"),
        **read_sampling(body, extra),
        extra=extra,
    )


def read_sampling(body: Mapping[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
    """The fields that text completions have too, as keywords of ChatRequest."""
    read: dict[str, Any] = {name: take_number(body, name) for name in _NUMBERS}
    read |= {name: take_count(body, name) for name in _COUNTS}
    read["stop"] = take_texts(body, "stop")
    read["stream"] = take_flag(body, "stream") or False
    options = dict(take_object(body, "stream_options") or {})
    read["include_usage"] = options.pop("include_usage", None) is True
    if options:
        extra["stream_options"] = options
    # The newer name wins; the older one then stays what the client said, for whoever knows what to do with it.
    newer, older = take_count(body, "max_completion_tokens"), take_count(body, "max_tokens")
    read["max_tokens"] = older if newer is None else newer
    if newer is not None and older is not None:
        extra["max_tokens"] = older
    return read


def _read_tools(body: Mapping[str, Any], extra: dict[str, Any]) -> tuple[Tool | OpaqueTool, ...]:
    tools = take_objects(body, "tools")
    return tuple(_read_tool(tool, f"tools[{number}].", extra) for number, tool in enumerate(tools))


def _read_tool(tool: Mapping[str, Any], path: str, extra: dict[str, Any]) -> Tool | OpaqueTool:
    kind = as_text(tool.get("type", "function")) or ""
    function = take_object(tool, kind, path) if kind in ("function", "custom") else None
    if function is None:
        return OpaqueTool(DIALECT, kind, tool)
    path += f"{kind}."
    if kind == "custom" and function.get("format") is not None:
        extra[f"{path}format"] = function["format"]
    return Tool(
        name=take_text(function, "name", path),
        description=take_optional_text(function, "description", path),
        schema=take_object(function, "parameters", path),
        strict=take_flag(function, "strict", path),
        custom=kind == "custom",
        cache=take_object(tool, "cache_control", path) or take_object(function, "cache_control", path),
    )


def _read_choice(body: Mapping[str, Any], extra: dict[str, Any]) -> ToolChoice | None:
    choice = body.get("tool_choice")
    if choice in ("auto", "none", "required"):
        return ToolChoice(choice)
    kind = choice.get("type") if isinstance(choice, Mapping) else None
    if isinstance(choice, Mapping) and kind in ("function", "custom"):
        function = take_object(choice, kind, "tool_choice.") or {}
        return ToolChoice("named", take_text(function, "name", f"tool_choice.{kind}."))
    if choice is not None:
        extra["tool_choice"] = choice
    return None


def _read_format(body: Mapping[str, Any], extra: dict[str, Any]) -> ResponseFormat | None:
    wanted = take_object(body, "response_format")
    kind = wanted.get("type") if wanted else None
    if kind == "text":
        return ResponseFormat("text")
    if kind == "json_object":
        return ResponseFormat("json")
    if wanted and kind == "json_schema":
        path = "response_format.json_schema."
        schema = take_object(wanted, "json_schema", "response_format.") or {}
        if schema.get("description") is not None:
            extra["response_format.json_schema.description"] = schema["description"]
        return ResponseFormat(
            "schema",
            schema=take_object(schema, "schema", path),
            name=take_optional_text(schema, "name", path),
            strict=take_flag(schema, "strict"),
        )
    if wanted is not None:
        extra["response_format"] = wanted
    return None


def write_request(request: NeutralRequest) -> Written:
    """The request as OpenAI has it.

    The limit is written as `max_completion_tokens`: OpenAI's own models refuse the older name, and a host that knows
    the older one only is its provider's quirk.
    """
    if not isinstance(request, ChatRequest):
        raise Unsupported("only a chat can be written as a chat completion")
    ours = request.dialect in FAMILY
    writer = MessageWriter(ours=ours)
    extra, dropped = sift(request)
    description = extra.pop("response_format.json_schema.description", None)
    body: dict[str, Any] = {"model": request.model, "messages": writer.write_all(request.messages)}
    tools = list(_write_tools(request, extra, dropped))
    if tools:
        body["tools"] = tools
    wanted = {
        "tool_choice": _write_choice(request),
        "parallel_tool_calls": request.parallel_tools if ours or tools else None,
        "response_format": _write_format(request.response_format, description),
        "user": request.user,
        "top_k": request.top_k if ours else None,  # OpenAI has none, and refuses what it does not know
        **_write_thinking(request, dropped),
    }
    body |= {name: value for name, value in wanted.items() if value is not None}
    if request.top_k is not None and not ours:
        dropped.append("top_k")
    body |= write_sampling(request, extra, limit="max_completion_tokens")
    return Written(body | extra, tuple(dict.fromkeys((*writer.dropped, *dropped))))


def sift(request: ChatRequest) -> tuple[dict[str, Any], list[str]]:
    """What of the client's other fields goes on, and the names of those that don't."""
    extra = dict(request.extra)
    if request.dialect in FAMILY:
        return extra, []
    kin = request.dialect == "openai_responses"
    lost = {name: extra.pop(name) for name in tuple(extra) if not (kin and (name in SHARED or _FORMAT.fullmatch(name)))}
    return extra, list(name_leftovers(lost))


def _write_thinking(request: ChatRequest, dropped: list[str]) -> dict[str, Any]:
    """As `reasoning_effort`; a budget that a client of this wire gave stays one, in the field it came in."""
    thinking = request.thinking
    if thinking is None:
        return {}
    if request.dialect in FAMILY and thinking.effort is None:
        said = {"budget_tokens": thinking.budget, "display": thinking.summary}
        kind = "adaptive" if thinking.budget is None else "enabled"
        return {"thinking": {"type": kind, **{name: value for name, value in said.items() if value is not None}}}
    if thinking.summary is not None:
        dropped.append("reasoning.summary" if request.dialect == "openai_responses" else "thinking.display")
    budget = thinking.budget
    return {"reasoning_effort": thinking.effort or (None if budget is None else find_effort(budget))}


def write_sampling(request: ChatRequest, extra: dict[str, Any], *, limit: str) -> dict[str, Any]:
    """The counterpart of `read_sampling`; takes what it merges out of `extra`."""
    body: dict[str, Any] = {}
    for name in (*_NUMBERS, *_COUNTS):
        value = getattr(request, name)
        if value is not None:
            body[name] = value
    if request.max_tokens is not None:
        body[limit] = request.max_tokens
    if request.stop:
        body["stop"] = list(request.stop)
    if request.stream:
        body["stream"] = True
    options = dict(extra.pop("stream_options", ()))
    if request.include_usage:
        options["include_usage"] = True
    if options:
        body["stream_options"] = options
    return body


def _write_tools(request: ChatRequest, extra: dict[str, Any], dropped: list[str]) -> Iterator[Mapping[str, Any]]:
    ours = request.dialect in FAMILY
    for number, tool in enumerate(request.tools):
        path = f"tools[{number}]"
        if isinstance(tool, Tool):
            if tool.cache is not None and not ours:
                dropped.append("tools.cache_control")
            yield _write_tool(tool, _take_format(extra, path), ours)
        elif tool.dialect == DIALECT:
            yield tool.data
        else:
            dropped.append(path)


def _take_format(extra: dict[str, Any], path: str) -> Any:
    """A custom tool's; OpenAI's other API has it one level flatter."""
    ours, theirs = extra.pop(f"{path}.custom.format", None), extra.pop(f"{path}.format", None)
    if not isinstance(theirs, Mapping) or theirs.get("type") != "grammar":
        return ours or theirs
    return {"type": "grammar", "grammar": {name: value for name, value in theirs.items() if name != "type"}}


def _write_tool(tool: Tool, form: Any, ours: bool) -> dict[str, Any]:
    kind = "custom" if tool.custom else "function"
    fields = {
        "name": tool.name,
        "description": tool.description,
        "parameters": None if tool.custom else tool.schema,
        "strict": tool.strict,
        "format": form,
    }
    written: dict[str, Any] = {"type": kind, kind: {name: value for name, value in fields.items() if value is not None}}
    if tool.cache is not None and ours:
        written["cache_control"] = tool.cache
    return written


def _write_choice(request: ChatRequest) -> Any:
    choice = request.tool_choice
    if choice is None or choice.mode != "named":
        return choice and choice.mode
    custom = any(isinstance(tool, Tool) and tool.custom and tool.name == choice.name for tool in request.tools)
    kind = "custom" if custom else "function"
    return {"type": kind, kind: {"name": choice.name}}


def _write_format(wanted: ResponseFormat | None, description: Any) -> dict[str, Any] | None:
    if wanted is None:
        return None
    if wanted.kind != "schema":
        return {"type": "json_object" if wanted.kind == "json" else "text"}
    schema: dict[str, Any] = {"name": wanted.name or "answer"}
    if description is not None:
        schema["description"] = description
    if wanted.schema is not None:
        schema["schema"] = wanted.schema
    if wanted.strict is not None:
        schema["strict"] = wanted.strict
    return {"type": "json_schema", "json_schema": schema}
