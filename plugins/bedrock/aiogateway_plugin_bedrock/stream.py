"""What Bedrock's dialects have in common: JSON whole, and the same in the frames of an event stream."""

from __future__ import annotations

import re
from collections.abc import Iterator

from aiogateway.contracts import MAX_EVENT
from aiogateway.dialects.base import BaseDialect
from aiogateway.dialects.payload import parse_object
from aiogateway.errors import GatewayError, UpstreamStatus
from aiogateway_plugin_bedrock.failures import find_body_failure, find_failure, write_error, write_failure
from aiogateway_plugin_bedrock.frames import (
    MEDIA_TYPE,
    PRELUDE,
    EventStreamSplitter,
    Frame,
    begins_frame,
    find_end,
    read_frame,
)

_NO_STREAM = "bedrock sent bytes that are no event stream"
_FIRST = re.compile(rb"\x0b:event-type|\x0f:exception-type|\x0d:message-type")  # of a frame's headers


class BedrockDialect(BaseDialect):
    """Bedrock's wire without what an operation means."""

    media_type = MEDIA_TYPE

    def splitter(self, max_event: int = MAX_EVENT) -> EventStreamSplitter:
        return EventStreamSplitter(max_event)

    def frame_end(self, data: bytes, start: int) -> int:
        return find_end(data, start)

    def data_of(self, frame: bytes) -> bytes:
        return read_frame(frame).payload

    def is_keepalive(self, frame: bytes) -> bool:
        """A frame that opens the stream carries no answer yet, and an exception may still follow it."""
        try:
            return read_frame(frame).name in ("messageStart", "initial-response")
        except ValueError:
            return False

    def is_malformed(self, frame: bytes) -> bool:
        try:
            parse_object(read_frame(frame).payload)
        except ValueError:
            return True
        return False

    def read_failure(self, frame: bytes) -> UpstreamStatus | None:
        try:
            return find_failure(read_frame(frame))
        except ValueError:
            return UpstreamStatus(_NO_STREAM, status=502)

    def read_body_failure(self, body: bytes) -> UpstreamStatus | None:
        try:
            return find_body_failure(parse_object(body))
        except ValueError:
            return None

    def write_failure(self, error: GatewayError) -> bytes:
        return write_failure(error)

    def write_error(self, error: GatewayError) -> bytes:
        return write_error(error)


def find_frames(tail: bytes) -> Iterator[Frame]:
    """The whole frames in a stream's last bytes, which may begin inside one."""
    places = (found.start() - PRELUDE for found in _FIRST.finditer(tail))
    start = next((place for place in places if place >= 0 and begins_frame(tail, place)), len(tail))
    while end := find_end(tail, start):
        try:
            yield read_frame(tail[start:end])
        except ValueError:
            return
        start = end
