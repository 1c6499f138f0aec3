from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiogateway.config.operators import OPERATORS
from aiogateway.config.patterns import Patience
from aiogateway.errors import ConfigError

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
DEEP: Any = "x"
for _ in range(900):
    DEEP = [DEEP]


def accepts(operator: str, value: Any, operand: Any) -> bool:
    row = OPERATORS[operator]
    return row.accepts(value, row.read(operand, "p"), Patience())


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("a", "a", True),
        ("a", "b", False),
        ("1", 1, False),
        (1, 1.0, True),
        (1, True, False),
        (0, False, False),
        (False, False, True),
        (None, None, True),
        (None, False, False),
        (None, 0, False),
        ([1, 2], [1, 2], True),
        ([1, 2], [2, 1], False),
        ([1], [True], False),
        ([], {}, False),
        ({"a": 1, "b": [None]}, {"b": [None], "a": 1}, True),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ({"a": 0}, {"a": False}, False),
        (10**400, 1e308, False),
        (float("nan"), float("nan"), False),
    ],
)
def test_equality(one: Any, other: Any, same: bool) -> None:
    assert accepts("$eq", one, other) is accepts("$eq", other, one) is same
    assert accepts("$ne", one, other) is not same
    if one == one:  # noqa: PLR0124  (a NaN is the same object in the list)
        assert accepts("$in", one, ["x", other]) is same
        assert accepts("$nin", one, ["x", other]) is not same


@pytest.mark.parametrize(
    ("value", "limit", "order"),
    [
        (1, 2, "<"),
        (2, 1, ">"),
        (1, 1.0, "="),
        ("10", "9", ">"),
        ("10", 9.5, ">"),
        (" 1e3 ", 1000, "="),
        ("-.5", 0, "<"),
        (10**400, 1e308, ">"),
        ("9007199254740993", 9007199254740992, ">"),
        (float("inf"), 10**400, ">"),
    ],
)
def test_order(value: Any, limit: Any, order: str) -> None:
    holding = {"<": {"$lt", "$lte"}, "=": {"$lte", "$gte"}, ">": {"$gt", "$gte"}}[order]
    assert {name for name in ("$gt", "$gte", "$lt", "$lte") if accepts(name, value, limit)} == holding


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        False,
        "",
        "x",
        "1,5",
        "1_000",
        "0x10",
        "nan",
        "inf",
        "١",
        "1" * 65,
        float("nan"),
        [],
        [1],
        {},
        {"a": 1},
    ],
)
def test_what_is_no_number_compares_with_none(value: Any) -> None:
    for name in ("$gt", "$gte", "$lt", "$lte"):
        assert not accepts(name, value, 0)


@pytest.mark.parametrize("value", [None, 1, True, ["a"], {"a": "a"}])
def test_only_text_is_searched(value: Any) -> None:
    assert not accepts("$regex", value, "")


@pytest.mark.parametrize(
    ("name", "operand", "message"),
    [
        ("$gt", "x", "must be a number, got 'x'"),
        ("$gte", True, "must be a number, got true"),
        ("$lt", None, "must be a number, got null"),
        ("$lte", [1], "must be a number, got a list"),
        ("$in", "a", "must be a list of values, got 'a'"),
        ("$nin", {"a": 1}, "must be a list of values, got an object"),
        ("$regex", 5, "must be a pattern as a string, got 5"),
        ("$eq", [[[[[[[[[1]]]]]]]]], "is nested too deep: at most 8 levels"),
        ("$in", [{"a": [[[[[[[1]]]]]]]}], "is nested too deep: at most 8 levels"),
    ],
)
def test_operands(name: str, operand: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        OPERATORS[name].read(operand, "q.k")
    assert (caught.value.path, caught.value.reason) == ("q.k", message)


def test_values_as_deep_as_they_come() -> None:
    assert accepts("$eq", [[[[[[[[1]]]]]]]], [[[[[[[[1]]]]]]]])
    assert accepts("$ne", DEEP, [[[[[[[[1]]]]]]]])
    assert accepts("$nin", DEEP, [[[[[[[1]]]]]]])


@given(JSON, JSON)
def test_no_value_is_too_strange(value: Any, operand: Any) -> None:
    for name, row in OPERATORS.items():
        try:
            ready = row.read(operand, "p")
        except ConfigError:
            continue
        assert row.accepts(value, ready, Patience()) in (True, False), name
