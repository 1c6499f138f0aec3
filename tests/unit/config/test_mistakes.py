from __future__ import annotations

from typing import Any

import pytest

from aiogateway.config.mistakes import MAX_MISTAKES, MAX_TEXT, Mistakes, join_errors
from aiogateway.errors import ConfigError


def refuse(value: Any, path: str) -> str:
    raise ConfigError(f"not {value}", path=path)


def test_one_mistake_is_raised_as_it_is() -> None:
    mistakes, error = Mistakes(), ConfigError("no", path="a")
    mistakes.check()
    mistakes.add(error)
    with pytest.raises(ConfigError) as caught:
        mistakes.check()
    assert caught.value is error


def test_several_are_one_error_that_lists_them() -> None:
    mistakes = Mistakes()
    mistakes.note("is bad", "a")
    assert mistakes.take(refuse, 3, "b") is None
    assert mistakes.take(lambda value, path: value, 3, "c") == 3
    error = mistakes.join()
    assert [(one.path, one.reason) for one in error.errors] == [("a", "is bad"), ("b", "not 3")]
    assert str(error) == "2 mistakes: a: is bad; b: not 3"
    assert error.path == ""


def test_a_joined_error_counts_as_its_parts() -> None:
    errors = [ConfigError("1", path="a"), ConfigError("2", path="b")]
    joined = join_errors([join_errors(errors), ConfigError("3", path="c")])
    assert [one.path for one in joined.errors] == ["a", "b", "c"]


def test_of_too_many_only_the_number_is_told() -> None:
    mistakes = Mistakes()
    for index in range(MAX_MISTAKES + 20):
        assert mistakes.full is (index >= MAX_MISTAKES)
        mistakes.note("is bad", f"a{index}")
    error = mistakes.join()
    assert len(mistakes) == MAX_MISTAKES + 20
    assert len(error.errors) == MAX_MISTAKES + 1
    assert str(error).startswith(f"{MAX_MISTAKES + 20} mistakes: ")
    assert str(error).endswith("; and 20 more")


def test_long_messages_fill_it_too() -> None:
    mistakes = Mistakes()
    for _ in range(20):
        mistakes.note("x" * (MAX_TEXT // 4), "a")
    assert len(mistakes.join().errors) == 5
    assert len(str(mistakes.join())) < 2 * MAX_TEXT
