from __future__ import annotations

from typing import Any

import orjson

from aiogateway.providers.quirks import Quirks, bend, omit, put, rename, rename_role, reword
from aiogateway.types import Endpoint, Request

QUIRKS: Quirks = {
    "seed": rename("random_seed"),
    "max_completion_tokens": rename("max_tokens"),
    "tool_choice": reword("tool_choice", {"required": "any"}),
    "messages": rename_role("developer", "system"),
    "stream_options": omit,
    "model": put("model", "pilot"),
}


def ask(raw: bytes | None = None, **body: Any) -> Request:
    return Request(
        endpoint=Endpoint.CHAT,
        dialect="openai_chat",
        raw=raw if raw is not None else orjson.dumps(body),
        body=body,
        model="",
        stream=False,
    )


def test_a_request_without_such_fields_keeps_its_bytes() -> None:
    request = ask(b'{ "temperature": 1.0 }', temperature=1.0)
    assert bend(request, QUIRKS) is request
    assert bend(request, {}) is request


def test_a_field_that_needs_no_change_keeps_the_bytes() -> None:
    body = {"messages": [{"role": "user", "content": "x"}, "odd"], "tool_choice": "auto", "model": "pilot"}
    request = ask(b" " + orjson.dumps(body), **body)
    assert bend(request, QUIRKS) is request


def test_fields_are_renamed_and_reworded() -> None:
    bent = bend(ask(seed=7, tool_choice="required", model="gpt", top_p=0.5), QUIRKS)
    assert bent.body == {"random_seed": 7, "tool_choice": "any", "model": "pilot", "top_p": 0.5}
    assert orjson.loads(bent.raw) == bent.body


def test_an_object_is_no_word() -> None:
    choice = {"type": "function", "function": {"name": "f"}}
    assert bend(ask(tool_choice=choice), QUIRKS).body["tool_choice"] == choice


def test_the_newer_name_wins() -> None:
    assert bend(ask(max_tokens=1, max_completion_tokens=2), QUIRKS).body == {"max_tokens": 2}


def test_roles() -> None:
    messages = [{"role": "developer", "content": "be brief"}, {"role": "user", "content": "hi"}]
    bent = bend(ask(messages=messages), QUIRKS).body["messages"]
    assert bent == [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]
    assert messages[0]["role"] == "developer"
    assert bend(ask(messages="none"), QUIRKS).body["messages"] == "none"


def test_the_gateways_own_wish_is_kept() -> None:
    """The engine puts `stream_options` into the bytes only."""
    raw = b'{"stream_options":{"include_usage":true},"seed":1}'
    assert bend(ask(raw, seed=1), {"seed": rename("random_seed")}).body == {
        "stream_options": {"include_usage": True},
        "random_seed": 1,
    }


def test_omit() -> None:
    assert bend(ask(stream_options={"include_usage": True}, n=1), QUIRKS).body == {"n": 1}
