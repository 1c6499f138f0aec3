"""What the mock upstream is asked for and says."""

from __future__ import annotations

import re

import orjson
import pytest

from load_tests.answers import (
    CHUNK_SIZE,
    DONE,
    UNARY,
    Answer,
    make_block,
    make_end,
    read_model,
    read_request,
    write_request,
)


def unframe(data: bytes) -> tuple[bytes, bool]:
    """The body of a chunked HTTP body, and whether its end is there."""
    body = b""
    while data:
        size, data = data.split(b"\r\n", 1)
        body += data[: int(size, 16)]
        data = data[int(size, 16) + 2 :]
        if int(size, 16) == 0:
            return body, data == b""
    return body, False


@pytest.mark.parametrize(
    "answer",
    [
        Answer("unary"),
        Answer("burst", 64),
        Answer("burst", 1024, usage=True),
        Answer("paced", 250, 50),
        Answer("paced", 100, 50, usage=True),
    ],
)
def test_a_request_is_read_as_it_was_meant(answer: Answer) -> None:
    assert read_request(write_request(answer)) == answer


@pytest.mark.parametrize(
    "model", ["gpt-4o", "burst", "burst-x", "burst-0", "paced-0-10", "paced-2000-10", "paced-50", "unary-1"]
)
def test_an_unknown_model_is_refused(model: str) -> None:
    with pytest.raises(ValueError, match=r"unknown model|invalid literal"):
        read_model(model, usage=False)


@pytest.mark.parametrize("body", [b"", b"{", b'{"model":"unary","stream":true}', b'{"model":"burst-64"}'])
def test_a_request_that_lost_something_on_the_way_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_request(body)


@pytest.mark.parametrize("usage", [False, True])
def test_a_stream_is_valid_chunks_then_finish_usage_and_done(usage: bool) -> None:
    body, ended = unframe(make_block(3, usage) + make_end(usage))
    events = body.split(b"\n\n")
    assert ended
    assert events.pop() == b""
    assert len(events) == Answer("burst", 3, 0, usage).events
    assert events.pop() + b"\n\n" == DONE
    chunks = [orjson.loads(event.removeprefix(b"data: ")) for event in events]
    assert all(len(event) + 2 == CHUNK_SIZE for event in events[:3])
    assert [chunk["choices"][0]["delta"]["content"] for chunk in chunks[:3]] == ["0" * 16] * 3
    assert chunks[3]["choices"][0]["finish_reason"] == "stop"
    assert [chunk["choices"] for chunk in chunks[4:]] == ([[]] if usage else [])
    assert all(("usage" in chunk) == usage for chunk in chunks)
    assert {(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks} == {
        ("chatcmpl-load0123456789abcdefghijk", 1760000000, "gpt-4o-mini"),
    }


def test_the_unary_answer_is_as_long_as_it_says() -> None:
    head, body = UNARY.split(b"\r\n\r\n")
    length = re.search(rb"Content-Length: (\d+)", head)
    assert length is not None
    assert int(length[1]) == len(body)
    assert orjson.loads(body)["usage"]["total_tokens"] == 116
