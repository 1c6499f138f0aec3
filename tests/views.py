"""What went wrong, seen by the client and in the record; what the upstream saw is each test's own to say."""

from __future__ import annotations

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
