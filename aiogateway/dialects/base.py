"""What dialects have in common: events of JSON, and a translating half that may be missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiogateway.contracts import MAX_EVENT, Decoder, Encoder, Splitter
from aiogateway.dialects.failures import write_error_body
from aiogateway.dialects.payload import parse_object
from aiogateway.errors import GatewayError, Unsupported, UpstreamStatus
from aiogateway.neutral import Envelope, Event, NeutralRequest, Written
from aiogateway.types import Endpoint, Usage
from aiogateway.wire import sse


class BaseDialect:
    """A dialect of server-sent events that carry JSON; override what differs.

    A dialect that leaves the translating half out serves clients and providers that both speak it. One whose streams
    are not SSE overrides `media_type`, `splitter`, `frame_end` and `data_of`.
    """

    name: str
    endpoint: Endpoint
    finish_marks: tuple[bytes, ...] = ()
    done: bytes = b""
    media_type: str = "text/event-stream"
    resumable: bool = False
    usage_marks: tuple[bytes, ...] = ()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    # --- what same-dialect streams need ---

    def splitter(self, max_event: int = MAX_EVENT) -> Splitter:
        return sse.Splitter(max_event)

    def frame_end(self, data: bytes, start: int) -> int:
        return sse.frame_end(data, start)

    def data_of(self, frame: bytes) -> bytes:
        """A frame's payload; empty when it has none."""
        return sse.data_of(frame)

    def is_keepalive(self, frame: bytes) -> bool:
        return not self.data_of(frame)

    def is_malformed(self, frame: bytes) -> bool:
        data = self.data_of(frame).strip()
        if not data or (self.done and data == self.data_of(self.done)):
            return False
        try:
            parse_object(data)
        except ValueError:
            return True
        return False

    def is_usage_only(self, frame: bytes) -> bool:
        return False

    def read_failure(self, frame: bytes) -> UpstreamStatus | None:
        return None

    def read_body_failure(self, body: bytes) -> UpstreamStatus | None:
        return None

    def read_usage(self, tail: bytes) -> Usage | None:
        return None

    def write_failure(self, error: GatewayError) -> bytes:
        return sse.frame(self.write_error(error), "error")

    def write_error(self, error: GatewayError) -> bytes:
        """The shape that Portkey's and OpenAI's clients both read."""
        return write_error_body(error)

    # --- translation ---

    def read_request(self, body: Mapping[str, Any]) -> NeutralRequest:
        raise self._refuse()

    def write_request(self, request: NeutralRequest) -> Written:
        raise self._refuse()

    def read_answer(self, body: bytes) -> Sequence[Event]:
        raise self._refuse()

    def write_answer(self, events: Sequence[Event], envelope: Envelope) -> bytes:
        raise self._refuse()

    def decoder(self) -> Decoder:
        raise self._refuse()

    def encoder(self, envelope: Envelope) -> Encoder:
        raise self._refuse()

    def _refuse(self) -> Unsupported:
        return Unsupported(f"{self.name} can't be translated to or from another wire format here")
