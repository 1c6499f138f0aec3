"""An Anthropic request to a neutral one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from aiogateway.dialects.anthropic_parts import PartReader
from aiogateway.dialects.anthropic_words import NAME
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
from aiogateway.dialects.leftovers import says_something
from aiogateway.dialects.thinking import read_config
from aiogateway.neutral import ChatRequest, Message, OpaqueTool, ResponseFormat, Thinking, Tool, ToolChoice

_READ = frozenset(
    {
        "model", "messages", "system", "max_tokens", "stream", "temperature", "top_p", "top_k", "stop_sequences",
        "tools", "tool_choice", "thinking", "output_config", "output_format", "metadata",
    }
)  # fmt: skip
_TOOL = frozenset({"type", "name", "description", "input_schema", "strict", "cache_control"})
_MODES = {"auto": "auto", "any": "required", "none": "none", "tool": "named"}


def read_request(body: Mapping[str, Any]) -> ChatRequest:
    """Raises RequestError with the path of the field that is wrong.

    A stream of this wire always tells usage, so `include_usage` is set for one.
    """
    extra = {name: value for name, value in body.items() if name not in _READ}
    reader = PartReader()
    messages = tuple(_read_messages(body, reader))
    thinking, wanted = _read_output(body, extra)
    choice = take_object(body, "tool_choice")
    alone = take_flag(choice or {}, "disable_parallel_tool_use", "tool_choice.")
    return ChatRequest(
        model=take_text(body, "model"),
        messages=messages,
        stream=take_flag(body, "stream") or False,
        dialect=NAME,
        tools=_read_tools(body, extra),
        tool_choice=_read_choice(choice, extra),
        parallel_tools=None if alone is None else not alone,
        thinking=thinking,
        response_format=wanted,
        temperature=take_number(body, "temperature"),
        top_p=take_number(body, "top_p"),
        top_k=take_count(body, "top_k"),
        user=_read_user(body, extra),
        max_tokens=take_count(body, "max_tokens"),
        stop=take_texts(body, "stop_sequences"),
        include_usage=body.get("stream") is True,
        extra=extra | reader.lost,
    )


def _read_messages(body: Mapping[str, Any], reader: PartReader) -> Iterator[Message]:
    if not isinstance(body.get("messages"), list):
        raise wrong("messages", "", "a list of messages")
    if says_something(body.get("system")):
        yield Message("system", tuple(reader.read(body["system"], "system")))
    for number, message in enumerate(take_objects(body, "messages")):
        path = f"messages[{number}]."
        role = message.get("role")
        if role not in ("user", "assistant", "system"):
            raise wrong("role", path, "one of user, assistant, system")
        parts = tuple(reader.read(message.get("content"), f"{path}content"))
        yield Message(role, tuple(reader.sign(parts)) if reader.seals else parts)


def _read_tools(body: Mapping[str, Any], extra: dict[str, Any]) -> tuple[Tool | OpaqueTool, ...]:
    """Tools with a type other than ``custom`` are Anthropic's own: it runs them, or has trained models on them."""
    tools: list[Tool | OpaqueTool] = []
    for number, tool in enumerate(take_objects(body, "tools")):
        path = f"tools[{number}]."
        kind = take_optional_text(tool, "type", path) or "custom"
        if kind != "custom":
            tools.append(OpaqueTool(NAME, take_optional_text(tool, "name", path) or kind, tool))
            continue
        extra |= {path + name: value for name, value in tool.items() if name not in _TOOL and says_something(value)}
        tools.append(
            Tool(
                name=take_text(tool, "name", path),
                description=take_optional_text(tool, "description", path),
                schema=take_object(tool, "input_schema", path),
                strict=take_flag(tool, "strict", path),
                cache=take_object(tool, "cache_control", path),
            )
        )
    return tuple(tools)


def _read_choice(choice: Mapping[str, Any] | None, extra: dict[str, Any]) -> ToolChoice | None:
    if choice is None:
        return None
    mode = _MODES.get(take_text(choice, "type", "tool_choice."))
    if mode is None:
        extra["tool_choice"] = choice
        return None
    return ToolChoice(mode, take_text(choice, "name", "tool_choice.") if mode == "named" else None)


def _read_output(body: Mapping[str, Any], extra: dict[str, Any]) -> tuple[Thinking | None, ResponseFormat | None]:
    """``thinking``, and the two halves of ``output_config``; ``output_format`` is the name of the beta before it."""
    config = take_object(body, "output_config") or {}
    effort = take_optional_text(config, "effort", "output_config.")
    form = take_object(config, "format", "output_config.") or take_object(body, "output_format")
    extra |= {f"output_config.{name}": value for name, value in config.items() if name not in ("effort", "format")}
    thinking = take_object(body, "thinking")
    if thinking is not None:
        read = read_config(thinking, extra, effort)
    else:
        read = None if effort is None else Thinking(effort=effort)
    if form is None:
        return read, None
    if form.get("type") != "json_schema":
        extra["output_config.format"] = form
        return read, None
    return read, ResponseFormat("schema", schema=take_object(form, "schema", "output_config.format."))


def _read_user(body: Mapping[str, Any], extra: dict[str, Any]) -> str | None:
    metadata = take_object(body, "metadata") or {}
    extra |= {f"metadata.{name}": value for name, value in metadata.items() if name != "user_id"}
    return take_optional_text(metadata, "user_id", "metadata.")
