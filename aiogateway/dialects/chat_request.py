"""A chat request as OpenAI writes it, to a neutral one and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiogateway.dialects.chat_messages import MessageWriter, read_message
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
from aiogateway.errors import Unsupported
from aiogateway.neutral import ChatRequest, NeutralRequest, ResponseFormat, Tool, ToolChoice, Written

_NUMBERS = ("temperature", "top_p", "frequency_penalty", "presence_penalty")
_COUNTS = ("seed", "n")
_READ = frozenset(
    {
        *_NUMBERS, *_COUNTS, "model", "messages", "stream", "stream_options", "tools", "tool_choice", "response_format",
        "max_tokens", "max_completion_tokens", "stop",
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
        tools=_read_tools(body, extra),
        tool_choice=_read_choice(body, extra),
        response_format=_read_format(body, extra),
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


def _read_tools(body: Mapping[str, Any], extra: dict[str, Any]) -> tuple[Tool, ...]:
    tools, others = [], []
    for number, tool in enumerate(take_objects(body, "tools")):
        path = f"tools[{number}]."
        function = take_object(tool, "function", path)
        if tool.get("type", "function") != "function" or function is None:
            others.append(tool)
            continue
        path += "function."
        tools.append(
            Tool(
                name=take_text(function, "name", path),
                description=take_optional_text(function, "description", path),
                schema=take_object(function, "parameters", path),
                strict=take_flag(function, "strict"),
            )
        )
    if others:
        extra["tools"] = others
    return tuple(tools)


def _read_choice(body: Mapping[str, Any], extra: dict[str, Any]) -> ToolChoice | None:
    choice = body.get("tool_choice")
    if choice in ("auto", "none", "required"):
        return ToolChoice(choice)
    if isinstance(choice, Mapping) and choice.get("type") == "function":
        function = take_object(choice, "function", "tool_choice.") or {}
        return ToolChoice("named", take_text(function, "name", "tool_choice.function."))
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
    writer = MessageWriter()
    extra = dict(request.extra)
    description = extra.pop("response_format.json_schema.description", None)
    body: dict[str, Any] = {
        "model": request.model,
        "messages": [written for message in request.messages for written in writer.write(message)],
    }
    tools = [_write_tool(tool) for tool in request.tools] + list(extra.pop("tools", ()))
    if tools:
        body["tools"] = tools
    if request.tool_choice is not None:
        body["tool_choice"] = _write_choice(request.tool_choice)
    if request.response_format is not None:
        body["response_format"] = _write_format(request.response_format, description)
    body |= write_sampling(request, extra, limit="max_completion_tokens")
    return Written(body | extra, tuple(writer.dropped))


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


def _write_tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    if tool.schema is not None:
        function["parameters"] = tool.schema
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


def _write_choice(choice: ToolChoice) -> Any:
    if choice.mode == "named":
        return {"type": "function", "function": {"name": choice.name}}
    return choice.mode


def _write_format(wanted: ResponseFormat, description: Any) -> dict[str, Any]:
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
