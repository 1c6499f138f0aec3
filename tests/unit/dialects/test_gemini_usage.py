from __future__ import annotations

from typing import Any

import orjson
import pytest

from aiogateway.dialects.gemini_usage import count_usage, find_usage
from aiogateway.types import Usage

COUNTS = {
    "promptTokenCount": 55,
    "candidatesTokenCount": 51,
    "totalTokenCount": 251,
    "cachedContentTokenCount": 40,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 55}],
    "toolUsePromptTokenCount": 89,
    "thoughtsTokenCount": 56,
}
USAGE = Usage(input=144, output=107, cached=40, reasoning=56)


def test_tool_prompts_are_input_and_thoughts_are_output() -> None:
    assert count_usage(COUNTS) == USAGE


def test_a_first_chunk_has_input_only() -> None:
    assert count_usage({"promptTokenCount": 9, "totalTokenCount": 9}) == Usage(input=9)


@pytest.mark.parametrize("value", [None, {}, [], "9", {"trafficType": "ON_DEMAND"}])
def test_what_counts_nothing_is_no_usage(value: Any) -> None:
    assert count_usage(value) is None


@pytest.mark.parametrize("indent", [0, orjson.OPT_INDENT_2])
def test_the_last_usage_of_a_tail_is_found_wherever_it_was_cut(indent: int) -> None:
    first = orjson.dumps({"usageMetadata": {"promptTokenCount": 1}}, option=indent)
    last = orjson.dumps({"usageMetadata": COUNTS, "modelVersion": "gemini-2.5-flash"}, option=indent)
    tail = first + b"\n\n" + last
    for start in range(len(first)):
        assert find_usage(tail[start:]) == USAGE


def test_an_older_usage_counts_when_the_last_is_cut() -> None:
    tail = b'{"usageMetadata":{"promptTokenCount":4}}\n\n{"usageMetadata":{"promptTokenCount":'
    assert find_usage(tail) == Usage(input=4)


@pytest.mark.parametrize(
    "tail",
    [
        b"",
        b'"usageMetadata"',
        b'"usageMetadata": null, "x": {"promptTokenCount": 3}',
        rb'{"text": "\"usageMetadata\": {}"}',
    ],
)
def test_text_about_usage_is_none(tail: bytes) -> None:
    assert find_usage(tail) is None
