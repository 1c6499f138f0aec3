"""Chat streams as providers send them, and what a client makes of the one it gets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from aiogateway.wire import sse
from tests.unit.engine.fakes import DONE

ID = "c-1"


def chunk(delta: dict[str, Any] | None, finish: str | None = None, index: int = 0, **extra: Any) -> bytes:
    """One chunk; without a delta it has no choices."""
    choices = [] if delta is None else [{"index": index, "delta": delta, "finish_reason": finish}]
    head = {"id": ID, "created": 7, "model": "m-1"}
    return sse.frame(orjson.dumps({**head, "choices": choices, **extra}))


def role(index: int = 0, **extra: Any) -> bytes:
    return chunk({"role": "assistant", "content": ""}, index=index, **extra)


def stream(*pieces: str, usage: tuple[int, int] | None = None, finish: str = "stop", **extra: Any) -> bytes:
    """A whole stream of one choice."""
    parts = [role(**extra), *(chunk({"content": piece}, **extra) for piece in pieces), chunk({}, finish, **extra)]
    if usage is not None:
        parts.append(chunk(None, usage={"prompt_tokens": usage[0], "completion_tokens": usage[1]}, **extra))
    return b"".join((*parts, DONE))


def choices(*texts: Sequence[str]) -> bytes:
    """A whole stream of several choices, which take turns."""
    parts = [role(index) for index in range(len(texts))]
    for number in range(max(map(len, texts))):
        parts += [chunk({"content": text[number]}, index=i) for i, text in enumerate(texts) if number < len(text)]
    parts += [chunk({}, "stop", i) for i in range(len(texts))]
    return b"".join((*parts, DONE))


def answer(text: str, **extra: Any) -> bytes:
    """The same, unary."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return orjson.dumps({"id": "c-9", "object": "chat.completion", "model": "m-9", "choices": [choice], **extra})


def boom(code: str = "server_error") -> bytes:
    return sse.frame(orjson.dumps({"error": {"message": "boom", "code": code}}))


class Heard:
    """One stream as a client reads it; a frame that would break the client is an assertion."""

    def __init__(self, data: bytes) -> None:
        self.texts: dict[int, str] = {}
        self.roles: list[int] = []
        self.finishes: list[tuple[int, str]] = []
        self.thoughts: dict[int, str] = {}
        self.calls: list[dict[str, Any]] = []
        self.ids: set[str] = set()
        self.created: set[int] = set()
        self.models: list[str] = []
        self.usages: list[dict[str, Any]] = []
        self.errors: list[dict[str, Any]] = []
        self.comments: list[str] = []
        self.done = 0
        splitter = sse.Splitter()
        frames = splitter.feed(data)
        assert not splitter.rest(), splitter.rest()
        for frame in frames:
            self._read(frame)

    def _read(self, frame: bytes) -> None:
        self.comments += [line[2:].decode() for line in frame.split(b"\n") if line.startswith(b": ")]
        if not any(line.startswith(b"data:") or line == b"data" for line in frame.split(b"\n")):
            return
        assert not self.done, "an event behind [DONE]"
        assert not self.errors, "an event behind an error"
        data = sse.data_of(frame)
        if data == b"[DONE]":
            self.done += 1
            return
        payload = orjson.loads(data)  # openai-python raises where this does
        if "error" in payload:
            self.errors.append(payload["error"])
            return
        self.ids.add(payload["id"])
        self.created.add(payload["created"])
        if payload["model"] not in self.models:
            self.models.append(payload["model"])
        if payload.get("usage"):
            self.usages.append(payload["usage"])
        for choice in payload["choices"]:
            self._read_choice(choice["index"], choice["delta"], choice["finish_reason"])

    def _read_choice(self, index: int, delta: dict[str, Any], finish: str | None) -> None:
        assert index not in dict(self.finishes), "a piece behind the finish"
        if "role" in delta:
            assert index not in self.texts, "a role behind the text"
            self.roles.append(index)
        if delta.get("content"):
            self.texts[index] = self.texts.get(index, "") + delta["content"]
        if delta.get("reasoning_content"):
            self.thoughts[index] = self.thoughts.get(index, "") + delta["reasoning_content"]
        self.calls += delta.get("tool_calls") or ()
        if finish:
            self.finishes.append((index, finish))

    def is_whole(self, *texts: str) -> bool:
        """Each text exactly once, in one envelope."""
        every = list(range(len(texts)))
        assert [self.texts.get(index, "") for index in every] == list(texts), self.texts
        assert sorted(self.roles) == every, self.roles
        assert sorted(index for index, _ in self.finishes) == every, self.finishes
        assert len(self.ids) == len(self.created) == 1, (self.ids, self.created)
        assert self.errors == []
        assert self.done == 1
        return True

    def is_broken(self, text: str, code: str) -> bool:
        """A part, and an in-band error; nothing invented."""
        assert text.startswith(self.texts.get(0, "")), self.texts
        assert [error["code"] for error in self.errors] == [code], self.errors
        assert (self.done, self.finishes) == (0, [])
        assert len(self.ids) <= 1
        return True
