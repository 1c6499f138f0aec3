from __future__ import annotations

from collections.abc import Mapping

import pytest

from aiogateway.contracts import Dialect
from aiogateway.dialects.base import BaseDialect
from aiogateway.dialects.openai_chat import OpenAIChat
from aiogateway.errors import UpstreamStatus
from aiogateway.neutral import Failure, Text
from aiogateway.providers.openai import OpenAI
from aiogateway.testing.recordings import Recording
from aiogateway.testing.replay import ask, comparable, decode, find_dialects, split_frames, translates
from aiogateway.types import Endpoint, Route
from tests.unit.testing.toy import ToyDialect, ToyProvider

RECORDING = Recording(
    name="a", source="here", endpoint=Endpoint.CHAT, request={"model": "m", "messages": [], "stream": True}, body=b""
)


def test_built_in_dialects_are_found_and_later_ones_win() -> None:
    class Other(OpenAIChat):
        pass

    other = Other()
    assert {"openai_chat", "openai_embeddings"} <= set(find_dialects(OpenAI()))
    assert find_dialects(OpenAI(), (other,))["openai_chat"] is other


def test_dialects_of_the_providers_own_package_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def register_dialects(register: object) -> None:
        assert callable(register)
        register(ToyDialect())

    assert "toy" not in find_dialects(ToyProvider())
    monkeypatch.setattr("tests.unit.testing.toy.register_dialects", register_dialects, raising=False)
    assert "toy" in find_dialects(ToyProvider())


def test_the_request_is_translated_only_between_dialects() -> None:
    dialects: dict[str, Dialect] = {**find_dialects(OpenAI()), "toy": ToyDialect()}
    same = ask(OpenAI(), dialects, RECORDING, {"new": 1})
    assert (same.request.dialect, same.request.body["new"], same.dropped) == ("openai_chat", 1, ())
    other = ask(ToyProvider(), dialects, RECORDING, {"new": 1})
    assert (other.request.dialect, other.dropped) == ("toy", ("new",))
    assert other.request.body == {"model": "m", "stream": True}


def test_a_recorded_endpoint_has_to_be_offered_in_a_known_dialect() -> None:
    class Lost(ToyProvider):
        routes: Mapping[Endpoint, Route] = {Endpoint.CHAT: Route("nobody", "/x")}

    dialects = find_dialects(OpenAI())
    with pytest.raises(AssertionError, match="nobody"):
        ask(Lost(), dialects, RECORDING)
    Lost.routes = {}
    with pytest.raises(AssertionError, match="offers no"):
        ask(Lost(), dialects, RECORDING)


def test_a_last_line_without_its_end_counts() -> None:
    dialect = ToyDialect()
    frames = split_frames(dialect, (b'{"say":"a"}\n{"say"', b':"b"}'))
    assert frames == (b'{"say":"a"}\n', b'{"say":"b"}')
    assert decode(dialect, frames) == (Text("a"), Text("b"))
    assert split_frames(dialect, (b'{"say":"a"}\n\r',)) == (b'{"say":"a"}\n',)


def test_a_dialect_may_lack_its_translating_half() -> None:
    class Passing(BaseDialect):
        name = "passing"

    assert translates(ToyDialect())
    assert not translates(Passing())


def test_errors_that_say_the_same_are_equal() -> None:
    first, second, other = (Failure(UpstreamStatus("x", status=status)) for status in (502, 502, 503))
    assert comparable((first, Text("a"))) == comparable((second, Text("a")))
    assert comparable((first,)) != comparable((other,))
