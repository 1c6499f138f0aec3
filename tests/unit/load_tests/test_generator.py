"""The pure part of the load generator."""

from __future__ import annotations

import pytest

from load_tests.generator import find_percentile


@pytest.mark.parametrize(("share", "value"), [(0.0, 1), (0.5, 51), (0.99, 100), (1.0, 100)])
def test_percentiles_are_values_that_occurred(share: float, value: int) -> None:
    assert find_percentile(list(range(1, 101)), share) == value


def test_one_value_is_every_percentile() -> None:
    assert find_percentile([7], 0.5) == find_percentile([7], 0.99) == 7
