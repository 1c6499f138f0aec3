from __future__ import annotations

import pytest
from aiogateway_plugin_vertex import VertexContentEmbeddings, VertexEmbeddings

from aiogateway.errors import Unsupported
from aiogateway.neutral import ChatRequest, EmbedRequest, UsageReport, Vectors
from aiogateway.types import Usage

PREDICT, CONTENT = VertexEmbeddings(), VertexContentEmbeddings()
EXTRA = {"task_type": "RETRIEVAL_QUERY", "autoTruncate": False, "user": "u1", "title": None}


def ask(*texts: str, dimensions: int | None = None, **extra: object) -> EmbedRequest:
    return EmbedRequest(model="m", inputs=texts, dimensions=dimensions, extra=extra)


def test_predict_has_an_instance_for_each_text() -> None:
    written = PREDICT.write_request(ask("tide", "moon", dimensions=64, **EXTRA))
    assert written.body == {
        "instances": [{"content": text, "task_type": "RETRIEVAL_QUERY"} for text in ("tide", "moon")],
        "parameters": {"autoTruncate": False, "outputDimensionality": 64},
    }
    assert written.dropped == ("user",)
    assert PREDICT.write_request(ask("tide")).body == {"instances": [{"content": "tide"}]}


def test_predictions() -> None:
    body = (
        b'{"predictions":[{"embeddings":{"values":[1,0.5],"statistics":{"token_count":2.0}}},'
        b'{"embeddings":{"values":[0],"statistics":{"token_count":3}}}]}'
    )
    usage = Usage(input=5)
    assert list(PREDICT.read_answer(body)) == [Vectors(((1.0, 0.5), (0.0,))), UsageReport(usage)]
    assert PREDICT.read_usage(body) == usage


def test_predictions_without_counts() -> None:
    body = b'{"predictions":[{"embeddings":{"values":[1]}}]}'
    assert list(PREDICT.read_answer(body)) == [Vectors(((1.0,),))]
    assert PREDICT.read_usage(body) is None


@pytest.mark.parametrize("body", [b"{}", b"[]", b'{"predictions":[{}]}'])
def test_what_holds_no_predictions_is_malformed(body: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        PREDICT.read_answer(body)
    assert PREDICT.read_usage(body) is None


def test_one_text_is_a_content_and_several_are_requests() -> None:
    config = {"embedContentConfig": {"taskType": "RETRIEVAL_QUERY", "autoTruncate": False, "outputDimensionality": 8}}
    contents = [{"role": "user", "parts": [{"text": text}]} for text in ("tide", "moon")]
    one = CONTENT.write_request(ask("tide", dimensions=8, **EXTRA))
    two = CONTENT.write_request(ask("tide", "moon", dimensions=8, **EXTRA))
    assert one.body == {"content": contents[0], **config}
    assert two.body == {"requests": [{"content": content, **config} for content in contents]}
    assert one.dropped == two.dropped == ("user",)
    assert CONTENT.write_request(ask("tide")).body == {"content": contents[0]}


def test_one_vector_and_several() -> None:
    one = b'{"embedding":{"values":[1,0]},"usageMetadata":{"promptTokenCount":4}}'
    assert list(CONTENT.read_answer(one)) == [Vectors(((1.0, 0.0),)), UsageReport(Usage(input=4))]
    assert list(CONTENT.read_answer(b'{"embedding":{"values":[1]}}')) == [Vectors(((1.0,),))]
    assert list(CONTENT.read_answer(b'{"embeddings":[{"values":[1]},{"values":[2]}]}')) == [Vectors(((1.0,), (2.0,)))]


def test_errors_are_found() -> None:
    for dialect in (PREDICT, CONTENT):
        failure = dialect.read_body_failure(b'{"error":{"code":400,"message":"no","status":"INVALID_ARGUMENT"}}')
        assert failure is not None
        assert failure.status == 400


def test_only_texts() -> None:
    for dialect in (PREDICT, CONTENT):
        with pytest.raises(Unsupported):
            dialect.write_request(ChatRequest(model="m", messages=()))
