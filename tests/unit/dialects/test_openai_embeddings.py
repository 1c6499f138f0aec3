from __future__ import annotations

import base64
import struct
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiogateway.dialects.openai_embeddings import OpenAIEmbeddings
from aiogateway.errors import RequestError, Unsupported
from aiogateway.neutral import Begin, ChatRequest, EmbedRequest, Envelope, Event, UsageReport, Vectors
from aiogateway.types import Usage

DIALECT = OpenAIEmbeddings()
ENVELOPE = Envelope(id="", model="m", created=0)
BASE64 = Envelope(id="", model="m", created=0, encoding="base64")
PACKED = base64.b64encode(struct.pack("<3f", 0.5, -1.0, 0.25)).decode()


@pytest.mark.parametrize(
    ("body", "request_"),
    [
        ({"model": "m", "input": ["a", "b"]}, EmbedRequest(model="m", inputs=("a", "b"))),
        (
            {"model": "m", "input": ["a"], "dimensions": 4, "encoding_format": "base64", "user": "u"},
            EmbedRequest(model="m", inputs=("a",), dimensions=4, encoding="base64", extra={"user": "u"}),
        ),
    ],
)
def test_requests_there_and_back(body: dict[str, Any], request_: EmbedRequest) -> None:
    assert DIALECT.read_request(body) == request_
    assert DIALECT.write_request(request_).body == body


def test_one_text_alone() -> None:
    assert DIALECT.read_request({"model": "m", "input": "a"}) == EmbedRequest(model="m", inputs=("a",))


@pytest.mark.parametrize("texts", [None, 7, [1, 2], [[1, 2]], ["a", 1]])
def test_token_ids_do_not_translate(texts: Any) -> None:
    with pytest.raises(Unsupported) as caught:
        DIALECT.read_request({"model": "m", "input": texts})
    assert caught.value.param == "input"


def test_what_is_wrong_is_named() -> None:
    with pytest.raises(RequestError, match="model"):
        DIALECT.read_request({"input": "a"})
    with pytest.raises(RequestError, match="dimensions"):
        DIALECT.read_request({"model": "m", "input": "a", "dimensions": "4"})
    with pytest.raises(Unsupported):
        DIALECT.write_request(ChatRequest(model="m", messages=()))


def test_answers_in_either_encoding_and_any_order() -> None:
    body = {
        "object": "list",
        "model": "big",
        "data": [{"index": 1, "embedding": PACKED}, {"index": 0, "embedding": [1, 2.5]}],
        "usage": {"prompt_tokens": 3, "total_tokens": 3},
    }
    assert DIALECT.read_answer(orjson.dumps(body)) == [
        Begin(model="big"),
        Vectors(((1, 2.5), (0.5, -1.0, 0.25))),
        UsageReport(Usage(input=3)),
    ]
    assert DIALECT.read_answer(b"{}") == [Begin(), Vectors(())]


@pytest.mark.parametrize("embedding", [None, 7, ["x"], "not base64!", "AAA=", {}])
def test_a_malformed_vector(embedding: Any) -> None:
    with pytest.raises(ValueError, match="embedding"):
        DIALECT.read_answer(orjson.dumps({"data": [{"embedding": embedding}]}))


def test_writing() -> None:
    events: list[Event] = [Begin(model="big"), Vectors(((0.5, -1.0, 0.25),)), UsageReport(Usage(input=3))]
    assert orjson.loads(DIALECT.write_answer(events, ENVELOPE)) == {
        "object": "list",
        "model": "big",
        "data": [{"object": "embedding", "index": 0, "embedding": [0.5, -1.0, 0.25]}],
        "usage": {"prompt_tokens": 3, "total_tokens": 3},
    }
    packed = orjson.loads(DIALECT.write_answer(events, BASE64))
    assert packed["data"][0]["embedding"] == PACKED
    assert orjson.loads(DIALECT.write_answer([Begin()], ENVELOPE)) == {"object": "list", "model": "m", "data": []}


@given(st.lists(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False)).map(tuple)).map(tuple))
def test_vectors_survive_both_encodings(vectors: tuple[tuple[float, ...], ...]) -> None:
    for envelope in (ENVELOPE, BASE64):
        body = DIALECT.write_answer([Vectors(vectors)], envelope)
        assert DIALECT.read_answer(body)[1] == Vectors(vectors)


def test_embeddings_are_no_stream_but_their_errors_are_read() -> None:
    assert (DIALECT.finish_marks, DIALECT.done, DIALECT.usage_marks) == ((), b"", ())
    assert DIALECT.read_body_failure(b'{"error":{"message":"no"},"data":[]}') is not None
    assert DIALECT.read_usage(b'{"data":[],"usage":{"prompt_tokens":3}}') == Usage(input=3)
