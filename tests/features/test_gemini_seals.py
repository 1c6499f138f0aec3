"""Gemini's seals survive the way through other wires: what a client sends back is what Google sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from aiogateway.contracts import Dialect
from aiogateway.dialects.anthropic import Anthropic
from aiogateway.dialects.gemini import Gemini
from aiogateway.dialects.openai_chat import OpenAIChat
from aiogateway.dialects.openai_responses import OpenAIResponses
from aiogateway.neutral import Envelope, Event
from aiogateway.testing import load_recordings

FOLDER = Path(__file__).parents[1] / "conformance" / "recordings" / "google"
RECORDINGS = {recording.name.removesuffix(".rec"): recording.body for recording in load_recordings(FOLDER)}
GEMINI = Gemini()
MODEL = "gemini-3-pro-preview"
USER = {"role": "user", "content": "Hello"}

Answer = Mapping[str, Any]
WIRES: dict[str, tuple[Dialect, Callable[[Answer], dict[str, Any]]]] = {
    "chat": (OpenAIChat(), lambda answer: {"messages": [USER, answer["choices"][0]["message"]]}),
    "responses": (OpenAIResponses(), lambda answer: {"input": [USER, *answer["output"]]}),
    "messages": (
        Anthropic(),
        lambda answer: {"max_tokens": 9, "messages": [USER, {"role": "assistant", "content": answer["content"]}]},
    ),
}


def send_back(name: str, wire: str) -> list[dict[str, Any]]:
    """The parts of the model's turn that Google gets when a client of `wire` sends a recorded answer back."""
    decoder = GEMINI.decoder()
    events: list[Event] = []
    for frame in RECORDINGS[name].split(b"\n\n"):
        events += decoder.feed(frame + b"\n\n")
    dialect, ask = WIRES[wire]
    answer = orjson.loads(dialect.write_answer(events, Envelope(id="a-1", model=MODEL, created=1)))
    written = GEMINI.write_request(dialect.read_request({"model": MODEL, **ask(answer)}))
    assert written.dropped == ()
    [_, turn] = written.body["contents"]
    parts: list[dict[str, Any]] = turn["parts"]
    return parts


@pytest.mark.parametrize("wire", sorted(WIRES))
def test_the_seal_of_a_call(wire: str) -> None:
    first, second = send_back("chat_stream_parallel_tools", wire)
    assert first["thoughtSignature"] == "c2VhbCBvZiBwYXJhbGxlbCBjYWxscw=="
    assert first["functionCall"] == {"id": "lpndqlku", "name": "read_tide", "args": {"port": "Cork"}}
    assert second == {"functionCall": {"id": "m6rogicj", "name": "read_tide", "args": {"port": "Brest"}}}


@pytest.mark.parametrize("wire", sorted(WIRES))
def test_the_seal_of_text(wire: str) -> None:
    parts = send_back("chat_stream_sealed_text", wire)
    assert "".join(part["text"] for part in parts) == "4"
    assert [part["thoughtSignature"] for part in parts if "thoughtSignature" in part] == ["c2VhbCBvZiB0ZXh0"]


@pytest.mark.parametrize("wire", sorted(WIRES))
def test_thoughts_stay_thoughts(wire: str) -> None:
    thought, call = send_back("chat_stream_thinking_call", wire)
    assert thought["thought"] is True
    assert thought["text"].startswith("**Finding the time**")
    assert call["functionCall"]["name"] == "read_clock"
