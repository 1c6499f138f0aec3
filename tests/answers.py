"""What scripted providers of several targets say, streamed or not, and what a record tells of many attempts."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

import orjson

from aiogateway.testing import FakeUpstream
from aiogateway.testing.upstream import Reply, Script, stream, unary
from aiogateway.types import Headers, Outcome, Record
from tests.stage import DONE, Client, Stage, event, stage, usage_event
from tests.views import SECRETS

KEYS = (b"sk-own", *SECRETS)
"""What no message may hold."""


def answer(text: str = "hi", **fields: Any) -> bytes:
    """A whole answer, unary."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    return orjson.dumps({"id": "c", "object": "chat.completion", "choices": [choice], "usage": usage, **fields})


def seen(streamed: bool, text: str = "hi") -> bytes:
    """What a client gets of `good`."""
    return event(text) + event("", "stop") + DONE if streamed else answer(text)


def good(streamed: bool, text: str = "hi") -> Reply:
    """A provider that answers `text`."""
    if streamed:
        return stream(event(text) + event("", "stop") + usage_event() + DONE)
    return unary(answer(text))


def problem(status: int, **error: Any) -> bytes:
    """A provider's error body; `error` may name its type and code."""
    return orjson.dumps({"error": {"message": f"provider says {status}", "type": "t", **error}})


def bad(status: int, headers: Headers = (), **error: Any) -> Reply:
    """A provider that answers with an error."""
    return unary(problem(status, **error), status=status, headers=headers)


@contextlib.asynccontextmanager
async def cast(*scripts: Iterable[Script], **settings: Any) -> AsyncIterator[tuple[Stage, list[FakeUpstream]]]:
    """A stage with an upstream for each script; the first is the stage's own."""
    async with contextlib.AsyncExitStack() as stack:
        others = [await stack.enter_async_context(FakeUpstream(*script)) for script in scripts[1:]]
        live = await stack.enter_async_context(stage(*scripts[0], **settings))
        yield live, [live.up, *others]


async def call(live: Stage, config: Mapping[str, Any], **asked: Any) -> tuple[Client, bytes]:
    """One call by `config`: the client with the answer's head, and the body. No key of ours is in either."""
    client = await live.post(config=config, **asked)
    await client.head()
    body = await client.body()
    told = body + repr(client.headers).encode()
    assert not [secret for secret in KEYS if secret in told]
    return client, body


def index(client: Client) -> str | None:
    """Which target the answer says it is from."""
    return client.headers.get("x-portkey-last-used-option-index")


def count(client: Client) -> str | None:
    """How many retries the answer says there were at that target."""
    return client.headers.get("x-portkey-retry-attempt-count")


def tell(record: Record) -> list[tuple[str, int | None, str | None]]:
    """Each attempt: its target, its status, what it failed with."""
    return [(attempt.target.removeprefix("config."), attempt.status, attempt.error) for attempt in record.attempts]


async def expect_rescue(live: Stage, *attempts: tuple[str, int | None, str | None], count: int = 1) -> Record:
    """The `count`-th record is of a call that went well in the end."""
    record = await live.recorded(count)
    assert (record.status, record.outcome, record.error) == (200, Outcome.OK, None)
    assert tell(record) == list(attempts)
    assert [attempt.outcome for attempt in record.attempts] == [Outcome.FAILED] * (len(attempts) - 1) + [Outcome.OK]
    assert record.usage is not None
    assert len(live.records) == count
    return record


async def expect_loss(live: Stage, code: str, *attempts: tuple[str, int | None, str | None], count: int = 1) -> Record:
    """The `count`-th record is of a call whose attempts all failed; its status is the last one's."""
    record = await live.recorded(count)
    assert (record.status, record.outcome, record.error) == (attempts[-1][1], Outcome.FAILED, code)
    assert tell(record) == list(attempts)
    assert {attempt.outcome for attempt in record.attempts} == {Outcome.FAILED}
    assert record.usage is None
    assert len(live.records) == count
    return record


async def expect_refusal(live: Stage, code: str = "invalid_config", *, count: int = 1) -> Record:
    """The `count`-th record is of a call that we refused before any attempt."""
    record = await live.recorded(count)
    assert (record.status, record.outcome, record.error) == (400, Outcome.REFUSED, code)
    assert record.attempts == ()
    assert len(live.records) == count
    return record
