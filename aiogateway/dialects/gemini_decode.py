"""Gemini's answers to neutral events; whole and in chunks, which look the same.

Facts: ``GenerateContentResponse``, ``Candidate`` and its ``FinishReason`` in Google's reference and in google-genai
3.4.0; test data of Firebase's SDKs (FirebaseExtended/vertexai-sdk-test-data) for what the wire really holds.

Images a model draws, log probabilities and sources come as `Opaque` chunks of OpenAI's chat, where clients look for
them; what else a candidate holds comes as Gemini's own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import orjson

from aiogateway.dialects.chat_messages import DIALECT as CHAT
from aiogateway.dialects.gemini_contents import DIALECT, SEALED
from aiogateway.dialects.gemini_failures import find_failure, read_payloads
from aiogateway.dialects.gemini_usage import count_usage
from aiogateway.dialects.payload import as_count, as_dict, as_list, as_text
from aiogateway.neutral import Begin, Event, Failure, Finish, Opaque, Reasoning, Text, ToolCall, UsageReport
from aiogateway.wire import sse

REASONS = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "CONTINUATION": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "LANGUAGE": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
    "MODEL_ARMOR": "content_filter",
    "ESCALATION": "content_filter",
    "PUP_LIMITED_DISABLED": "content_filter",
}
"""Everything else (OTHER, NO_IMAGE, IMAGE_OTHER, a new word) reads as stop; `gemini_failures.BROKEN` are errors."""

_SHOWN = ("groundingMetadata", "citationMetadata", "urlContextMetadata")


def data_of(frame: bytes) -> bytes:
    """An event's payload. What follows the last event as bare JSON is an error (`gemini_failures`)."""
    data = sse.data_of(frame).strip()
    if not data:
        bare = frame.strip()
        data = bare if bare.startswith((b"{", b"[")) else b""
    return data


def read_answer(body: bytes) -> Sequence[Event]:
    """The events of a unary answer, or of a stream that came as an array (without ``alt=sse``)."""
    return list(GeminiDecoder().read(body))


class GeminiDecoder:
    """One stream's events to neutral ones."""

    def __init__(self) -> None:
        self._begun = False
        self._calls: dict[int, int] = {}
        self._open: set[int] = set()
        self._finished: set[int] = set()

    def feed(self, frame: bytes) -> Iterator[Event]:
        """Raises ValueError for a malformed frame."""
        data = data_of(frame)
        return self.read(data) if data else iter(())

    def read(self, data: bytes) -> Iterator[Event]:
        """The events of an event's payload, or of a body."""
        for payload in read_payloads(data):
            failure = find_failure(payload, data)
            if failure is not None:
                yield Failure(failure)
                return
            yield from self._read_payload(payload, data)

    def _read_payload(self, payload: dict[str, Any], data: bytes) -> Iterator[Event]:
        if not self._begun:
            self._begun = True
            created = _read_time(as_text(payload.get("createTime")))
            yield Begin(as_text(payload.get("responseId")), as_text(payload.get("modelVersion")), created)
        for candidate in map(as_dict, as_list(payload.get("candidates"))):
            yield from self._read_candidate(candidate, data)
        reason = as_text(as_dict(payload.get("promptFeedback")).get("blockReason"))
        if reason:
            for index in sorted(self._open - self._finished) or [0]:
                yield from self._finish("content_filter", index, reason)
        usage = count_usage(payload.get("usageMetadata"))
        if usage is not None:
            yield UsageReport(usage)

    def _read_candidate(self, candidate: dict[str, Any], data: bytes) -> Iterator[Event]:
        index = as_count(candidate.get("index"))
        self._open.add(index)
        for part in as_list(as_dict(candidate.get("content")).get("parts")):
            yield from self._read_part(as_dict(part), index, data)
        shown: dict[str, Any] = {name: candidate[name] for name in _SHOWN if candidate.get(name)}
        logprobs = _read_logprobs(as_dict(candidate.get("logprobsResult")))
        if logprobs:
            shown["logprobs"] = {"content": logprobs}
        if shown:
            yield _show(index, {}, shown)
        raw = as_text(candidate.get("finishReason"))
        if raw and raw != "FINISH_REASON_UNSPECIFIED":
            yield from self._finish(REASONS.get(raw, "stop"), index, raw)

    def _finish(self, reason: str, index: int, raw: str) -> Iterator[Event]:
        if index in self._finished:
            return
        self._finished.add(index)
        calling = reason == "stop" and index in self._calls
        yield Finish("tool_calls" if calling else reason, index, raw)

    def _read_part(self, part: dict[str, Any], index: int, data: bytes) -> Iterator[Event]:
        text, seal = as_text(part.get("text")), as_text(part.get("thoughtSignature"))
        call = part.get("functionCall")
        media = as_dict(part.get("inlineData"))
        if isinstance(call, dict):
            yield self._read_call(call, seal, index, data)
            return
        if part.get("thought") is True:
            if text or seal:
                yield Reasoning(text or "", index, signature=_tag(seal))
            return
        if text:
            yield Text(text, index)
        elif media.get("data"):
            url = f"data:{media.get('mimeType') or 'image/png'};base64,{media['data']}"
            yield _show(index, {"images": [{"type": "image_url", "image_url": {"url": url}}]}, {})
        elif text is None and part.keys() - {"thoughtSignature"}:
            yield Opaque(DIALECT, {"index": index, "part": part})
        if seal:
            yield Reasoning("", index, signature=_tag(seal))

    def _read_call(self, call: dict[str, Any], seal: str | None, index: int, data: bytes) -> ToolCall:
        """Calls come whole; models before 3 give them no id."""
        name = as_text(call.get("name"))
        if not name:
            raise ValueError("a function call without a name")
        number = self._calls.get(index, 0)
        self._calls[index] = number + 1
        return ToolCall(
            number,
            arguments=orjson.dumps(as_dict(call.get("args"))).decode(),
            id=as_text(call.get("id")) or _make_id(data, index, number),
            name=name,
            index=index,
            signature=seal,
        )


def _tag(seal: str | None) -> str | None:
    return None if seal is None else SEALED + seal


def _show(index: int, delta: dict[str, Any], fields: dict[str, Any]) -> Opaque:
    return Opaque(CHAT, {"choices": [{"index": index, "delta": delta, **fields}]})


def _make_id(data: bytes, index: int, number: int) -> str:
    """An id for a call that came without one: the same for the same bytes, which hold the answer's own id."""
    return "call_" + hashlib.blake2s(b"%d %d %s" % (index, number, data), digest_size=12).hexdigest()


def _read_logprobs(result: dict[str, Any]) -> list[dict[str, Any]]:
    """``logprobsResult`` as OpenAI has it."""
    tops = [as_list(as_dict(top).get("candidates")) for top in as_list(result.get("topCandidates"))]
    read = []
    for at, chosen in enumerate(as_list(result.get("chosenCandidates"))):
        top = tops[at] if at < len(tops) else []
        read.append({**_read_token(as_dict(chosen)), "top_logprobs": [_read_token(as_dict(one)) for one in top]})
    return read


def _read_token(token: dict[str, Any]) -> dict[str, Any]:
    text = as_text(token.get("token")) or ""
    return {"token": text, "logprob": token.get("logProbability", 0.0), "bytes": list(text.encode("utf-8", "replace"))}


def _read_time(text: str | None) -> int | None:
    """``createTime`` (Vertex only; RFC 3339) in Unix seconds."""
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return int(moment.timestamp()) if moment.tzinfo is not None else None
