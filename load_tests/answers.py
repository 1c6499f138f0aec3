"""What the mock upstream says, as bytes, and how a request asks for it.

The request's `model` chooses: `unary`, `burst-<chunks>` (as fast as the reader takes them) or
`paced-<chunks per second>-<chunks>`. A usage event is sent only if `stream_options.include_usage` asks for it, as
OpenAI does; then every other chunk carries `"usage": null`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import orjson

CHUNK_SIZE = 294
"""Bytes of one chat chunk event with its blank line, about what gpt-4o-mini sends."""
STAMP_SIZE = 16
STAMP_MARK = b'"content":"'
"""A chunk's content is its time of sending: CLOCK_MONOTONIC in ns, 16 hexadecimal digits."""
DONE = b"data: [DONE]\n\n"
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"

_OPENING = (
    b'data: {"id":"chatcmpl-load0123456789abcdefghijk","object":"chat.completion.chunk","created":1760000000,'
    b'"model":"gpt-4o-mini","choices":['
)


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer to give: `rate` is chunks per second (0: unpaced), `usage` whether the usage event was asked for."""

    kind: Literal["unary", "burst", "paced"]
    chunks: int = 0
    rate: int = 0
    usage: bool = False

    @property
    def events(self) -> int:
        """Events of the whole stream: the chunks, the finish chunk, the usage event if asked for, and `[DONE]`."""
        return self.chunks + 2 + self.usage


def read_model(model: str, usage: bool) -> Answer:
    """The answer a model name stands for; ValueError for a name that means nothing."""
    match model.split("-"):
        case ["unary"]:
            return Answer("unary")
        case ["burst", chunks] if int(chunks) > 0:
            return Answer("burst", int(chunks), 0, usage)
        case ["paced", rate, chunks] if int(chunks) > 0 and 0 < int(rate) <= 1000:
            return Answer("paced", int(chunks), int(rate), usage)
    raise ValueError(f"unknown model {model!r}")


@lru_cache(maxsize=4096)
def read_request(body: bytes) -> Answer:
    """The answer a chat request asks for; ValueError if it is no JSON or its model and `stream` mean nothing here."""
    fields: dict[str, Any] = orjson.loads(body)
    options = fields.get("stream_options") or {}
    answer = read_model(str(fields.get("model")), options.get("include_usage") is True)
    if (fields.get("stream") is True) != (answer.kind != "unary"):
        raise ValueError(f"model {fields['model']!r} does not go with stream {fields.get('stream')!r}")
    return answer


def write_request(answer: Answer) -> bytes:
    """The chat request that asks for `answer`."""
    model: str = answer.kind
    if answer.kind == "burst":
        model += f"-{answer.chunks}"
    elif answer.kind == "paced":
        model += f"-{answer.rate}-{answer.chunks}"
    fields: dict[str, Any] = {
        "model": model,
        "messages": [
            {"role": "system", "content": "You are a helpful assistant."},
            {"role": "user", "content": "Tell me about the sea. " * 8},
        ],
    }
    if answer.kind != "unary":
        fields["stream"] = True
    if answer.usage:
        fields["stream_options"] = {"include_usage": True}
    return orjson.dumps(fields)


def frame_chunked(data: bytes) -> bytes:
    """`data` as one chunk of a chunked HTTP body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


@lru_cache
def split_chunk(usage: bool) -> tuple[bytes, bytes]:
    """One framed chunk event, cut where its stamp goes."""
    start = _OPENING + b'{"index":0,"delta":{' + STAMP_MARK
    end = b'"},"logprobs":null,"finish_reason":null}]' + (b',"usage":null' if usage else b"")
    padding = CHUNK_SIZE - len(start) - STAMP_SIZE - len(end) - len(b',"obfuscation":""}\n\n')
    end += b',"obfuscation":"%b"}\n\n' % (b"x" * padding)
    return b"%x\r\n%b" % (CHUNK_SIZE, start), end + b"\r\n"


@lru_cache
def make_block(chunks: int, usage: bool) -> bytes:
    """`chunks` framed chunk events with empty stamps."""
    start, end = split_chunk(usage)
    return (start + b"0" * STAMP_SIZE + end) * chunks


@lru_cache
def make_end(usage: bool) -> bytes:
    """The framed rest of a stream: finish chunk, usage event if asked for, `[DONE]`, and the body's end."""
    null = b',"usage":null' if usage else b""
    end = frame_chunked(
        _OPENING + b'{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}]' + null + b"}\n\n",
    )
    if usage:
        counts = b'{"prompt_tokens":52,"completion_tokens":64,"total_tokens":116}'
        end += frame_chunked(_OPENING + b'],"usage":' + counts + b"}\n\n")
    return end + frame_chunked(DONE) + b"0\r\n\r\n"


def make_reply(status: str, body: bytes) -> bytes:
    """A whole JSON answer with its head; `status` is code and reason."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


UNARY = make_reply(
    "200 OK",
    orjson.dumps(
        {
            "id": "chatcmpl-load0123456789abcdefghijk",
            "object": "chat.completion",
            "created": 1760000000,
            "model": "gpt-4o-mini",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": "The sea is wide and deep. " * 12, "refusal": None},
                    "logprobs": None,
                    "finish_reason": "stop",
                },
            ],
            "usage": {"prompt_tokens": 52, "completion_tokens": 64, "total_tokens": 116},
        },
    ),
)
