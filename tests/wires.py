"""The three wires that clients speak: how the same chat is asked in each, and what an answer in each says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from aiogateway.testing import load_recordings
from aiogateway.testing.recordings import Recording
from aiogateway.wire import sse

FOLDER = Path(__file__).parent / "conformance" / "recordings"
PROMPT = "Greet the harbour master."
PORT = {"type": "object", "properties": {"port": {"type": "string"}}}


def recorded(path: str) -> Recording:
    """``anthropic/chat_stream``, which provider and what."""
    folder, _, name = path.partition("/")
    return next(each for each in load_recordings(FOLDER / folder) if each.name == f"{name}.rec")


@dataclass(slots=True)
class Told:
    """What one answer says. `whole`: it ended as this wire's answers end."""

    text: str = ""
    thoughts: str = ""
    calls: list[tuple[str, Any]] = field(default_factory=list)
    refusal: str = ""
    stop: str | None = None
    usage: tuple[int, int] | None = None
    whole: bool = False
    error: dict[str, Any] | None = None
    turn: Any = None  # the assistant's turn, as the client sends it back


class Wire:
    """One of them. `ask` makes a body, `read` takes an answer, `error` the error object of an error's body."""

    path: str

    def ask(self, **fields: Any) -> dict[str, Any]:
        raise NotImplementedError

    def tool(self, name: str) -> dict[str, Any]:
        """A tool with a port."""
        raise NotImplementedError

    def read(self, body: bytes) -> Told:
        raise NotImplementedError

    def error(self, body: bytes) -> dict[str, Any]:
        error: dict[str, Any] = orjson.loads(body)["error"]
        return error


class Chat(Wire):
    path = "/v1/chat/completions"

    def ask(self, **fields: Any) -> dict[str, Any]:
        options = {"stream_options": {"include_usage": True}} if fields.get("stream") else {}
        return {"model": "m", "messages": [{"role": "user", "content": PROMPT}], **options, **fields}

    def tool(self, name: str) -> dict[str, Any]:
        return {"type": "function", "function": {"name": name, "parameters": PORT}}

    def read(self, body: bytes) -> Told:
        told = Told()
        if not body.startswith(b"{"):
            told.whole = body.endswith(b"data: [DONE]\n\n")
            answers = [read_event(frame) for frame in split(body) if sse.data_of(frame).startswith(b"{")]
        else:
            told.whole, answers = True, [orjson.loads(body)]
        for answer in answers:
            told.error = answer.get("error") or told.error
            if usage := answer.get("usage"):
                told.usage = (usage["prompt_tokens"], usage["completion_tokens"])
            for choice in answer.get("choices", ()):
                told.stop = choice["finish_reason"] or told.stop
                self._add(told, choice.get("delta") or choice.get("message") or {})
        return told

    def _add(self, told: Told, delta: Mapping[str, Any]) -> None:
        told.text += delta.get("content") or ""
        told.thoughts += delta.get("reasoning_content") or ""
        told.refusal += delta.get("refusal") or ""
        for call in delta.get("tool_calls", ()):
            function = call["function"]
            if "name" in function:
                told.calls.append((function["name"], ""))
            name, arguments = told.calls[call.get("index", -1)]
            told.calls[call.get("index", -1)] = (name, arguments + function["arguments"])


