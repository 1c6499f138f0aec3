"""Neutral messages as Gemini's ``contents`` and ``systemInstruction``.

Facts: ``Content``, ``Part``, ``FunctionCall`` and ``FunctionResponse`` in Google's reference and in google-genai 3.4.0;
its pages "Function calling" (a result is an object, what is none goes under ``output``, an error under ``error``) and
"Thought signatures" (a seal goes back with the part it came with).

A seal on a call is ``ToolCallPart.signature``, as it is. A seal on text has no place of its own in other wires: it
travels as that of a thought, and begins with `SEALED`, so that no other provider's is taken for Google's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from aiogateway.dialects.gemini_thinking import SKIP, takes_levels
from aiogateway.dialects.payload import as_dict, as_text, parse_object
from aiogateway.errors import RequestError
from aiogateway.neutral import (
    ChatRequest,
    FilePart,
    ImagePart,
    Message,
    OpaquePart,
    Part,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)

DIALECT = "gemini"
SEALED = "gemini:"

_TYPES = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "gif": "image/gif",
    "heic": "image/heic",
    "heif": "image/heif",
    "pdf": "application/pdf",
    "txt": "text/plain",
    "md": "text/markdown",
    "csv": "text/csv",
    "html": "text/html",
    "json": "application/json",
    "mp3": "audio/mp3",
    "wav": "audio/wav",
    "mp4": "video/mp4",
}


class ContentWriter:
    """Fills `contents` and `system` (its parts); `dropped` names what had no place, once each."""

    def __init__(self, request: ChatRequest) -> None:
        self.contents: list[dict[str, Any]] = []
        self.system: list[dict[str, Any]] = []
        self.dropped: dict[str, None] = {}
        self._strict_seals = takes_levels(request.model)
        self._names: dict[str, str] = {}  # call id to the function's name, which goes with its result
        for at, message in enumerate(request.messages):
            self._write(message, f"messages[{at}].")

    def _write(self, message: Message, path: str) -> None:
        if message.name is not None and message.role != "tool":
            self.dropped[f"{path}name"] = None
        if message.role == "system":
            self.system += self._write_plain(message.parts, path)
        elif message.role == "assistant":
            self._add("model", self._write_turn(message.parts, path))
        else:
            results = [part for part in message.parts if isinstance(part, ToolResultPart)]
            self._add("user", [written for part in results for written in self._write_result(part, message, path)])
            self._add("user", list(self._write_plain(message.parts, path)))

    def _add(self, role: str, parts: list[dict[str, Any]]) -> None:
        """Turns of one role are one content, but for results: a content holds those of the calls before it alone."""
        if not parts:
            return
        last = self.contents[-1] if self.contents else None
        if last is not None and last["role"] == role and _is_result(last["parts"][0]) == _is_result(parts[0]):
            last["parts"] += parts
        else:
            self.contents.append({"role": role, "parts": parts})

    def _write_plain(self, parts: Iterable[Part], path: str) -> Iterator[dict[str, Any]]:
        """Everything but calls, thoughts and results."""
        for at, part in enumerate(parts):
            if isinstance(part, ToolResultPart):
                continue
            written = self._write_part(part, f"{path}content[{at}]", path)
            if written is not None:
                yield written

    def _write_part(self, part: Part, where: str, path: str) -> dict[str, Any] | None:
        if getattr(part, "cache", None) is not None:  # what repeats is cached unasked
            self.dropped[f"{where}.cache_control"] = None
        if isinstance(part, TextPart):  # Vertex AI refuses an empty one
            return {"text": part.text} if part.text else None
        if isinstance(part, ImagePart):
            if part.detail not in (None, "auto"):
                self.dropped[f"{where}.image_url.detail"] = None
            return _write_media(part.url, part.data, part.media_type, "image/jpeg")
        if isinstance(part, FilePart):
            return _write_media(part.url or part.id, part.data, part.media_type, None)
        return self._write_opaque(part, where, path) if isinstance(part, OpaquePart) else None

    def _write_opaque(self, part: OpaquePart, where: str, path: str) -> dict[str, Any] | None:
        data = as_dict(part.data)
        if part.dialect == DIALECT:
            return data
        audio = as_dict(data.get("input_audio"))
        if audio.get("data"):  # OpenAI's, whose format is wav or mp3
            kind = _TYPES.get(str(audio.get("format")), "audio/wav")
            return {"inlineData": {"mimeType": kind, "data": audio["data"]}}
        message, fields = as_dict(data.get("message")), as_dict(data.get("part"))
        for name, value in message.items():
            if value not in (None, [], ""):
                self.dropped[f"{path}{name}"] = None
        for name in fields:
            self.dropped[f"{where}.{name}"] = None
        if not message and not fields:
            self.dropped[where] = None
        return None

    # --- the model's own turns ---

    def _write_turn(self, parts: Iterable[Part], path: str) -> list[dict[str, Any]]:
        written: list[dict[str, Any]] = []
        seal: str | None = None  # of text, which may follow
        for at, part in enumerate(parts):
            where = f"{path}content[{at}]"
            if isinstance(part, ReasoningPart):
                if part.text:
                    written.append({"text": part.text, "thought": True})
                seal = self._read_seal(part, where) or seal
            elif isinstance(part, ToolCallPart):
                written += _write_seal(seal)
                seal = None
                written.append(self._write_call(part, path))
            elif (plain := self._write_part(part, where, path)) is not None:
                if seal is not None and "text" in plain:
                    plain["thoughtSignature"], seal = seal, None
                written.append(plain)
        written += _write_seal(seal)
        if self._strict_seals:
            _seal_first_call(written)
        return written

    def _read_seal(self, part: ReasoningPart, where: str) -> str | None:
        if part.sealed is not None:
            self.dropped[f"{where}.redacted_thinking"] = None
        if not part.signature:
            return None
        if part.signature.startswith(SEALED):
            return part.signature.removeprefix(SEALED)
        self.dropped[f"{where}.signature"] = None
        return None

    def _write_call(self, part: ToolCallPart, path: str) -> dict[str, Any]:
        if part.cache is not None:
            self.dropped[f"{path}tool_calls.cache_control"] = None
        self._names[part.id] = part.name
        call = {"name": part.name, "args": _read_arguments(part, f"{path}tool_calls")}
        if part.id:
            call["id"] = part.id
        written: dict[str, Any] = {"functionCall": call}
        if part.signature is not None:
            written["thoughtSignature"] = part.signature
        return written

    # --- results ---

    def _write_result(self, part: ToolResultPart, message: Message, path: str) -> Iterator[dict[str, Any]]:
        """Media go into the result where the model takes them there (from 3 on), else beside it."""
        if part.cache is not None:
            self.dropped[f"{path}cache_control"] = None
        result: dict[str, Any] = {
            "name": self._names.get(part.id) or message.name or part.id,
            "response": _write_response(part),
        }
        if part.id in self._names:
            result["id"] = part.id
        others = [other for other in part.parts if not isinstance(other, TextPart)]
        media = list(self._write_plain(others, path))
        if media and self._strict_seals:
            result["parts"] = media
            media = []
        yield {"functionResponse": result}
        yield from media


def _is_result(part: Mapping[str, Any]) -> bool:
    return "functionResponse" in part


def _write_seal(seal: str | None) -> list[dict[str, Any]]:
    """A seal that came with no text of its own, as it ends streams."""
    return [] if seal is None else [{"text": "", "thoughtSignature": seal}]


def _seal_first_call(parts: list[dict[str, Any]]) -> None:
    """Of parallel calls, only the first is sealed."""
    first = next((part for part in parts if "functionCall" in part), None)
    if first is not None:
        first.setdefault("thoughtSignature", SKIP)


def _write_response(part: ToolResultPart) -> dict[str, Any]:
    if part.error:
        return {"error": part.text}
    try:
        return parse_object(part.text.encode("utf-8", "surrogatepass"))
    except ValueError:
        return {"output": part.text}


def _read_arguments(part: ToolCallPart, path: str) -> dict[str, Any]:
    if part.custom:
        return {"input": part.arguments}
    try:
        return parse_object(part.arguments.encode("utf-8", "surrogatepass")) if part.arguments.strip() else {}
    except ValueError as error:
        raise RequestError(f"the arguments of the tool call {part.id} are no JSON object", param=path) from error


def _write_media(url: str | None, data: str | None, kind: str | None, default: str | None) -> dict[str, Any]:
    if data is not None:
        return {"inlineData": {"mimeType": kind or default or "application/octet-stream", "data": data}}
    address = url or ""
    ending = address.partition("?")[0].rpartition(".")[2].lower()
    found = kind or as_text(_TYPES.get(ending)) or default
    return {"fileData": {"fileUri": address} | ({"mimeType": found} if found else {})}
