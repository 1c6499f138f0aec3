"""How a recording shows that a provider can do what it lists."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ..neutral import Event, Reasoning, ToolCall
from ..types import Capability, Endpoint
from .recordings import Recording

Proof = Callable[[Recording, tuple[Event, ...]], bool]


def _has_image(recording: Recording) -> bool:
    messages: Iterable[Any] = recording.request.get("messages") or ()
    contents = [message.get("content") for message in messages]
    parts = [part for content in contents if isinstance(content, list) for part in content]
    return any(part.get("type") == "image_url" for part in parts)


def _holds(*kinds: type[Event]) -> Proof:
    return lambda _, events: any(isinstance(event, kinds) for event in events)


def _count_calls(events: Iterable[Event]) -> int:
    return len({event.call for event in events if isinstance(event, ToolCall)})


PROOFS: dict[Capability, Proof] = {
    Capability.STREAM: lambda recording, _: recording.stream,
    Capability.STREAM_USAGE: lambda recording, _: recording.stream and not recording.usage_absent,
    Capability.TOOLS: _holds(ToolCall),
    Capability.PARALLEL_TOOLS: lambda _, events: _count_calls(events) > 1,
    Capability.IMAGES: lambda recording, _: _has_image(recording),
    Capability.STRUCTURED_OUTPUT: lambda recording, _: "response_format" in recording.request,
    Capability.REASONING: _holds(Reasoning),
    Capability.EMBEDDINGS: lambda recording, _: recording.endpoint is Endpoint.EMBEDDINGS,
    Capability.USAGE: lambda recording, _: not recording.stream and not recording.usage_absent,
    Capability.PREFILL: lambda recording, _: (recording.request.get("messages") or [{}])[-1].get("role") == "assistant",
}
