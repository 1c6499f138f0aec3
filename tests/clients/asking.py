"""A recording's request, as the user of another SDK would write it: the arguments of one call."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tests.matrix import CHAT, MESSAGES, RESPONSES
from tests.tape import Tape

LIMIT = 4096
"""`max_tokens` for Anthropic's SDK where the recording has none."""

Fields = dict[str, Any]


def write_call(client: str, tape: Tape) -> Fields:
    """The keyword arguments of `create`, without ``stream``, for the SDK of a client's dialect."""
    request = {name: value for name, value in tape.request.items() if name not in ("stream", "stream_options")}
    own = {"chat/completions": CHAT, "responses": RESPONSES, "messages": MESSAGES}[tape.endpoint]
    if own == client:
        return request
    assert own == CHAT, f"a request of {own} is not rewritten for a client of {client}"
    return WRITERS[client](request)


def _write_response(request: Fields) -> Fields:
    items = [item for turn in request["messages"] for item in _write_items(turn)]
    call: Fields = {"model": request["model"], "input": items}
    if "tools" in request:
        call["tools"] = [{"type": "function", "strict": None, **tool["function"]} for tool in request["tools"]]
    if "tool_choice" in request:
        call["tool_choice"] = request["tool_choice"]
    if "response_format" in request:
        call["text"] = {"format": {"type": "json_schema", **request["response_format"]["json_schema"]}}
    if "reasoning_effort" in request or "thinking" in request:
        call["reasoning"] = {"effort": request.get("reasoning_effort", "low"), "summary": "auto"}
    limit = request.get("max_completion_tokens", request.get("max_tokens"))
    return call if limit is None else {**call, "max_output_tokens": limit}


def _write_items(turn: Mapping[str, Any]) -> Iterator[Fields]:
    """A signed thought has no place here: it is another vendor's."""
    if turn["role"] == "tool":
        yield {"type": "function_call_output", "call_id": turn["tool_call_id"], "output": turn["content"]}
        return
    content = turn["content"]
    if content:
        parts = content if isinstance(content, str) else [_write_input(part) for part in content]
        yield {"role": turn["role"], "content": parts}
    for call in turn.get("tool_calls", ()):
        yield {"type": "function_call", "call_id": call["id"], **call["function"]}


def _write_input(part: Mapping[str, Any]) -> Fields:
    if part["type"] == "text":
        return {"type": "input_text", "text": part["text"]}
    return {"type": "input_image", "detail": "auto", "image_url": part["image_url"]["url"]}


def _write_message(request: Fields) -> Fields:
    limit = int(request.get("max_completion_tokens") or request.get("max_tokens") or LIMIT)
    call: Fields = {"model": request["model"], "max_tokens": limit}
    call["messages"] = [_write_turn(turn) for turn in request["messages"]]
    if "tools" in request:
        call["tools"] = [_write_tool(tool["function"]) for tool in request["tools"]]
    if "tool_choice" in request:
        call["tool_choice"] = {"type": {"required": "any"}.get(request["tool_choice"], request["tool_choice"])}
    if "response_format" in request:
        schema = request["response_format"]["json_schema"]["schema"]
        call["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
    if "reasoning_effort" in request or "thinking" in request:
        call["thinking"] = request.get("thinking", {"type": "enabled", "budget_tokens": 1024})
        call["max_tokens"] = max(limit, 2048)
    return call


def _write_tool(function: Mapping[str, Any]) -> Fields:
    named = {name: function[name] for name in ("name", "description") if name in function}
    return {**named, "input_schema": function.get("parameters", {"type": "object"})}


def _write_turn(turn: Mapping[str, Any]) -> Fields:
    if turn["role"] == "tool":
        result = {"type": "tool_result", "tool_use_id": turn["tool_call_id"], "content": turn["content"]}
        return {"role": "user", "content": [result]}
    if turn["role"] == "user":
        content = turn["content"]
        blocks = content if isinstance(content, str) else [_write_block(part) for part in content]
        return {"role": "user", "content": blocks}
    calls = [
        {"type": "tool_use", "id": call["id"], "name": call["function"]["name"]}
        | {"input": json.loads(call["function"]["arguments"])}
        for call in turn["tool_calls"]
    ]
    return {"role": "assistant", "content": [*turn.get("thinking_blocks", ()), *calls]}


def _write_block(part: Mapping[str, Any]) -> Fields:
    if part["type"] == "text":
        return {"type": "text", "text": part["text"]}
    url = part["image_url"]["url"]
    if not url.startswith("data:"):
        return {"type": "image", "source": {"type": "url", "url": url}}
    media_type, _, data = url.removeprefix("data:").partition(";base64,")
    return {"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}}


WRITERS: Mapping[str, Callable[[Fields], Fields]] = {RESPONSES: _write_response, MESSAGES: _write_message}
