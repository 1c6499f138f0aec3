from __future__ import annotations

import pytest
from aiogateway_plugin_bedrock import BedrockEmbed

from aiogateway.errors import Unsupported
from aiogateway.neutral import ChatRequest, EmbedRequest, Failure, UsageReport, Vectors, Written
from aiogateway.types import Usage

DIALECT = BedrockEmbed()
TITAN = "amazon.titan-embed-text-v2:0"
COHERE = "us.cohere.embed-v4:0"


def test_titan_takes_one_text() -> None:
    request = EmbedRequest(
        model=TITAN, inputs=("a",), dimensions=256, extra={"normalize": False, "user": "u", "x": None}
    )
    assert DIALECT.write_request(request) == Written(
        {"inputText": "a", "dimensions": 256, "normalize": False}, ("user",)
    )
    with pytest.raises(Unsupported, match="one text per call, not 2") as caught:
        DIALECT.write_request(EmbedRequest(model=TITAN, inputs=("a", "b")))
    assert caught.value.param == "input"


def test_cohere_takes_many_and_wants_to_know_what_for() -> None:
    plain = DIALECT.write_request(EmbedRequest(model=COHERE, inputs=("a", "b"), encoding="base64"))
    assert plain.body == {"texts": ["a", "b"], "input_type": "search_document", "embedding_types": ["float"]}
    extra = {"input_type": "search_query", "truncate": "END", "user": "u"}
    asked = DIALECT.write_request(EmbedRequest(model=COHERE, inputs=("a",), dimensions=256, extra=extra))
    assert (asked.body["input_type"], asked.body["truncate"], asked.body["output_dimension"]) == (
        "search_query",
        "END",
        256,
    )
    assert asked.dropped == ("user",)


@pytest.mark.parametrize(
    "request_", [EmbedRequest(model="meta.llama3", inputs=("a",)), ChatRequest(model=TITAN, messages=())], ids=str
)
def test_nothing_else_is_embedded(request_: EmbedRequest | ChatRequest) -> None:
    with pytest.raises(Unsupported):
        DIALECT.write_request(request_)


@pytest.mark.parametrize(
    ("body", "events"),
    [
        (b'{"embedding":[1,-0.5],"inputTextTokenCount":3}', [Vectors(((1.0, -0.5),)), UsageReport(Usage(input=3))]),
        (b'{"embeddings":[[1],[2]],"response_type":"embeddings_floats"}', [Vectors(((1.0,), (2.0,)))]),
        (b'{"embeddings":{"float":[[1]],"int8":[[1]]}}', [Vectors(((1.0,),))]),
    ],
)
def test_answers(body: bytes, events: list[object]) -> None:
    assert DIALECT.read_answer(body) == events
    reports = [event.usage for event in events if isinstance(event, UsageReport)]
    assert DIALECT.read_usage(body) == (reports[0] if reports else None)


def test_an_error_in_a_good_answer() -> None:
    assert isinstance(DIALECT.read_answer(b'{"__type":"ThrottlingException"}')[0], Failure)


@pytest.mark.parametrize("body", [b"{", b"[]", b"{}", b'{"embedding":3}', b'{"embeddings":{}}', b'{"embedding":["x"]}'])
def test_a_malformed_answer_is_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        DIALECT.read_answer(body)
    assert DIALECT.read_usage(body) is None
