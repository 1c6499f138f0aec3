"""A neutral chat as the body of Ollama's ``POST /api/chat``.

Fields and their types: ``ChatRequest``, ``Message``, ``Options`` and ``Runner`` in ollama/ollama ``api/types.go``, and
``docs/api.md``, "Generate a chat completion" (both of August 2026). How OpenAI's fields map onto them follows Ollama's
own OpenAI endpoint, ``openai/openai.go`` there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aiogateway.dialects.chat_turns import read_document
from aiogateway.dialects.leftovers import says_something
from aiogateway.dialects.payload import parse_object
from aiogateway.dialects.thinking import find_effort
from aiogateway.errors import RequestError, Unsupported
from aiogateway.neutral import (
    ChatRequest,
    FilePart,
    ImagePart,
    Message,
    OpaquePart,
    OpaqueTool,
    Part,
    ReasoningPart,
    ResponseFormat,
    TextPart,
    Tool,
    ToolCallPart,
    ToolResultPart,
    Written,
)

KEPT = ("keep_alive", "think", "truncate", "shift")
"""Fields of Ollama's own that a client may set beside OpenAI's."""

OPTIONS = (
    "num_keep", "num_predict", "min_p", "typical_p", "repeat_last_n", "repeat_penalty",
    "num_ctx", "num_batch", "num_gpu", "main_gpu", "use_mmap", "num_thread", "draft_num_predict",
)  # fmt: skip
"""Ollama's options that OpenAI has no field for; taken from the top level and from ``options``."""

EFFORTS: dict[str, str | bool] = {
    "none": False,
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "max",
    "ultra": "max",
    "max": "max",
}
"""``thinkFromReasoningEffort`` in ``openai/openai.go``."""


def write_chat(request: ChatRequest) -> Written:
    """Raises Unsupported and RequestError, naming the parameter."""
    if request.n not in (None, 1):
        raise Unsupported("Ollama gives one answer per call", param="n")
    extra = {name: value for name, value in request.extra.items() if says_something(value)}
    writer = MessageWriter(request.messages)
    body: dict[str, Any] = {"model": request.model, "messages": writer.write_all(), "stream": request.stream}
    tools = _write_tools(request, writer)
    if tools:
        body["tools"] = tools
    if (wanted := _write_format(request.response_format)) is not None:
        body["format"] = wanted
    body |= take_own_fields(extra, KEPT)
    _write_thinking(request, body, writer)
    if options := take_options(extra) | _write_options(request):
        body["options"] = options
    if request.user is not None:
        writer.drop("user")
    if request.parallel_tools is not None and tools:
        writer.drop("parallel_tool_calls")
    return Written(body, (*writer.dropped, *extra))