class Messages(Wire):
    path = "/v1/messages"

    def ask(self, **fields: Any) -> dict[str, Any]:
        return {"model": "m", "max_tokens": 64, "messages": [{"role": "user", "content": PROMPT}], **fields}

    def tool(self, name: str) -> dict[str, Any]:
        return {"name": name, "input_schema": PORT}

    def error(self, body: bytes) -> dict[str, Any]:
        assert orjson.loads(body)["type"] == "error"
        return super().error(body)

    def read(self, body: bytes) -> Told:
        message = orjson.loads(body) if body.startswith(b"{") else None
        told = Told(whole=message is not None)
        if message is None:
            message = self._gather(body, told)
        for block in message["content"]:
            if block["type"] == "tool_use":
                told.calls.append((block["name"], orjson.dumps(block["input"]).decode()))
            told.text += block["text"] if block["type"] == "text" else ""
            told.thoughts += block["thinking"] if block["type"] == "thinking" else ""
        told.stop, usage = message["stop_reason"], message["usage"]
        if told.stop is not None:
            cached = usage["cache_read_input_tokens"] + usage["cache_creation_input_tokens"]
            told.usage = (usage["input_tokens"] + cached, usage["output_tokens"])
        told.turn = {"role": "assistant", "content": message["content"]}
        return told

    def _gather(self, body: bytes, told: Told) -> dict[str, Any]:
        """A stream as one message; the order of events is Anthropic's, or it fails."""
        message: dict[str, Any] = {"content": [], "stop_reason": None, "usage": {}}
        blocks: list[Any] = message["content"]
        pieces = {"text_delta": "text", "thinking_delta": "thinking", "signature_delta": "signature"}
        for frame in split(body):
            event = read_event(frame)
            assert not told.whole, "an event behind the last one"
            kind = event["type"]
            assert sse.event_name(frame) == kind
            if kind == "message_start":
                assert not blocks
                message["usage"] = event["message"]["usage"]
            elif kind == "content_block_start":
                assert event["index"] == len(blocks)
                blocks.append({**event["content_block"], "json": ""})
            elif kind == "content_block_delta":
                assert event["index"] == len(blocks) - 1
                delta = event["delta"]
                if delta["type"] == "input_json_delta":
                    blocks[-1]["json"] += delta["partial_json"]
                else:
                    field = pieces[delta["type"]]
                    blocks[-1][field] = blocks[-1].get(field, "") + delta[field]
            elif kind == "content_block_stop":
                arguments = blocks[-1].pop("json")
                if arguments:
                    blocks[-1]["input"] = orjson.loads(arguments)
            elif kind == "message_delta":
                message["stop_reason"] = event["delta"]["stop_reason"]
                message["usage"] |= event["usage"]
            elif kind == "error":
                told.error = event["error"]
            told.whole = kind == "message_stop"
        return message


class Responses(Wire):
    path = "/v1/responses"

    def ask(self, **fields: Any) -> dict[str, Any]:
        return {"model": "m", "input": PROMPT, **fields}

    def tool(self, name: str) -> dict[str, Any]:
        return {"type": "function", "name": name, "parameters": PORT, "strict": False}

    def read(self, body: bytes) -> Told:
        if body.startswith(b"{"):
            return self._read_response(Told(), orjson.loads(body))
        told = Told()
        for number, frame in enumerate(split(body)):
            event = read_event(frame)
            kind = event["type"]
            assert sse.event_name(frame) == kind
            if kind == "error":
                told.error = event["error"]
            elif kind in ("response.completed", "response.incomplete", "response.failed"):
                self._read_response(told, event["response"])
            elif kind == "response.output_text.delta":
                told.text += event["delta"]
            if told.error is None:
                assert event["sequence_number"] == number
        return told

    def _read_response(self, told: Told, response: Mapping[str, Any]) -> Told:
        text = ""
        told.stop = response["status"]
        told.whole = told.stop in ("completed", "incomplete")
        told.turn = response["output"]
        for item in response["output"]:
            if item["type"] == "function_call":
                told.calls.append((item["name"], item["arguments"]))
            for part in item.get("summary", ()):
                told.thoughts += part["text"]
            for part in item.get("content", ()):
                text += part.get("text", "")
                told.refusal += part.get("refusal", "")
        assert not told.whole or told.text in ("", text)
        told.text = text or told.text
        if usage := response["usage"]:
            told.usage = (usage["input_tokens"], usage["output_tokens"])
        return told


WIRES: Mapping[str, Wire] = {"chat": Chat(), "messages": Messages(), "responses": Responses()}


def split(body: bytes) -> list[bytes]:
    splitter = sse.Splitter()
    frames = splitter.feed(body)
    assert not splitter.rest()
    return [frame for frame in frames if sse.data_of(frame)]


def read_event(frame: bytes) -> dict[str, Any]:
    event: dict[str, Any] = orjson.loads(sse.data_of(frame))
    return event
