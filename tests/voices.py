"""Who speaks in the plays of `tests.faults`, what they say when nothing is wrong, and how fast everything goes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson

from aiogateway.testing.upstream import Reply, stream, unary
from aiogateway.wire.sse import frame

TOKENS = tuple(f"token-{number} " for number in range(60))
TEXT = "".join(TOKENS)
DONE = b"data: [DONE]\n\n"
ASK: dict[str, Any] = {"messages": [{"role": "user", "content": "Sixty tokens, please."}]}


class Clock:
    """What S15 is timed by."""

    def now(self) -> float:
        return time.monotonic()

    async def wait(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@dataclass(frozen=True, slots=True)
class Pace:
    """How long everything takes, in seconds; the defaults are the lab's."""

    limit: float = 10.0  # the gateway's, for the first token and for silence
    backoff: float = 1.0  # the gateway's `retry_wait`
    asked: float = 2.0  # S01: Retry-After
    silence: float = 120.0  # S06
    late: float = 20.0  # S07
    stall: float = 30.0  # S09
    down: float = 60.0  # S15, as are the others
    every: float = 4.0
    cooldown: float = 10.0
    at_once: float = 2.5  # S11: no wait
    patience: float = 100.0  # a call that takes longer hangs
    clock: Clock = field(default_factory=Clock)


@dataclass(frozen=True, slots=True)
class Voice:
    """Who answers, and how it answers when nothing is wrong."""

    name: str
    created: int
    prompt: int
    completion: int

    @property
    def model(self) -> str:
        return f"{self.name}-1"

    @property
    def id(self) -> str:
        return f"chatcmpl-{self.name}"

    @property
    def usage(self) -> dict[str, int]:
        total = self.prompt + self.completion
        return {"prompt_tokens": self.prompt, "completion_tokens": self.completion, "total_tokens": total}

    def chunk(self, choices: list[Any], usage: Any = None, **fields: Any) -> dict[str, Any]:
        envelope = {"id": self.id, "object": "chat.completion.chunk", "created": self.created, "model": self.model}
        return {**envelope, "choices": choices, "usage": usage, **fields}

    def piece(self, delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        return self.chunk([{"index": 0, "delta": delta, "finish_reason": finish}])

    def events(self, tokens: Iterable[str] = TOKENS) -> list[bytes]:
        """A stream less its ``[DONE]``: the role, one event a token, the finish, the usage."""
        chunks = [
            self.piece({"role": "assistant", "content": ""}),
            *(self.piece({"content": token}) for token in tokens),
            self.piece({}, "stop"),
            self.chunk([], self.usage),
        ]
        return [frame(orjson.dumps(one)) for one in chunks]

    def body(self) -> bytes:
        """The same as one object."""
        choice = {"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}
        answer = {"id": self.id, "object": "chat.completion", "created": self.created, "model": self.model}
        return orjson.dumps({**answer, "choices": [choice], "usage": self.usage})

    def whole(self, streamed: bool) -> bytes:
        """All the bytes of an answer."""
        return b"".join(self.events()) + DONE if streamed else self.body()

    def reply(self, streamed: bool) -> Reply:
        return stream(*self.events(), DONE) if streamed else unary(self.body())


PRIMARY = Voice("primary", 1_790_000_000, 7, 60)
FALLBACK = Voice("fallback", 1_790_000_001, 9, 61)
