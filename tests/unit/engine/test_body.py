from __future__ import annotations

from typing import Any

import orjson
import pytest

from aiogateway.dialects.anthropic import Anthropic
from aiogateway.dialects.openai_chat import OpenAIChat
from aiogateway.engine import body as bodies
from aiogateway.errors import RequestError
from aiogateway.types import Endpoint, Target
from tests.unit.engine.fakes import make_request

ASKED = b'"stream_options":{"include_usage":true}'


def make_target(**overrides: Any) -> Target:
    return Target(path="config", provider="openai", override_params=overrides)


def test_without_overrides_the_request_is_the_clients_own() -> None:
    request = make_request()
    assert bodies.merge_overrides(request, make_target()) is request


def test_overrides_win_and_the_rest_stays() -> None:
    request = make_request({"model": "theirs", "n": 1, "stop": ["a"], "stream": False})
    merged = bodies.merge_overrides(request, make_target(model="ours", stop=["b"], stream=True, x=None))
    body = {"model": "ours", "n": 1, "stop": ["b"], "stream": True, "x": None}
    assert (merged.body, orjson.loads(merged.raw)) == (body, body)
    assert (merged.model, merged.stream) == ("ours", True)
    assert request.body["model"] == "theirs"  # the client's own is not changed


@pytest.mark.parametrize(
    ("value", "stream"), [(True, True), (False, False), (1, False), ("true", False), (None, False)]
)
def test_only_true_streams(value: object, stream: bool) -> None:
    assert bodies.rebuild(make_request(), {"model": 7, "stream": value}).stream is stream


def test_a_model_that_is_no_text_is_none() -> None:
    assert bodies.rebuild(make_request(), {"model": 7}).model == ""


@pytest.mark.parametrize("value", [2**80, "\ud800"])
def test_what_json_cant_say_is_the_callers_mistake(value: object) -> None:
    with pytest.raises(RequestError, match="can't be written as JSON"):
        bodies.merge_overrides(make_request(), make_target(x=value))


@pytest.mark.parametrize(
    ("options", "asks"),
    [
        ({"include_usage": True}, True),
        ({"include_usage": False}, False),
        ({"include_usage": 1}, False),
        ({}, False),
        (None, False),
        ([], False),
        ("include_usage", False),
    ],
)
def test_asks_usage(options: object, asks: bool) -> None:
    assert bodies.asks_usage(make_request({"stream_options": options})) is asks
    assert not bodies.asks_usage(make_request({}))


@pytest.mark.parametrize(
    ("raw", "asked"),
    [
        (b'{"a":1}', b"{" + ASKED + b',"a":1}'),
        (b' \n{ "a" : 1.0 }\n', b" \n{" + ASKED + b', "a" : 1.0 }\n'),
        (b"{}", b"{" + ASKED + b"}"),
        (b"{ \n }", b"{" + ASKED + b" \n }"),
        (b'{"a":{}}', b"{" + ASKED + b',"a":{}}'),
        (b'{"big":123456789012345678901234567890}', b"{" + ASKED + b',"big":123456789012345678901234567890}'),
    ],
)
def test_usage_is_asked_for_in_front_of_the_clients_own_bytes(raw: bytes, asked: bytes) -> None:
    request = make_request({}, raw=raw)
    assert bodies.ask_usage(request).raw == asked


@pytest.mark.parametrize(
    ("options", "merged"),
    [
        ({"include_usage": False, "x": 1}, {"include_usage": True, "x": 1}),
        ({"x": 1}, {"x": 1, "include_usage": True}),
        (None, {"include_usage": True}),
        ("odd", {"include_usage": True}),
    ],
)
def test_stream_options_of_the_clients_own_are_kept(options: object, merged: object) -> None:
    asked = bodies.ask_usage(make_request({"model": "m", "stream_options": options}))
    assert orjson.loads(asked.raw) == {"model": "m", "stream_options": merged}
    assert bodies.asks_usage(asked)


def test_the_wish_for_usage_can_be_taken_back() -> None:
    asked = make_request({"model": "m", "stream_options": {"include_usage": True}})
    assert bodies.leave_usage(asked).body == {"model": "m"}
    asked = make_request({"stream_options": {"include_usage": True, "include_obfuscation": False}})
    left = bodies.leave_usage(asked)
    assert orjson.loads(left.raw) == left.body == {"stream_options": {"include_obfuscation": False}}


@pytest.mark.parametrize(
    ("n", "count"), [(None, 1), (1, 1), (3, 3), (0, 1), (-2, 1), ("3", 1), (2.0, 1), (True, 1), ([], 1)]
)
def test_count_choices(n: object, count: int) -> None:
    assert bodies.count_choices(make_request({"n": n})) == count
    assert bodies.count_choices(make_request({})) == 1


def test_translate_names_what_found_no_place() -> None:
    chat = OpenAIChat()
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True, "logit_bias": {"7": 1}}
    request = make_request(body, query="beta=1", dialect="openai_chat")
    translated, dropped = bodies.translate(request, chat, Anthropic(), Endpoint.MESSAGES)
    assert (translated.endpoint, translated.dialect, translated.query) == (Endpoint.MESSAGES, "anthropic", "")
    assert orjson.loads(translated.raw) == translated.body
    assert translated.body["messages"] == body["messages"]
    assert (translated.stream, translated.model) == (True, "m")
    assert dropped == ("logit_bias",)
    assert bodies.translate(request, chat, chat, Endpoint.CHAT)[1] == ()


def test_the_envelope_of_an_answer_of_ours() -> None:
    envelope = bodies.envelope_for("call-1", make_request({"model": "m"}))
    assert (envelope.id, envelope.model, envelope.include_usage, envelope.encoding) == ("call-1", "m", False, "float")
    assert envelope.created > 1.7e9
    body = {"stream_options": {"include_usage": True}, "encoding_format": "base64"}
    asked = bodies.envelope_for("call-1", make_request(body))
    assert (asked.include_usage, asked.encoding) == (True, "base64")
    assert bodies.envelope_for("call-1", make_request({"encoding_format": 7})).encoding == "float"
