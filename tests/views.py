"""What went wrong, seen by the client and in the record; what the upstream saw is each test's own to say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson
import pytest

from aiogateway.types import Outcome, Record
from tests.stage import Stage

both = pytest.mark.parametrize("stream", [True, False], ids=["stream", "unary"])
"""The same fault, asked for as a stream and not."""

SECRETS = (b"sk-caller", b"127.0.0.1", b"Traceback", b"hunter2")


def read_error(body: bytes) -> dict[str, Any]:
    """An error body of ours: in OpenAI's shape and in Portkey's, with no key and no address in it."""
    answer = orjson.loads(body)
    error: dict[str, Any] = answer["error"]
    assert (answer["status"], answer["message"]) == ("failure", error["message"])
    assert not [secret for secret in SECRETS if secret in body]
    return error


def read_in_band(body: bytes, sent: bytes) -> dict[str, Any]:
    """The error event that follows `sent`: the only one, the last one, and nothing is made up around it."""
    assert body.startswith(sent)
    rest = body[len(sent) :]
    assert rest.startswith(b'data: {"error":{')
    assert rest.endswith(b"}\n\n")
    assert rest.count(b"\n") == 2
    assert not [secret for secret in SECRETS if secret in rest]
    error: dict[str, Any] = orjson.loads(rest[6:])["error"]
    return error


async def expect_failure(live: Stage, status: int, code: str, *, count: int = 1) -> Record:
    """The `count`-th record is of one failed attempt."""
    record = await live.recorded(count)
    assert (record.status, record.outcome, record.error) == (status, Outcome.FAILED, code)
    (attempt,) = record.attempts
    assert (attempt.status, attempt.outcome, attempt.error) == (status, Outcome.FAILED, code)
    assert attempt.closed_by == "upstream"
    assert attempt.end is not None
    assert len(live.records) == count
    return record


async def expect_truncation(live: Stage, code: str, *, count: int = 1) -> Record:
    """The `count`-th record is of an answer that broke off after its commit."""
    record = await live.recorded(count)
    assert (record.status, record.outcome, record.error) == (200, Outcome.TRUNCATED, code)
    (attempt,) = record.attempts
    assert (attempt.status, attempt.outcome, attempt.error) == (200, Outcome.TRUNCATED, code)
    assert len(live.records) == count
    return record


@dataclass(frozen=True, slots=True)
class Chat:
    """A chat answer as a client that trusts nobody reads it. `chunks` are the objects in order, one of them if unary.

    `closed`: a stream's ``[DONE]`` came, and came last; a unary answer is no error. `garbled` counts what is no event
    or no object.
    """

    chunks: list[dict[str, Any]]
    comments: list[str]
    closed: bool
    garbled: int

    @classmethod
    def read(cls, body: bytes, *, streamed: bool) -> Chat:
        if not streamed:
            chunk = _read_object(body)
            return cls([] if chunk is None else [chunk], [], "error" not in (chunk or {}), int(chunk is None))
        chunks, comments, garbled = [], [], 0
        *events, rest = body.split(b"\n\n")
        for event in events:
            chunk = _read_object(event.removeprefix(b"data: "))
            if event.startswith(b":"):
                comments.append(event[1:].decode().strip())
            elif chunk is not None and event.startswith(b"data: "):
                chunks.append(chunk)
            else:
                garbled += event != b"data: [DONE]"
        said = [event for event in events if not event.startswith(b":")]
        closed = said.count(b"data: [DONE]") == 1 and said[-1] == b"data: [DONE]"
        return cls(chunks, comments, closed, garbled + bool(rest))

    @property
    def choices(self) -> list[dict[str, Any]]:
        return [choice for chunk in self.chunks for choice in chunk.get("choices") or ()]

    def said(self, name: str) -> list[Any]:
        """What deltas, or the message, hold under `name`."""
        return [part[name] for one in self.choices if name in (part := one.get("delta") or one.get("message") or {})]

    @property
    def text(self) -> str:
        return "".join(piece for piece in self.said("content") if piece)

    @property
    def finishes(self) -> list[str]:
        return [one["finish_reason"] for one in self.choices if one.get("finish_reason") is not None]

    @property
    def usages(self) -> list[dict[str, Any]]:
        return [chunk["usage"] for chunk in self.chunks if chunk.get("usage") is not None]

    @property
    def usage(self) -> dict[str, Any] | None:
        return self.usages[-1] if self.usages else None

    @property
    def model(self) -> str | None:
        """The last one named: of a recovered stream, who finished it."""
        return self.chunks[-1].get("model") if self.chunks else None

    @property
    def error(self) -> dict[str, Any] | None:
        """An error in the place of an answer, or of its end."""
        return self.chunks[-1].get("error") if self.chunks else None

    def is_whole(self, text: str) -> bool:
        """Exactly this text, in one envelope with one role, one finish, one usage."""
        envelopes = {(chunk.get("id"), chunk.get("created")) for chunk in self.chunks}
        return (
            (self.text, self.finishes, self.said("role")) == (text, ["stop"], ["assistant"])
            and len(envelopes) == len(self.usages) == 1
            and self.closed
            and not self.garbled
            and not any("error" in chunk for chunk in self.chunks)
        )

    def is_clean_error(self) -> bool:
        """It says that it failed, last, and nothing was made up to look whole."""
        said = sum("error" in chunk for chunk in self.chunks)
        return self.error is not None and said == 1 and not (self.finishes or self.closed or self.garbled)


def _read_object(data: bytes) -> dict[str, Any] | None:
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None
