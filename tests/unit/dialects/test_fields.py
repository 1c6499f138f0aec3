from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from aiogateway.dialects import fields
from aiogateway.errors import RequestError

TAKERS: list[tuple[Callable[[Mapping[str, Any], str], Any], list[Any], list[Any]]] = [
    (fields.take_text, ["", "x"], [None, 1, []]),
    (fields.take_optional_text, [None, "x"], [1, []]),
    (fields.take_number, [None, 1, 0.5, -1], ["1", True, []]),
    (fields.take_count, [None, 1, 0], ["1", True, 0.5]),
    (fields.take_flag, [None, True, False], ["true", 1, 0]),
    (fields.take_object, [None, {}, {"a": 1}], [[], "x"]),
    (fields.take_objects, [[], [{}]], ["x", {}, ["x"], [None]]),
    (fields.take_texts, [], [1, {}, [1], ["a", None]]),
]


@pytest.mark.parametrize(("take", "good", "bad"), TAKERS, ids=[take.__name__ for take, _, _ in TAKERS])
def test_the_right_type_or_an_error_that_names_the_field(
    take: Callable[[Mapping[str, Any], str], Any], good: list[Any], bad: list[Any]
) -> None:
    for value in good:
        assert take({"field": value}, "field") == value
    for value in bad:
        with pytest.raises(RequestError, match="field must be") as caught:
            take({"field": value}, "field")
        assert caught.value.param == "field"


def test_absent_fields() -> None:
    assert fields.take_objects({}, "field") == ()
    assert fields.take_texts({}, "field") == ()
    assert fields.take_texts({"field": "x"}, "field") == ("x",)
    assert fields.take_texts({"field": ["x", "y"]}, "field") == ("x", "y")


def test_the_path_is_named() -> None:
    with pytest.raises(RequestError) as caught:
        fields.take_text({}, "name", "tools[2].function.")
    assert caught.value.param == "tools[2].function.name"
