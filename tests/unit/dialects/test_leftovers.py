from __future__ import annotations

from typing import Any

import pytest

from aiogateway.dialects.leftovers import name_leftovers, says_something


@pytest.mark.parametrize("value", [0, True, "x", [0], {"a": None}, 0.0])
def test_what_says_something(value: Any) -> None:
    assert says_something(value)


@pytest.mark.parametrize("value", [None, False, "", [], {}])
def test_what_says_nothing(value: Any) -> None:
    assert not says_something(value)


def test_names() -> None:
    fields = {"logit_bias": {"1": 2}, "store": False, "logprobs": None, "top_logprobs": 0}
    assert list(name_leftovers(fields)) == ["logit_bias", "top_logprobs"]
    assert list(name_leftovers(fields, "a.")) == ["a.logit_bias", "a.top_logprobs"]
