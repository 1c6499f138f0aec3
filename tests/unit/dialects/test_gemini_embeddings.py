from __future__ import annotations

import pytest

from aiogateway.dialects.gemini_embeddings import GeminiEmbeddings
from aiogateway.errors import Unsupported
from aiogateway.neutral import ChatRequest, EmbedRequest, UsageReport, Vectors
from aiogateway.types import Usage

DIALECT = GeminiEmbeddings()


def test_each_text_is_a_request() -> None:
    request = EmbedRequest(
        model="gemini-embedding-001",
        inputs=("tide", "moon"),
        dimensions=256,
        encoding="base64",
        extra={"task_type": "RETRIEVAL_QUERY", "title": None, "user": "u1"},
    )
    written = DIALECT.write_request(request)
    own = {"taskType": "RETRIEVAL_QUERY", "outputDimensionality": 256}
    assert written.body == {
        "requests": [
            {"model": "models/gemini-embedding-001", "content": {"parts": [{"text": text}]}, **own}
            for text in ("tide", "moon")
        ]
    }
    assert written.dropped == ("user",)


def test_a_model_with_a_collection_keeps_it() -> None:
    written = DIALECT.write_request(EmbedRequest(model="tunedModels/mine", inputs=("a",)))
    assert written.body["requests"][0]["model"] == "tunedModels/mine"


def test_vectors_and_usage() -> None:
    body = b'{"embeddings":[{"values":[1,0.5]},{"values":[]}],"usageMetadata":{"promptTokenCount":3}}'
    assert list(DIALECT.read_answer(body)) == [Vectors(((1.0, 0.5), ())), UsageReport(Usage(input=3))]
    assert DIALECT.read_usage(body) == Usage(input=3)


@pytest.mark.parametrize("body", [b"{}", b"[]", b'{"embeddings":[{}]}', b'{"embeddings":[{"values":["x"]}]}'])
def test_what_holds_no_vectors_is_malformed(body: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        DIALECT.read_answer(body)


def test_an_error_body_is_found() -> None:
    failure = DIALECT.read_body_failure(b'{"error":{"code":400,"message":"too many","status":"INVALID_ARGUMENT"}}')
    assert failure is not None
    assert (failure.status, failure.message) == (400, "too many")


def test_only_texts() -> None:
    with pytest.raises(Unsupported):
        DIALECT.write_request(ChatRequest(model="m", messages=()))
