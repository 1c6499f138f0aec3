"""A Responses request to a neutral one and back. Facts: OpenAI's API reference, "Create a model response".

What only works where responses are kept (an earlier response, a conversation, a stored prompt, a background job) is
refused by name: left out, another question would be answered.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from aiogateway.dialects.fields import (
    take_count,
    take_flag,
    take_number,
    take_object,
    take_optional_text,
    take_text,
    wrong,
)
from aiogateway.dialects.leftovers import says_something
from aiogateway.dialects.responses_items import ItemWriter, read_input
from aiogateway.dialects.responses_parts import DIALECT
from aiogateway.dialects.responses_tools import read_choice, read_tools, write_choice, write_tools
from aiogateway.dialects.thinking import find_effort
from aiogateway.errors import Unsupported
from aiogateway.neutral import ChatRequest, Message, NeutralRequest, ResponseFormat, TextPart, Thinking, Written

_ENCRYPTED = "reasoning.encrypted_content"
_KEPT = ("previous_response_id", "conversation", "prompt", "background")
_READ = frozenset(
    {
        *_KEPT, "model", "input", "instructions", "stream", "stream_options", "tools", "tool_choice",
        "parallel_tool_calls", "reasoning", "text", "max_output_tokens", "temperature", "top_p", "user", "store",
        "include", "truncation",
    }
)  # fmt: skip
_SHARED = frozenset(
    {
        "metadata", "store", "service_tier", "prompt_cache_key", "prompt_cache_retention", "prompt_cache_options",
        "safety_identifier", "verbosity",
    }
)  # fmt: skip
"""What chat completions call by the same name and mean by it (`verbosity`, which stands in `text` here)."""
_UNSAID = ("top_k", "seed", "frequency_penalty", "presence_penalty", "stop")


# --- reading ----------------------------------------------------------------------------------------------------


def read_request(body: Mapping[str, Any]) -> ChatRequest:
    """Raises RequestError with the path of the field that is wrong, Unsupported for what only OpenAI could do."""
    for name in _KEPT:
        if body.get(name) not in (None, False):
            raise Unsupported(f"{name} works only where the target speaks OpenAI's Responses itself", param=name)
    extra = {name: value for name, value in body.items() if name not in _READ and says_something(value)}
    if not body.get("top_logprobs"):
        extra.pop("top_logprobs", None)
    _read_defaults(body, extra)
    choice, tools = read_choice(body, read_tools(body, extra), extra)
    stream = take_flag(body, "stream") or False
    return ChatRequest(
        model=take_text(body, "model"),
        messages=_read_messages(body),
        stream=stream,
        dialect=DIALECT,
        tools=tools,
        tool_choice=choice,
        parallel_tools=take_flag(body, "parallel_tool_calls"),
        thinking=_read_thinking(body, extra),
        response_format=_read_format(body, extra),
        temperature=take_number(body, "temperature"),
        top_p=take_number(body, "top_p"),
        user=take_optional_text(body, "user"),
        max_tokens=take_count(body, "max_output_tokens"),
        include_usage=stream,  # a response always says it
        extra=extra,
    )


def _read_messages(body: Mapping[str, Any]) -> tuple[Message, ...]:
    instructions = take_optional_text(body, "instructions")
    system = () if instructions is None else (Message("system", (TextPart(instructions),)),)
    if body.get("input") is None:
        raise wrong("input", "", "a string or a list of items")
    return (*system, *read_input(body["input"]))


def _read_defaults(body: Mapping[str, Any], extra: dict[str, Any]) -> None:
    """Fields that, at these values, ask for what everybody does: thoughts are always sealed here, and nothing is kept
    anyway. What they say beyond that is in `extra`.
    """
    include = body.get("include")
    if include is not None and not isinstance(include, list):
        raise wrong("include", "", "a list of strings")
    if rest := [name for name in include or () if name != _ENCRYPTED]:
        extra["include"] = rest
    if take_flag(body, "store"):
        extra["store"] = True
    if body.get("truncation") not in (None, "disabled"):
        extra["truncation"] = body["truncation"]
    options = {name: value for name, value in (take_object(body, "stream_options") or {}).items() if value}
    if options:
        extra["stream_options"] = options


def _read_thinking(body: Mapping[str, Any], extra: dict[str, Any]) -> Thinking | None:
    wanted = take_object(body, "reasoning") or {}
    effort = take_optional_text(wanted, "effort", "reasoning.")
    summary = take_optional_text(wanted, "summary", "reasoning.")
    summary = summary or take_optional_text(wanted, "generate_summary", "reasoning.")
    for name, value in wanted.items():
        if name not in ("effort", "summary", "generate_summary") and value is not None:
            extra[f"reasoning.{name}"] = value
    return None if effort is None and summary is None else Thinking(effort=effort, summary=summary)


def _read_format(body: Mapping[str, Any], extra: dict[str, Any]) -> ResponseFormat | None:
    text = take_object(body, "text") or {}
    for name, value in text.items():
        if name != "format" and value is not None:
            extra[name if name == "verbosity" else f"text.{name}"] = value
    wanted = take_object(text, "format", "text.")
    if wanted is None:
        return None
    kind = wanted.get("type")
    if kind == "text":
        return ResponseFormat("text")
    if kind == "json_object":
        return ResponseFormat("json")
    if kind != "json_schema":
        extra["text.format"] = wanted
        return None
    if wanted.get("description") is not None:
        extra["text.format.description"] = wanted["description"]
    return ResponseFormat(
        "schema",
        schema=take_object(wanted, "schema", "text.format."),
        name=take_optional_text(wanted, "name", "text.format."),
        strict=take_flag(wanted, "strict"),
    )


# --- writing ----------------------------------------------------------------------------------------------------


def write_request(request: NeutralRequest) -> Written:
    """The request as OpenAI has it. Nothing is to be kept there unless the client says so: its own wire keeps nothing,
    while this one keeps everything by default.
    """
    if not isinstance(request, ChatRequest):
        raise Unsupported("only a chat can be written as a response")
    writer = ItemWriter()
    body: dict[str, Any] = {
        "model": request.model,
        "input": [item for message in request.messages for item in writer.write(message)],
    }
    dropped, extra = writer.dropped, dict(request.extra)
    tools = write_tools(request, extra, dropped)
    if tools:
        body["tools"] = tools
    if request.tool_choice is not None:
        body["tool_choice"] = write_choice(request.tool_choice, request.tools)
    if request.response_format is not None:
        body["text"] = {"format": _write_format(request.response_format)}
    body |= _write_sampling(request)
    body |= _write_thinking(request, sealed=writer.sealed)
    body["store"] = False
    dropped |= dict.fromkeys(_write_extra(request, extra, body))
    dropped |= dict.fromkeys(name for name in _UNSAID if getattr(request, name) not in (None, ()))
    if request.n is not None and request.n > 1:
        dropped["n"] = None
    return Written(body, tuple(dropped))


def _write_sampling(request: ChatRequest) -> dict[str, Any]:
    fields = {
        "stream": request.stream or None,
        "parallel_tool_calls": request.parallel_tools,
        "max_output_tokens": request.max_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "user": request.user,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _write_thinking(request: ChatRequest, *, sealed: bool) -> dict[str, Any]:
    """Sealed thoughts are asked for where there are any: models that don't think refuse the wish."""
    body: dict[str, Any] = {}
    thinking = request.thinking
    effort = None
    if thinking is not None:
        effort = thinking.effort or (None if thinking.budget is None else find_effort(thinking.budget))
        wanted = {"effort": effort, "summary": thinking.summary}
        body["reasoning"] = {name: value for name, value in wanted.items() if value is not None}
    if sealed or (thinking is not None and effort != "none"):
        body["include"] = [_ENCRYPTED]
    return body


def _write_format(wanted: ResponseFormat) -> dict[str, Any]:
    if wanted.kind != "schema":
        return {"type": "json_object" if wanted.kind == "json" else "text"}
    written: dict[str, Any] = {"type": "json_schema", "name": wanted.name or "answer", "schema": wanted.schema or {}}
    return written if wanted.strict is None else written | {"strict": wanted.strict}


def _write_extra(request: ChatRequest, extra: Mapping[str, Any], body: dict[str, Any]) -> Iterator[str]:
    """Writes what we know of the client's other fields; the names of the rest."""
    chat = request.dialect == "openai_chat"
    for name, value in extra.items():
        if chat and name == "response_format.json_schema.description":
            _put(body, "text.format.description", value)
        elif request.dialect == DIALECT and name == "include":
            body["include"] = [*body.get("include", ()), *value]
        elif request.dialect == DIALECT or (chat and name in _SHARED):
            _put(body, "text.verbosity" if name == "verbosity" else name, value)
        elif says_something(value):
            yield name


def _put(body: dict[str, Any], path: str, value: Any) -> None:
    """Sets ``text.format.description`` where it belongs."""
    *steps, last = path.split(".")
    for step in steps:
        body = body.setdefault(step, {})
    body[last] = value
