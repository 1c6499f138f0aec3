from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from aiogateway.config.fields import read_flag, read_text
from aiogateway.config.mistakes import Mistakes
from aiogateway.config.section import Reader, join_path, read_object, spell_fields, to_snake

READERS: Mapping[str, Reader] = {"on_off": read_flag, "word": read_text}


def read(value: Any, **more: Any) -> tuple[dict[str, Any], list[str]]:
    mistakes = Mistakes()
    result = read_object(value, "a.b", READERS, mistakes, **more)
    return result, [str(error) for error in mistakes.join().errors or (mistakes.join(),)] if len(mistakes) else []


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("request_timeout", "request_timeout"),
        ("requestTimeout", "request_timeout"),
        ("strictOpenAiCompliance", "strict_open_ai_compliance"),
        ("awsS3Bucket", "aws_s3_bucket"),
        ("API_KEY", "api_key"),
    ],
)
def test_camel_case_names_become_snake_case(key: str, name: str) -> None:
    assert to_snake(key) == name


def test_paths_escape_names_that_are_no_plain_word() -> None:
    assert join_path("", "api_key") == "api_key"
    assert join_path("targets[1]", "api-key") == "targets[1].api-key"
    assert join_path("targets[1]", "a.b\n") == "targets[1].'a.b\\n'"
    assert len(join_path("", "x" * 1000)) < 100


def test_nulls_are_absent_and_the_order_stays() -> None:
    mistakes = Mistakes()
    assert list(spell_fields({"bB": 1, "a": None, "aA": 2, "a_a": None}, "", mistakes)) == ["b_b", "a_a"]
    assert len(mistakes) == 0


def test_a_field_in_two_spellings_is_a_mistake_and_the_first_counts() -> None:
    mistakes = Mistakes()
    assert spell_fields({"onOff": 1, "on_off": 2}, "a", mistakes) == {"on_off": 1}
    assert str(mistakes.join()) == "a.on_off: is given twice, the second time as 'on_off'"


def test_what_can_be_read_is_read() -> None:
    assert read({"onOff": False, "word": "x"}) == ({"on_off": False, "word": "x"}, [])
    assert read({"on_off": 1, "word": "x", "wrd": 3, "zzz": 3}) == (
        {"word": "x"},
        [
            "a.b.on_off: must be true or false, got 1",
            "a.b.wrd: is not a field of b; did you mean 'word'?",
            "a.b.zzz: is not a field of b (there are: on_off, word)",
        ],
    )


def test_what_must_be_there_is_named_with_its_meaning() -> None:
    assert read({"word": None}, required={"word": "it says it"}) == ({}, ["a.b.word: is missing: it says it"])
    assert read({"word": 3}, required={"word": "it says it"})[1] == [
        "a.b.word: must be a string that is not empty, got 3"
    ]


@pytest.mark.parametrize(
    ("value", "got"), [("sk-canary", "a string"), (3, "3"), (True, "true"), ([], "an empty list"), ([1], "a list")]
)
def test_what_is_no_object_is_refused_with_an_example(value: Any, got: str) -> None:
    assert read(value, example='{"word": "x"}') == ({}, [f'a.b: must be an object such as {{"word": "x"}}, got {got}'])


def test_messages_beyond_the_bound_are_not_made_up() -> None:
    mistakes = Mistakes()
    read_object({f"x{index}": 1 for index in range(500)}, "a", READERS, mistakes)
    assert len(mistakes) == 500
    assert str(mistakes.join()).count("there are") == 50
