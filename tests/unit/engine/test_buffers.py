from __future__ import annotations

import pytest

from aiogateway.engine.buffers import Buffers
from aiogateway.errors import Overloaded


def test_holds_up_to_its_limit_and_not_a_byte_more() -> None:
    buffers = Buffers(10)
    buffers.hold(4)
    buffers.hold(6)
    assert buffers.held == 10
    with pytest.raises(Overloaded) as caught:
        buffers.hold(1)
    assert caught.value.status == 503
    assert buffers.held == 10  # what was refused is not counted


def test_what_is_freed_can_be_held_again() -> None:
    buffers = Buffers(10)
    buffers.hold(10)
    buffers.free(3)
    buffers.hold(3)
    buffers.free(10)
    assert buffers.held == 0
