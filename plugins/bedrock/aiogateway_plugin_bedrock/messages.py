"""Claude's own wire on Bedrock: InvokeModel takes and gives Anthropic's messages.

The body has ``anthropic_version`` and names neither model nor streaming; a stream's frames hold Anthropic's events in
base64. Sources: "Anthropic Claude Messages API", Amazon Bedrock user guide; ``PayloadPart`` in the service model;
``lib/bedrock/_stream_decoder.py`` in anthropic-sdk-python.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Sequence

import orjson

from aiogateway.contracts import Decoder
from aiogateway.dialects.anthropic import Anthropic
from aiogateway.dialects.payload import as_text, parse_object
from aiogateway.errors import UpstreamStatus
from aiogateway.neutral import Event, Failure, NeutralRequest, Written
from aiogateway.types import Endpoint, Usage
from aiogateway.wire import sse
from aiogateway_plugin_bedrock.failures import find_failure
from aiogateway_plugin_bedrock.frames import Frame, read_frame
from aiogateway_plugin_bedrock.stream import BedrockDialect, find_frames

VERSION = "bedrock-2023-05-31"
_METRICS = "amazon-bedrock-invocationMetrics"
_INNER = Anthropic()


class BedrockAnthropic(BedrockDialect):
    """Anthropic's dialect in Bedrock's envelope."""

    name = "bedrock_anthropic"
    endpoint = Endpoint.MESSAGES
    finish_marks = (base64.b64encode(b'{"type":"message_stop'),)  # 21 bytes, so the base64 ends where they do

    def is_keepalive(self, frame: bytes) -> bool:
        try:
            message = read_frame(frame)
            return message.kind == "event" and (not message.payload or _INNER.is_keepalive(unwrap(message)))
        except ValueError:
            return False

    def is_malformed(self, frame: bytes) -> bool:
        try:
            message = read_frame(frame)
            return message.kind == "event" and _INNER.is_malformed(unwrap(message))
        except ValueError:
            return True

    def read_failure(self, frame: bytes) -> UpstreamStatus | None:
        failure = super().read_failure(frame)
        if failure is not None:
            return failure
        try:
            return _INNER.read_failure(unwrap(read_frame(frame)))
        except ValueError:
            return None

    def read_body_failure(self, body: bytes) -> UpstreamStatus | None:
        return super().read_body_failure(body) or _INNER.read_body_failure(body)

    def read_usage(self, tail: bytes) -> Usage | None:
        """From a unary body, or from the last events of a stream."""
        if tail.lstrip().startswith(b"{"):
            return _INNER.read_usage(tail)
        events = []
        for frame in find_frames(tail):
            try:
                events.append(unwrap(frame))
            except ValueError:
                continue
        return _INNER.read_usage(b"".join(events))

    def write_request(self, request: NeutralRequest) -> Written:
        written = _INNER.write_request(request)
        body = {name: value for name, value in written.body.items() if name not in ("model", "stream")}
        beta = body.get("anthropic_beta")
        if isinstance(beta, str):
            body["anthropic_beta"] = split_flags(beta)
        return Written({**body, "anthropic_version": VERSION}, written.dropped)

    def read_answer(self, body: bytes) -> Sequence[Event]:
        failure = super().read_body_failure(body)
        return [Failure(failure)] if failure is not None else _INNER.read_answer(body)

    def decoder(self) -> Decoder:
        return MessagesDecoder()


class MessagesDecoder:
    """One stream's frames to events."""

    def __init__(self) -> None:
        self._inner = _INNER.decoder()

    def feed(self, frame: bytes) -> Iterable[Event]:
        """Raises ValueError for a malformed frame."""
        message = read_frame(frame)
        failure = find_failure(message)
        return (Failure(failure),) if failure is not None else self._inner.feed(unwrap(message))


def unwrap(frame: Frame) -> bytes:
    """The event in a ``chunk`` frame, as Anthropic sends it itself. Raises ValueError for anything else."""
    payload = parse_object(frame.payload)
    data = as_text(payload.get("bytes"))
    if data is None and isinstance(payload.get("type"), str):
        event = frame.payload  # bare, as emulators send it
    elif data is None:
        raise ValueError("a frame without an event in it")
    else:
        try:
            event = base64.b64decode(data, validate=True)
        except binascii.Error as error:
            raise ValueError("an event that is not base64") from error
    if _METRICS.encode() in event:  # Bedrock's own, in the last event
        event = orjson.dumps({name: value for name, value in parse_object(event).items() if name != _METRICS})
    return sse.frame(event, as_text(parse_object(event).get("type")))


def split_flags(value: str) -> list[str]:
    """A header's list."""
    return [flag.strip() for flag in value.split(",") if flag.strip()]
