from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aiogateway.testing import split_points


def test_whole_then_two_at_each_position_then_byte_by_byte() -> None:
    assert list(split_points(b"abc")) == [(b"abc",), (b"a", b"bc"), (b"ab", b"c"), (b"a", b"b", b"c")]


def test_short_data_has_no_cut_twice() -> None:
    assert list(split_points(b"")) == [(b"",)]
    assert list(split_points(b"a")) == [(b"a",)]
    assert list(split_points(b"ab")) == [(b"ab",), (b"a", b"b")]


@given(st.binary(max_size=64))
def test_nothing_is_lost(data: bytes) -> None:
    cuts = list(split_points(data))
    assert all(b"".join(pieces) == data for pieces in cuts)
    assert len(set(cuts)) == len(cuts)
