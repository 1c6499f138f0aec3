from __future__ import annotations

import pytest
from aiogateway_plugin_ollama import OllamaEmbed

from aiogateway.errors import RequestError, Unsupported
from aiogateway.neutral import Begin, ChatRequest, EmbedRequest, Failure, UsageReport, Vectors, Written
from aiogateway.types import Usage

DIALECT = OllamaEmbed()


def test_a_request_is_written() -> None:
    extra = {"user": "u", "keep_alive": 0, "truncate": False, "num_ctx": 64, "options": {"num_gpu": 1}, "tag": None}
    request = EmbedRequest(model="m", inputs=("a", "b"), dimensions=4, encoding="base64", extra=extra)
    body = {
        "model": "m",
        "input": ["a", "b"],
        "dimensions": 4,
        "keep_alive": 0,
        "truncate": False,
        "options": {"num_gpu": 1, "num_ctx": 64},
    }
    assert DIALECT.write_request(request) == Written(body, ("user",))
    assert DIALECT.write_request(EmbedRequest(model="m", inputs=("a",))).body == {"model": "m", "input": ["a"]}


def test_only_texts_are_written() -> None:
    with pytest.raises(Unsupported):
        DIALECT.write_request(ChatRequest(model="m", messages=()))
    with pytest.raises(RequestError):
        DIALECT.write_request(EmbedRequest(model="m", inputs=(), extra={"options": 1}))


def test_an_answer_is_read() -> None:
    body = b'{"model":"m","embeddings":[[1,-0.5],[0.25,2e-3]],"prompt_eval_count":4}'
    assert DIALECT.read_answer(body) == [
        Begin(model="m"),
        Vectors(((1.0, -0.5), (0.25, 0.002))),
        UsageReport(Usage(input=4)),
    ]
    assert isinstance(DIALECT.read_answer(b'{"error":"invalid input type"}')[0], Failure)


@pytest.mark.parametrize("body", [b"{", b"[]", b"{}", b'{"embeddings":3}', b'{"embeddings":[["x"]]}'])
def test_a_malformed_answer_is_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        DIALECT.read_answer(body)