def take_own_fields(extra: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Moves Ollama's own fields out of `extra`."""
    return {name: extra.pop(name) for name in names if name in extra}


def take_options(extra: dict[str, Any]) -> dict[str, Any]:
    """Moves Ollama's options out of `extra`."""
    options = extra.pop("options", {})
    if not isinstance(options, Mapping):
        raise RequestError("options must be an object", param="options")
    return {**options, **take_own_fields(extra, OPTIONS)}


def _write_options(request: ChatRequest) -> dict[str, Any]:
    options = {
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_k": request.top_k,
        "num_predict": request.max_tokens,
        "stop": list(request.stop) or None,
        "seed": request.seed,
        "frequency_penalty": request.frequency_penalty,
        "presence_penalty": request.presence_penalty,
    }
    return {name: value for name, value in options.items() if value is not None}


def _write_thinking(request: ChatRequest, body: dict[str, Any], writer: MessageWriter) -> None:
    """An effort or a budget as ``think``, unless the client set that itself."""
    thinking = request.thinking
    if thinking is None:
        return
    if thinking.summary is not None:
        writer.drop("reasoning.summary")
    effort = thinking.effort
    if effort is None and thinking.budget is not None:
        effort = find_effort(thinking.budget)
    if "think" in body:
        writer.drop("reasoning_effort")
    elif effort is not None:
        if effort not in EFFORTS:
            raise RequestError(f"reasoning_effort must be one of {', '.join(EFFORTS)}", param="reasoning_effort")
        body["think"] = EFFORTS[effort]


def _write_tools(request: ChatRequest, writer: MessageWriter) -> list[dict[str, Any]]:
    """Functions only; a tool that someone else runs, or one that takes plain text, is dropped by its place."""
    choice = request.tool_choice
    if choice is not None and choice.mode in ("required", "named"):
        writer.drop("tool_choice")
    if choice is not None and choice.mode == "none":
        return []
    written = []
    for number, tool in enumerate(request.tools):
        if isinstance(tool, OpaqueTool) or tool.custom:
            writer.drop(f"tools[{number}]")
            continue
        if tool.strict:
            writer.drop("tools.function.strict")
        if tool.cache is not None:
            writer.drop("tools.cache_control")
        written.append(_write_tool(tool))
    return written


def _write_format(wanted: ResponseFormat | None) -> Any:
    """``format`` is "json" or a JSON schema; the schema's name and strictness say nothing to Ollama."""
    if wanted is None or wanted.kind == "text":
        return None
    return "json" if wanted.kind == "json" or wanted.schema is None else wanted.schema


def _write_tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    function["parameters"] = tool.schema if tool.schema is not None else {"type": "object", "properties": {}}
    return {"type": "function", "function": function}


class MessageWriter:
    """Neutral messages to Ollama's; `dropped` names what had no place, once each."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self.dropped: dict[str, None] = {}
        self._messages = messages
        self._tools: dict[str, str] = {}  # tool call id to the tool's name, which Ollama wants with the result

    def drop(self, name: str) -> None:
        self.dropped[name] = None

    def write_all(self) -> list[dict[str, Any]]:
        return [written for at, message in enumerate(self._messages) for written in self._write(message, at)]

    def _write(self, message: Message, at: int) -> Iterable[dict[str, Any]]:
        """One message; the results of several tools are one message each."""
        if message.name is not None and message.role != "tool":
            self.drop("messages.name")
        written: dict[str, Any] = {"role": message.role, "content": ""}
        texts: list[str] = []
        for part in message.parts:
            if isinstance(part, ToolResultPart):
                yield self._write_result(part, message.name)
                for shown in part.parts:
                    if not isinstance(shown, TextPart):
                        self._write_part(shown, written, texts, f"messages[{at}]")
            else:
                self._write_part(part, written, texts, f"messages[{at}]")
        written["content"] = "\n".join(texts)
        if message.role != "tool" or written["content"] or "images" in written:
            yield written | ({"role": "user"} if message.role == "tool" else {})

    def _write_result(self, part: ToolResultPart, name: str | None) -> dict[str, Any]:
        if part.error:
            self.drop("messages.content.is_error")
        self._drop_mark(part)
        written = {"role": "tool", "content": part.text}
        tool = name or self._tools.get(part.id)
        return written | ({"tool_name": tool} if tool else {}) | {"tool_call_id": part.id}

    def _drop_mark(self, part: Part) -> None:
        if getattr(part, "cache", None) is not None:
            self.drop("messages.content.cache_control")

    def _write_part(self, part: Part, written: dict[str, Any], texts: list[str], path: str) -> None:
        self._drop_mark(part)
        if isinstance(part, TextPart):
            texts.append(part.text)
        elif isinstance(part, ImagePart):
            if part.detail not in (None, "auto"):
                self.drop("messages.content.image_url.detail")
            written.setdefault("images", []).append(_read_image(part, f"{path}.content"))
        elif isinstance(part, ToolCallPart):
            self._tools[part.id] = part.name
            function = {"name": part.name, "arguments": _read_arguments(part, f"{path}.tool_calls")}
            written.setdefault("tool_calls", []).append({"id": part.id, "function": function})
        elif isinstance(part, ReasoningPart):
            written["thinking"] = written.get("thinking", "") + part.text
            if part.signature is not None or part.sealed is not None:
                self.drop("messages.reasoning.signature")
        elif isinstance(part, FilePart):
            texts.append(_read_file(part, f"{path}.content"))
        elif isinstance(part, OpaquePart):
            self._pass_over(part, written["role"], path)

    def _pass_over(self, part: OpaquePart, role: str, path: str) -> None:
        """What only another dialect understands: fields are dropped by name, but content a user asks about is not."""
        data = part.data if isinstance(part.data, Mapping) else {}
        fields = {**data.get("message", {}), **data.get("part", {})}
        if fields:
            for name in fields:
                self.drop(f"messages.{name}")
        elif role == "assistant":
            self.drop(f"messages.{data.get('type', part.dialect)}")
        else:
            raise Unsupported(f"Ollama has no content of the type {data.get('type')!r}", param=f"{path}.content")


def _read_file(part: FilePart, path: str) -> str:
    """The text of a document that is text; Ollama has no other documents."""
    text = read_document(part)
    if text is None:
        raise Unsupported("Ollama takes no documents but text", param=path)
    return text


def _read_image(part: ImagePart, path: str) -> str:
    """Base64 alone: ``docs/api.md``, "Chat request (with images)". Ollama fetches nothing from a URL."""
    if part.data is not None:
        return part.data
    url = (part.url or "")[:200]
    raise Unsupported(f"Ollama takes images as base64 data only, not by URL: {url}", param=path)


def _read_arguments(part: ToolCallPart, path: str) -> dict[str, Any]:
    """JSON text to the object that Ollama wants."""
    try:
        return parse_object(part.arguments.encode()) if part.arguments.strip() else {}
    except ValueError as error:
        raise RequestError(f"the arguments of the tool call {part.id} are no JSON object", param=path) from error
