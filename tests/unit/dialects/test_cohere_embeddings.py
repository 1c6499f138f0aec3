from __future__ import annotations

from typing import Any

import orjson
import pytest

from aiogateway.dialects.cohere_embeddings import CohereEmbeddings
from aiogateway.errors import Unsupported
from aiogateway.neutral import Begin, ChatRequest, EmbedRequest, UsageReport, Vectors
from aiogateway.types import Usage

COHERE = CohereEmbeddings()


def write(**fields: Any) -> Any:
    return COHERE.write_request(EmbedRequest(model="embed-v4.0", inputs=("a", "b"), **fields))


def test_texts_are_documents_unless_the_client_says_otherwise() -> None:
    assert write().body == {
        "model": "embed-v4.0",
        "texts": ["a", "b"],
        "input_type": "search_document",
        "embedding_types": ["float"],
    }
    assert write(extra={"input_type": "search_query", "truncate": "NONE"}, dimensions=256).body == {
        "model": "embed-v4.0",
        "texts": ["a", "b"],
        "input_type": "search_query",
        "embedding_types": ["float"],
        "truncate": "NONE",
        "output_dimension": 256,
    }


def test_base64_is_ours_to_make() -> None:
    assert write(encoding="base64").body["embedding_types"] == ["float"]


def test_what_has_no_place_is_named() -> None:
    assert write(extra={"user": "u", "odd": None}).dropped == ("user",)


@pytest.mark.parametrize("kinds", [["base64"], ["float", "int8"], [], "float"])
def test_one_kind_of_numbers(kinds: Any) -> None:
    with pytest.raises(Unsupported) as caught:
        write(extra={"embedding_types": kinds})
    assert caught.value.param == "embedding_types"


def test_only_texts() -> None:
    with pytest.raises(Unsupported):
        COHERE.write_request(ChatRequest(model="m", messages=()))


def test_an_answer() -> None:
    body = orjson.dumps(
        {"embeddings": {"float": [[0.5, 1]]}, "meta": {"billed_units": {"input_tokens": 3.0, "image_tokens": 2}}}
    )
    assert COHERE.read_answer(body) == [Begin(), Vectors(((0.5, 1),)), UsageReport(Usage(input=5))]
    assert COHERE.read_usage(body) == Usage(input=5)


def test_other_kinds() -> None:
    assert COHERE.read_answer(b'{"embeddings": {"float": null, "int8": [[1, -2]]}}') == [Begin(), Vectors(((1, -2),))]


@pytest.mark.parametrize("body", [b"{}", b'{"embeddings": {"float": ["x"]}}', b"[]"])
def test_an_answer_without_vectors(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        COHERE.read_answer(body)


def test_errors() -> None:
    failure = COHERE.read_body_failure(b'{"message": "no such model"}')
    assert failure is not None
    assert failure.message == "no such model"
    assert COHERE.read_body_failure(b"<") is None
    assert COHERE.read_usage(b"<") is None
