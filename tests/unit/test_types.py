from __future__ import annotations

import copy
import logging
import pickle
from typing import Any

import msgspec
import pytest

from aiogateway import types
from aiogateway.types import (
    Attempt,
    Call,
    Credential,
    Deadlines,
    Endpoint,
    Origin,
    Outcome,
    Record,
    Secret,
    Target,
    Trace,
    UpstreamRequest,
)

CANARY = "sk-canary-123"
STRUCTS = [
    value
    for value in vars(types).values()
    if isinstance(value, type) and issubclass(value, msgspec.Struct) and value is not msgspec.Struct
]


def make_target() -> Target:
    credential = Credential(secret=Secret(CANARY), origin=Origin.REQUEST, source="api_key")
    return Target(path="config", provider="openai", credential=credential, options={"token": Secret(CANARY)})


def test_secret_shows_itself_to_reveal_only() -> None:
    assert Secret(CANARY).reveal() == CANARY


@pytest.mark.parametrize("value", [Secret(CANARY), make_target(), [Secret(CANARY)], {"key": Secret(CANARY)}])
def test_secret_is_in_no_text(value: object) -> None:
    for text in (repr(value), str(value), f"{value}", f"{value!r:>5}", ascii(value)):
        assert CANARY not in text
        assert "***" in text


def test_secret_is_in_no_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    try:
        raise ValueError(Secret(CANARY))
    except ValueError:
        logging.getLogger(__name__).exception("target %s %r", make_target(), Secret(CANARY))
    assert CANARY not in caplog.text


@pytest.mark.parametrize("dump", [pickle.dumps, copy.copy, copy.deepcopy, msgspec.json.encode, msgspec.to_builtins])
def test_secret_is_not_carried_off(dump: Any) -> None:
    with pytest.raises(TypeError):
        dump(Secret(CANARY))


def test_secret_has_no_fields_to_look_into() -> None:
    assert not hasattr(Secret(CANARY), "__dict__")


def test_secrets_compare_with_secrets_only() -> None:
    other: object = CANARY
    assert Secret(CANARY) == Secret(CANARY)
    assert Secret(CANARY) != Secret("else")
    assert Secret(CANARY) != other
    assert len({Secret(CANARY), Secret(CANARY), Secret("else")}) == 2


def test_upstream_request_shows_names_not_values() -> None:
    request = UpstreamRequest(
        method="POST",
        url=f"https://api.example/v1/chat/completions?key={CANARY}",
        headers=(("authorization", f"Bearer {CANARY}"), ("x-api-key", CANARY)),
        body=CANARY.encode(),
    )
    shown = f"{request} {request!r} {[request]}"
    assert CANARY not in shown
    assert repr(request) == ("<POST https://api.example/v1/chat/completions [authorization, x-api-key] 13 bytes>")


@pytest.mark.parametrize("struct", STRUCTS)
def test_values_are_frozen_but_for_what_the_engine_writes_to(struct: type[msgspec.Struct]) -> None:
    assert struct.__struct_config__.frozen is (struct not in (Attempt, Call))
    assert struct.__doc__


def test_default_deadlines() -> None:
    assert msgspec.to_builtins(Deadlines()) == {
        "connect": 10.0,
        "first_token": 300.0,
        "unary": 600.0,
        "idle": 120.0,
        "client_stall": 120.0,
        "total": 3600.0,
    }


def test_endpoint_is_its_path() -> None:
    assert [f"/v1/{endpoint}" for endpoint in Endpoint] == [
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/embeddings",
        "/v1/responses",
        "/v1/messages",
        "/v1/messages/count_tokens",
    ]


def test_calls_do_not_share_their_attempts() -> None:
    first, second = (
        Call(id=name, trace=Trace(id=name), received=0.0, clock=0.0, method="GET", route="/") for name in "ab"
    )
    first.attempts.append(Attempt(target="config", provider="mock", model="m", start=0.0))
    assert second.attempts == []


def test_a_record_has_a_place_for_all_that_a_call_says() -> None:
    only_ours = {"clock", "committed", "explain", "notes"}
    assert set(Call.__struct_fields__) - only_ours <= set(Record.__struct_fields__)


def test_outcomes_are_plain_words() -> None:
    assert {str(outcome) for outcome in Outcome} == {
        "ok",
        "refused",
        "failed",
        "truncated",
        "client_left",
        "client_stalled",
    }
