"""Mistral's chat where models think: OpenAI's wire, with thoughts as parts of a message's content.

Facts: ``ThinkChunk`` and ``AssistantMessage`` in the openapi.yaml of Mistral's documentation, and its page "Reasoning":
``"content": [{"type": "thinking", "thinking": [{"type": "text", "text": …}]}, {"type": "text", "text": …}]``. Models
that don't think speak plain `openai_chat`, which reads such content too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiogateway.dialects.openai_chat import OpenAIChat
from aiogateway.neutral import NeutralRequest, Written


class MistralChat(OpenAIChat):
    """Neutral chats out, chunks in; no client speaks it to the gateway."""

    name = "mistral_chat"

    def write_request(self, request: NeutralRequest) -> Written:
        written = super().write_request(request)
        messages = written.body["messages"]
        seals = ("messages.thinking_blocks",) if any(message.get("thinking_blocks") for message in messages) else ()
        return Written({**written.body, "messages": list(map(_gather, messages))}, (*written.dropped, *seals))


def _gather(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """An assistant's thoughts as parts of its content; those that someone sealed mean nothing to Mistral."""
    thought = message.get("reasoning_content")
    kept = {name: value for name, value in message.items() if name not in ("reasoning_content", "thinking_blocks")}
    if not thought:
        return kept
    content = kept.get("content") or []
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": thought}]}
    return {**kept, "content": [thinking, *content]}
