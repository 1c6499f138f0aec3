"""The mock provider's ``/v1/responses``: the same answers in that wire (OpenAI's API reference, "Streaming events")."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from aiogateway.dialects.chat_request import read_request
from aiogateway.dialects.payload import as_dict, as_list, as_text
from aiogateway.errors import RequestError
from aiogateway.neutral import ChatRequest
from aiogateway.providers.mock_script import Answer, Wishes, make_answer, make_id
from aiogateway.wire import sse


class ResponseScript:
    """One answer: `whole()` for a unary call, `events()` for a stream."""

    def __init__(self, body: Mapping[str, Any], wishes: Wishes, identity: str, created: int) -> None:
        self._body, self._identity, self._created = body, identity, created
        self._answer: Answer = make_answer(_as_chat(body), wishes)
        self._number = 0

    @property
    def tokens(self) -> int:
        return len(self._answer.tokens)

    def whole(self) -> bytes:
        return orjson.dumps(self._response(self._status, [self._item(self._status)]))

    def events(self) -> Iterator[tuple[bytes, bool]]:
        """Each event's bytes, and whether it is a token."""
        for kind in ("response.created", "response.in_progress"):
            yield self._event(kind, response=self._response("in_progress", [])), False
        yield self._event("response.output_item.added", output_index=0, item=self._item("in_progress")), False
        yield from self._call_events() if self._answer.tool else self._text_events()
        item = self._item(self._status)
        yield self._event("response.output_item.done", output_index=0, item=item), False
        yield self._event(f"response.{self._status}", response=self._response(self._status, [item])), False

    def _text_events(self) -> Iterator[tuple[bytes, bool]]:
        place = {"item_id": self._item_id, "output_index": 0, "content_index": 0}
        text = "".join(self._answer.tokens)
        yield self._event("response.content_part.added", **place, part=_part("")), False
        for token in self._answer.tokens:
            yield self._event("response.output_text.delta", **place, delta=token, logprobs=[]), True
        yield self._event("response.output_text.done", **place, text=text, logprobs=[]), False
        yield self._event("response.content_part.done", **place, part=_part(text)), False

    def _call_events(self) -> Iterator[tuple[bytes, bool]]:
        place = {"item_id": self._item_id, "output_index": 0}
        for token in self._answer.tokens:
            yield self._event("response.function_call_arguments.delta", **place, delta=token), True
        done = {"name": self._answer.tool, "arguments": "".join(self._answer.tokens)}
        yield self._event("response.function_call_arguments.done", **place, **done), False

    @property
    def _status(self) -> str:
        return "incomplete" if self._answer.reason == "length" else "completed"

    @property
    def _item_id(self) -> str:
        return make_id("item", self._identity)

    def _event(self, kind: str, **fields: Any) -> bytes:
        event = {"type": kind, "sequence_number": self._number, **fields}
        self._number += 1
        return sse.frame(orjson.dumps(event), kind)

    def _item(self, status: str) -> dict[str, Any]:
        text = "" if status == "in_progress" else "".join(self._answer.tokens)
        item: dict[str, Any] = {"id": self._item_id, "status": status}
        if self._answer.tool:
            call = make_id("call", self._identity)
            return item | {"type": "function_call", "call_id": call, "name": self._answer.tool, "arguments": text}
        content = [] if status == "in_progress" else [_part(text)]
        return item | {"type": "message", "role": "assistant", "content": content}

    def _response(self, status: str, output: list[dict[str, Any]]) -> dict[str, Any]:
        body = self._body
        return {
            "id": self._identity,
            "object": "response",
            "created_at": self._created,
            "status": status,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "instructions": body.get("instructions"),
            "max_output_tokens": body.get("max_output_tokens"),
            "model": body.get("model"),
            "output": output,
            "parallel_tool_calls": True,
            "previous_response_id": body.get("previous_response_id"),
            "temperature": body.get("temperature", 1.0),
            "text": body.get("text") or {"format": {"type": "text"}},
            "tool_choice": body.get("tool_choice", "auto"),
            "tools": body.get("tools") or [],
            "top_p": body.get("top_p", 1.0),
            "truncation": "disabled",
            "usage": None if status == "in_progress" else self._usage(),
            "user": body.get("user"),
            "metadata": body.get("metadata") or {},
        }

    def _usage(self) -> dict[str, Any]:
        prompt, output = self._answer.prompt, self.tokens
        return {
            "input_tokens": prompt,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": output,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": prompt + output,
        }


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _as_chat(body: Mapping[str, Any]) -> ChatRequest:
    """As much of the request as the script looks at."""
    asked = body.get("input")
    if isinstance(asked, str):
        asked = [{"role": "user", "content": asked}]
    if not isinstance(asked, list):
        raise RequestError("input must be a string or a list of items", param="input")
    tools = [as_dict(tool) for tool in as_list(body.get("tools"))]
    choice = body.get("tool_choice")
    if isinstance(choice, Mapping) and choice.get("name"):
        choice = {"type": "function", "function": {"name": choice["name"]}}
    chat: dict[str, Any] = {
        "model": body.get("model"),
        "messages": [_as_message(item) for item in asked if isinstance(item, Mapping) and item.get("role")],
        "tools": [{"type": "function", "function": tool} for tool in tools if tool.get("name")],
        "tool_choice": choice,
        "max_completion_tokens": body.get("max_output_tokens"),
    }
    wanted = as_dict(as_dict(body.get("text")).get("format"))
    if wanted.get("type") == "json_schema":
        chat["response_format"] = {"type": "json_schema", "json_schema": wanted}
    return read_request(chat)


def _as_message(item: Mapping[str, Any]) -> dict[str, Any]:
    content = item.get("content")
    if isinstance(content, list):
        texts = [as_text(as_dict(part).get("text")) for part in content]
        content = [{"type": "text", "text": text} for text in texts if text is not None]
    return {"role": item["role"], "content": content}
