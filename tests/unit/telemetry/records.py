"""Records to count and to write."""

from __future__ import annotations

from typing import Any

import msgspec

from aiogateway.types import Attempt, Endpoint, Lane, Outcome, Record, Trace

ATTEMPT = Attempt(target="config", provider="openai", model="gpt-x", start=0.001, status=200, outcome=Outcome.OK)
RECORD = Record(
    id="call-1",
    trace=Trace(id="trace-1"),
    received=1_700_000_000.0,
    duration=1.5,
    method="POST",
    route="/v1/chat/completions",
    metadata={"_user": "ann"},
    endpoint=Endpoint.CHAT,
    stream=True,
    lane=Lane.FRAMED,
    status=200,
    outcome=Outcome.OK,
    error=None,
    usage=None,
    first_token=0.3,
    overhead=0.0003,
    sent=1000,
    malformed=0,
    dropped_params=(),
    attempts=(ATTEMPT,),
)


def make_record(**changes: Any) -> Record:
    """A streamed chat that went well, but for `changes`."""
    return msgspec.structs.replace(RECORD, **changes)


def make_attempt(**changes: Any) -> Attempt:
    """An attempt at openai that went well, but for `changes`."""
    return msgspec.structs.replace(ATTEMPT, **changes)
