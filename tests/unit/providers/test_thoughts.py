from __future__ import annotations

from typing import Any

import orjson
import pytest

from aiogateway.dialects.responses_seals import Seal, wrap
from aiogateway.errors import Unsupported
from aiogateway.providers.anthropic import Anthropic
from aiogateway.providers.openai import OpenAI
from aiogateway.providers.thoughts import drop_foreign
from aiogateway.types import Endpoint, Host, Origin, Request, Target

ITEM = {"type": "reasoning", "summary": [], "encrypted_content": wrap(Seal(signature="s"))}
HI = {"role": "user", "content": "hi"}
BLOCK = {"type": "thinking", "thinking": "hm", "signature": "gemini:s"}
BARE = {"type": "thinking", "thinking": "hm", "signature": ""}
TEXT = {"type": "text", "text": "a"}
TARGET = Target(path="config", provider="openai")
STRICT = Target(path="config", provider="openai", strict=True)
HOSTED = Target(path="config", provider="anthropic", host=Host("https://x.example/v1", Origin.REQUEST, "custom_host"))


def request(endpoint: Endpoint, dialect: str, **body: Any) -> Request:
    return Request(endpoint=endpoint, dialect=dialect, raw=orjson.dumps(body), body=body, model="m", stream=False)


def respond(*items: Any) -> Request:
    return request(Endpoint.RESPONSES, "openai_responses", model="m", input=[*items])


def message(*blocks: Any, dialect: str = "anthropic") -> Request:
    return request(Endpoint.MESSAGES, dialect, messages=[HI, {"role": "assistant", "content": [*blocks]}])


def test_openai_gets_the_rest_of_the_items() -> None:
    upstream = OpenAI().prepare(respond(HI, ITEM), TARGET)
    assert orjson.loads(upstream.body) == {"model": "m", "input": [HI]}


@pytest.mark.parametrize("dialect", ["anthropic", "anthropic_tokens"])
def test_anthropic_gets_the_rest_of_the_blocks(dialect: str) -> None:
    changed = drop_foreign(message(BLOCK, BARE, TEXT, dialect=dialect), TARGET)
    assert changed.body["messages"][1]["content"] == [TEXT]
    assert orjson.loads(changed.raw) == changed.body
    upstream = Anthropic().prepare(message(BLOCK, TEXT), TARGET)
    assert orjson.loads(upstream.body)["messages"][1]["content"] == [TEXT]


def test_another_host_gets_its_unsealed_thoughts_back() -> None:
    assert drop_foreign(message(BLOCK, BARE, TEXT), HOSTED).body["messages"][1]["content"] == [BARE, TEXT]


@pytest.mark.parametrize(
    "same",
    [
        respond(HI),
        respond({"role": "user", "content": ITEM["encrypted_content"]}),
        request(Endpoint.RESPONSES, "openai_responses", input=ITEM["encrypted_content"]),
        message(TEXT, {"type": "thinking", "thinking": "hm", "signature": "EqQB"}),
        request(Endpoint.CHAT, "openai_chat", messages=[{"role": "assistant", "thinking_blocks": [BLOCK]}]),
    ],
)
def test_everything_else_stays_as_it_is(same: Request) -> None:
    assert drop_foreign(same, STRICT) is same


@pytest.mark.parametrize(
    ("asked", "param"), [(respond(HI, ITEM), "input[1]"), (message(TEXT, BLOCK), "messages[1].content[1]")]
)
def test_a_strict_target_refuses(asked: Request, param: str) -> None:
    with pytest.raises(Unsupported, match=r"openai can't use thoughts") as caught:
        drop_foreign(asked, STRICT)
    assert caught.value.param == param
