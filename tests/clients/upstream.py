"""A scripted OpenAI-shaped server on loopback, for SDKs that are driven through the gateway.

It runs an asyncio server on a thread of its own, so that synchronous clients can use it too, and needs nothing but
the standard library: the SDK environments hold SDKs and no server. It answers the handful of endpoints the suites
call (shapes from OpenAI's published API reference), remembers every request it saw, and misbehaves on command
(``Upstream.fault``).
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import struct
import threading
from dataclasses import dataclass
from enum import Enum
from typing import Any

TOKENS = ("Ahoy", ", I", " am", " a", " ga", "teway", " — ", "arr", "!")
TEXT = "".join(TOKENS)
USAGE = {"prompt_tokens": 7, "completion_tokens": 9, "total_tokens": 16}
BINARY = bytes(range(256)) * 64
MODELS = ("gpt-4o-mini", "text-embedding-3-small")
TOOL_ARGUMENTS = ('{"city"', ': "Wells', 'ey"}')


class Fault(Enum):
    """What goes wrong with the next answers, until the test ends."""

    CUT = "the connection is reset after four tokens"
    EARLY_END = "the stream ends after four tokens, well framed but without a finish reason or [DONE]"
    ERROR_EVENT = "an error event after four tokens"
    STALL = "silence after two tokens, until the peer goes away"
    SILENT = "no answer at all, until the peer goes away"
    RATE_LIMIT = "429 with retry-after: 7"
    BAD_REQUEST = "400 with OpenAI's envelope"
    UNAVAILABLE = "503"


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as it arrived. Header names are lower case; ``path`` includes the query."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Upstream:
    """The server. ``url`` ends in ``/v1``; ``seen`` grows with every request; ``left`` is set when a peer hangs up
    in the middle of an answer."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.fault: Fault | None = None
        self.left = threading.Event()
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="upstream", daemon=True)
        self._peers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server  # once started

    def start(self) -> None:
        self._thread.start()
        starting = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._serve, "127.0.0.1", 0), self._loop)
        self._server = starting.result(10)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/v1"

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._hang_up(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _hang_up(self) -> None:
        self._server.close()
        serving = asyncio.all_tasks() - {asyncio.current_task()}
        for peer in self._peers:
            peer.transport.abort()
        await asyncio.gather(*serving, return_exceptions=True)

    def reset(self) -> None:
        """Forget the previous test."""
        self.seen.clear()
        self.fault = None
        self.left.clear()

    @property
    def last(self) -> Seen:
        return self.seen[-1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._peers.add(writer)
        try:
            while (seen := await _read_request(reader)) is not None:
                self.seen.append(seen)
                if not await Answer(seen, self.fault, reader, writer, self.left).send():
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            self.left.set()
        finally:
            self._peers.discard(writer)
            writer.close()


class Answer:
    """One answer being written. ``send`` says whether the connection can serve another request."""

    def __init__(
        self,
        seen: Seen,
        fault: Fault | None,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        left: threading.Event,
    ) -> None:
        self.seen, self.fault, self.reader, self.writer, self.left = seen, fault, reader, writer, left

    async def send(self) -> bool:
        if self.fault is Fault.SILENT:
            return await self._wait_for_goodbye()
        refusal = _REFUSALS.get(self.fault) if self.fault else None
        if refusal is not None:
            return await self._unary(*refusal)
        path = self.seen.path.partition("?")[0].removeprefix("/v1")
        if path == "/files" and self.seen.method == "POST":
            return await self._unary(200, {}, _file(self.seen))
        if path.endswith("/content"):
            return await self._bytes(200, {"content-type": "application/octet-stream"}, BINARY)
        if path == "/models":
            return await self._unary(200, {}, {"object": "list", "data": [_model(name) for name in MODELS]})
        if path in _INFERENCE:
            unary, events = _INFERENCE[path]
            body = self.seen.json
            if body.get("stream"):
                return await self._stream(events(body))
            return await self._unary(200, {}, unary(body))
        return await self._unary(404, {}, _error(f"Unknown request URL: {self.seen.method} {path}", "unknown_url"))

    async def _unary(self, status: int, headers: dict[str, str], body: dict[str, Any]) -> bool:
        return await self._bytes(status, {"content-type": "application/json"} | headers, json.dumps(body).encode())

    async def _bytes(self, status: int, headers: dict[str, str], body: bytes) -> bool:
        self._head(status, headers | {"content-length": str(len(body))})
        self.writer.write(body)
        await self.writer.drain()
        return True

    async def _stream(self, events: list[bytes]) -> bool:
        self._head(200, {"content-type": "text/event-stream; charset=utf-8", "transfer-encoding": "chunked"})
        faulty = {Fault.CUT: 4, Fault.EARLY_END: 4, Fault.ERROR_EVENT: 4, Fault.STALL: 2}
        stop = faulty.get(self.fault, len(events)) if self.fault else len(events)
        for event in events[:stop]:
            self._chunk(event)
            await self.writer.drain()
        if self.fault is Fault.STALL:
            return await self._wait_for_goodbye()
        if self.fault is Fault.CUT:
            self.writer.transport.abort()
            return False
        if self.fault is Fault.ERROR_EVENT:
            self._chunk(_data(_error("The server is overloaded", "overloaded", kind="server_error")))
        self.writer.write(b"0\r\n\r\n")
        await self.writer.drain()
        return True

    async def _wait_for_goodbye(self) -> bool:
        with contextlib.suppress(ConnectionError):
            await self.reader.read(1)
        self.left.set()
        return False

    def _head(self, status: int, headers: dict[str, str]) -> None:
        ours = {"x-request-id": "req_upstream", "openai-processing-ms": "12", "x-ratelimit-remaining-requests": "99"}
        lines = [f"HTTP/1.1 {status} Scripted", *(f"{name}: {value}" for name, value in (ours | headers).items())]
        self.writer.write("\r\n".join([*lines, "", ""]).encode())

    def _chunk(self, payload: bytes) -> None:
        self.writer.write(b"%x\r\n%s\r\n" % (len(payload), payload))


async def _read_request(reader: asyncio.StreamReader) -> Seen | None:
    """The next request of a connection, or None when the peer closed it between two requests."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    start, *lines = head.decode("latin-1").rstrip().split("\r\n")
    method, path, _ = start.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = b"".join([piece async for piece in _chunks(reader)])
    else:
        body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Seen(method, path, headers, body)


async def _chunks(reader: asyncio.StreamReader) -> Any:
    while size := int(await reader.readline(), 16):
        yield await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readline()


def _data(event: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(event, ensure_ascii=False).encode() + b"\n\n"


def _error(message: str, code: str, kind: str = "invalid_request_error") -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


_REFUSALS: dict[Fault, tuple[int, dict[str, str], dict[str, Any]]] = {
    Fault.RATE_LIMIT: (429, {"retry-after": "7"}, _error("Slow down", "rate_limit_exceeded", kind="requests")),
    Fault.BAD_REQUEST: (400, {}, _error("Your prompt is too long", "context_length_exceeded")),
    Fault.UNAVAILABLE: (503, {}, _error("Try later", "overloaded", kind="server_error")),
}


# ------------------------------------------------------------------ what OpenAI's endpoints answer


def _envelope(kind: str, body: dict[str, Any]) -> dict[str, Any]:
    return {"id": "chatcmpl-upstream", "object": kind, "created": 1_760_000_000, "model": body["model"]}


def _tool_call(**function: str) -> dict[str, Any]:
    return {"index": 0, "id": "call_1", "type": "function", "function": function}


def _chat(body: dict[str, Any]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": TEXT}
    finish = "stop"
    if body.get("tools"):
        call = _tool_call(name="weather", arguments="".join(TOOL_ARGUMENTS))
        message, finish = {"role": "assistant", "content": None, "tool_calls": [call]}, "tool_calls"
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return _envelope("chat.completion", body) | {"choices": [choice], "usage": USAGE}


def _chat_events(body: dict[str, Any]) -> list[bytes]:
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    finish = "stop"
    if body.get("tools"):
        finish = "tool_calls"
        deltas.append({"tool_calls": [_tool_call(name="weather", arguments="")]})
        deltas += [{"tool_calls": [{"index": 0, "function": {"arguments": part}}]} for part in TOOL_ARGUMENTS]
    else:
        deltas += [{"content": token} for token in TOKENS]
    choices: list[dict[str, Any]] = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    choices.append({"index": 0, "delta": {}, "finish_reason": finish})
    # With include_usage OpenAI also puts `"usage": null` into every chunk but the last.
    counted = bool((body.get("stream_options") or {}).get("include_usage"))
    rest: dict[str, Any] = {"usage": None} if counted else {}
    envelope = _envelope("chat.completion.chunk", body)
    events = [_data(envelope | {"choices": [choice]} | rest) for choice in choices]
    if counted:
        events.append(_data(envelope | {"choices": [], "usage": USAGE}))
    return [*events, b"data: [DONE]\n\n"]


def _text(body: dict[str, Any]) -> dict[str, Any]:
    choice = {"index": 0, "text": TEXT, "logprobs": None, "finish_reason": "stop"}
    return _envelope("text_completion", body) | {"choices": [choice], "usage": USAGE}


def _text_events(body: dict[str, Any]) -> list[bytes]:
    choices = [{"index": 0, "text": token, "logprobs": None, "finish_reason": None} for token in TOKENS]
    choices.append({"index": 0, "text": "", "logprobs": None, "finish_reason": "stop"})
    events = [_data(_envelope("text_completion", body) | {"choices": [choice]}) for choice in choices]
    return [*events, b"data: [DONE]\n\n"]


def _embeddings(body: dict[str, Any]) -> dict[str, Any]:
    """Floats, or base64 of little-endian float32 as the SDKs ask for."""
    vector: object = [0.25, -0.5, 1.0]
    if body.get("encoding_format") == "base64":
        vector = base64.b64encode(struct.pack("<3f", 0.25, -0.5, 1.0)).decode()
    texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
    data = [{"object": "embedding", "index": index, "embedding": vector} for index, _ in enumerate(texts)]
    return {"object": "list", "model": body["model"], "data": data, "usage": {"prompt_tokens": 3, "total_tokens": 3}}


def _response(body: dict[str, Any], status: str = "completed") -> dict[str, Any]:
    part = {"type": "output_text", "text": TEXT, "annotations": [], "logprobs": []}
    item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
    done = status == "completed"
    usage = {
        "input_tokens": 7,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 9,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 16,
    }
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1_760_000_000,
        "status": status,
        "model": body["model"],
        "output": [item] if done else [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": usage if done else None,
    }


def _response_events(body: dict[str, Any]) -> list[bytes]:
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    events: list[dict[str, Any]] = [{"type": "response.created", "response": _response(body, "in_progress")}]
    events += [{"type": "response.output_text.delta", "delta": token, "logprobs": [], **place} for token in TOKENS]
    events.append({"type": "response.output_text.done", "text": TEXT, "logprobs": [], **place})
    events.append({"type": "response.completed", "response": _response(body)})
    return [
        b"event: %s\n%s" % (event["type"].encode(), _data(event | {"sequence_number": number}))
        for number, event in enumerate(events)
    ]


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 1_700_000_000, "owned_by": "openai"}


def _file(seen: Seen) -> dict[str, Any]:
    return {
        "id": "file-1",
        "object": "file",
        "bytes": len(seen.body),
        "created_at": 1_760_000_000,
        "filename": "notes.bin",
        "purpose": "batch",
        "status": "processed",
    }


_INFERENCE: dict[str, tuple[Any, Any]] = {
    "/chat/completions": (_chat, _chat_events),
    "/completions": (_text, _text_events),
    "/embeddings": (_embeddings, lambda body: [_data(_embeddings(body))]),
    "/responses": (_response, _response_events),
}
