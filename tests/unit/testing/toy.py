"""A small wire of our own, a provider that speaks it, and its recordings: the sound specimen that tests then break.

A line is ``{"say": text}``, ``{"call": name, "id": id, "with": {...}}``, ``{"end": reason, "counts": [in, out]}`` or
``{"fail": message}``; a unary answer is one line of ``{"lines": [...]}``, embeddings are ``{"vectors": [[...]]}``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from aiogateway.contracts import MAX_EVENT, Decoder, Splitter
from aiogateway.dialects.base import BaseDialect
from aiogateway.dialects.payload import parse_object
from aiogateway.errors import UpstreamStatus
from aiogateway.neutral import (
    Begin,
    ChatRequest,
    EmbedRequest,
    Event,
    Failure,
    Finish,
    NeutralRequest,
    Text,
    ToolCall,
    UsageReport,
    Vectors,
    Written,
)
from aiogateway.providers.base import BaseProvider
from aiogateway.types import Capability, Endpoint, Headers, Route, Usage
from aiogateway.wire import ndjson


class ToyDecoder:
    """Lines to events."""

    def __init__(self) -> None:
        self.calls = 0

    def feed(self, frame: bytes) -> Iterable[Event]:
        line = frame.strip()
        return self.read(parse_object(line)) if line else []

    def read(self, line: Mapping[str, Any]) -> list[Event]:
        if "lines" in line:
            return [Begin(model="toy"), *(event for part in line["lines"] for event in self.read(part))]
        if "say" in line:
            return [Text(line["say"])]
        if "call" in line:
            self.calls += 1
            return [ToolCall(self.calls - 1, orjson.dumps(line["with"]).decode(), line["id"], line["call"])]
        if "fail" in line:
            return [Failure(UpstreamStatus(line["fail"], status=502))]
        if "vectors" in line:
            return [Vectors(tuple(tuple(vector) for vector in line["vectors"])), *_count(line)]
        if "end" in line:
            return [Finish(line["end"]), *_count(line)]
        raise ValueError("no such line")


def _count(line: Mapping[str, Any]) -> list[Event]:
    return [UsageReport(Usage(input=line["counts"][0], output=line["counts"][1]))] if "counts" in line else []


class ToyDialect(BaseDialect):
    name = "toy"
    endpoint = Endpoint.CHAT
    finish_marks: tuple[bytes, ...] = (b'"end"',)
    media_type = "application/x-ndjson"

    def splitter(self, max_event: int = MAX_EVENT) -> Splitter:
        return ndjson.Splitter(max_event)

    def frame_end(self, data: bytes, start: int) -> int:
        return data.find(b"\n", start) + 1

    def data_of(self, frame: bytes) -> bytes:
        return ndjson.data_of(frame)

    def read_failure(self, frame: bytes) -> UpstreamStatus | None:
        message = parse_object(frame).get("fail")
        return UpstreamStatus(message, status=502) if message else None

    def read_body_failure(self, body: bytes) -> UpstreamStatus | None:
        return self.read_failure(body)

    def read_usage(self, tail: bytes) -> Usage | None:
        counts = b'"counts":'
        if counts not in tail:
            return None
        given, taken = orjson.loads(tail.rpartition(counts)[2].partition(b"]")[0] + b"]")
        return Usage(input=given, output=taken)

    def write_request(self, request: NeutralRequest) -> Written:
        kept: dict[str, Any] = {"model": request.model}
        if isinstance(request, ChatRequest):
            kept["stream"] = request.stream
        if isinstance(request, EmbedRequest):
            kept["inputs"] = request.inputs
        return Written(kept, tuple(request.extra))

    def read_answer(self, body: bytes) -> Sequence[Event]:
        return list(self.decoder().feed(body))

    def decoder(self) -> Decoder:
        return ToyDecoder()


class ToyProvider(BaseProvider):
    name = "toy"
    base_url = "http://127.0.0.1:9"
    capabilities = frozenset(
        {Capability.STREAM, Capability.USAGE, Capability.TOOLS, Capability.PARALLEL_TOOLS, Capability.EMBEDDINGS}
    )
    routes: Mapping[Endpoint, Route] = {
        Endpoint.CHAT: Route("toy", "/chat"),
        Endpoint.EMBEDDINGS: Route("toy", "/embed"),
        Endpoint.COMPLETIONS: Route("openai_completions", "/completions"),
    }

    def read_error(self, status: int, headers: Headers, body: bytes) -> UpstreamStatus:
        return super().read_error(status, headers, body)


SKIPS = {
    "stream_usage": "counts always come",
    "images": "blind",
    "structured_output": "not offered",
    "reasoning": "not offered",
    "prefill": "not offered",
}

CHAT = 'endpoint: chat/completions\nrequest: {"model": "toy", "messages": [{"role": "user", "content": "x"}]%s}\n'
STREAM = CHAT % ', "stream": true'
UNARY = CHAT % ""
EMBED = 'endpoint: embeddings\nrequest: {"model": "toy", "input": ["a", "b"]}\n'
TEXTS = 'endpoint: completions\nrequest: {"model": "toy", "prompt": "x", "stream": true}\n'
FILES = {
    "stream": STREAM
    + 'text: "hé!"\nfinish: stop\nusage: 3 2\n\n{"say":"h"}\n{"say":"é!"}\n{"end":"stop","counts":[3,2]}\n',
    "tools": UNARY
    + 'finish: tool_calls\n\n{"lines":[{"call":"f","id":"a","with":{"x":1}},{"call":"g","id":"b","with":{}},'
    '{"end":"tool_calls","counts":[3,2]}]}\n',
    "vectors": EMBED + '\n{"vectors":[[0.5],[1.0]],"counts":[4,0]}',
    "uncounted": UNARY + 'usage: absent\n\n{"lines":[{"say":"h"},{"end":"stop"}]}',
    "passed": TEXTS + '\ndata: {"choices":[{"index":0,"text":"h","finish_reason":"stop"}],'
    '"usage":{"prompt_tokens":1,"completion_tokens":1}}\n\ndata: [DONE]\n\n',
    "refused": UNARY
    + "status: 429\nerror: 429 slow down\nerror-type: busy\nerror-code: 7\n\n"
    + '{"error":{"message":"slow down","type":"busy","code":7}}',
    "broken": STREAM + 'error: 502 out of ink\n\n{"say":"h"}\n{"fail":"out of ink"}\n',
    "empty": UNARY + 'error: 502 out of ink\n\n{"fail":"out of ink"}',
}


def write_recordings(folder: Path, files: Mapping[str, str] = FILES) -> Path:
    for name, text in files.items():
        (folder / f"{name}.rec").write_bytes(f"# made up for this test\n{text}".encode())
    return folder
