from __future__ import annotations

import orjson
import pytest

from aiogateway.dialects.usage import find_usage, read_usage, write_usage
from aiogateway.types import Usage

FULL = {
    "prompt_tokens": 3,
    "completion_tokens": 5,
    "total_tokens": 8,
    "prompt_tokens_details": {"cached_tokens": 2, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 4},
}
USAGE = Usage(input=3, output=5, cached=2, reasoning=4)


@pytest.mark.parametrize(
    "counts",
    [
        FULL,
        {
            "input_tokens": 3,
            "output_tokens": 5,
            "input_tokens_details": {"cached_tokens": 2},
            "output_tokens_details": {"reasoning_tokens": 4},
        },
        {**FULL, "prompt_tokens_details": None, "prompt_cache_hit_tokens": 2},
    ],
)
def test_each_way_of_saying_it(counts: dict[str, object]) -> None:
    assert read_usage(counts) == USAGE


@pytest.mark.parametrize("value", [None, {}, [], 3, {"tokens": 3}])
def test_what_is_no_usage(value: object) -> None:
    assert read_usage(value) is None


def test_rubbish_counts_as_nothing() -> None:
    assert read_usage({"prompt_tokens": "many", "completion_tokens": None}) == Usage()
    assert read_usage({"total_tokens": "5", "completion_tokens_details": [1]}) == Usage()


def test_a_total_alone_is_all_input() -> None:
    """As Voyage counts its embeddings."""
    assert read_usage({"total_tokens": 5}) == Usage(input=5)
    assert read_usage({"total_tokens": 5, "completion_tokens": 2}) == Usage(output=2)
    assert find_usage(b'{"data":[],"usage":{"total_tokens":5}}') == Usage(input=5)


def test_what_is_written_is_read_back() -> None:
    assert write_usage(USAGE)["total_tokens"] == 8
    assert read_usage(write_usage(USAGE)) == USAGE


@pytest.mark.parametrize("name", ["cache_write_tokens", "cache_creation_tokens"])
def test_what_was_written_to_a_cache(name: str) -> None:
    counts = {"prompt_tokens": 9, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 2, name: 4}}
    usage = Usage(input=9, output=1, cached=2, cache_write=4)
    assert read_usage(counts) == usage
    assert write_usage(usage)["prompt_tokens_details"] == {"cached_tokens": 2, "cache_write_tokens": 4}


STREAM = (
    b'data: {"choices":[{"delta":{"content":"\\"usage\\": {\\"prompt_tokens\\": 99}"}}],"usage":null}\n\n'
    b'data: {"choices":[],"usage":' + orjson.dumps(FULL) + b"}\n\ndata: [DONE]\n\n"
)


def test_the_tail_may_begin_anywhere_before_the_usage() -> None:
    last = STREAM.rindex(b'"usage"')
    for start in range(len(STREAM)):
        assert find_usage(STREAM[start:]) == (USAGE if start <= last else None)


def test_a_tail_that_ends_too_early_has_no_usage() -> None:
    end = STREAM.index(b"}\n\ndata: [DONE]")
    for cut in range(end):
        assert find_usage(STREAM[:cut]) is None
    assert find_usage(STREAM[:end]) == USAGE


def test_the_last_one_counts_and_null_does_not() -> None:
    tail = b'{"usage":{"prompt_tokens":1}}\n{"usage": {"prompt_tokens":2}}\n{"usage":null}\n{"usage":{"other":1}}'
    assert find_usage(tail) == Usage(input=2)


def test_a_pretty_printed_body() -> None:
    assert find_usage(orjson.dumps({"choices": [], "usage": FULL}, option=orjson.OPT_INDENT_2)) == USAGE
    assert find_usage(b'{"usage"  :\n\t{"prompt_tokens": 3}}') == Usage(input=3)
    assert find_usage(b"") is None
