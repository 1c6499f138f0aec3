from __future__ import annotations

from aiogateway.config.shelf import Shelf


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_shelf_is_bounded_and_the_least_used_goes_first() -> None:
    shelf: Shelf[str, str] = Shelf(limit=30, idle=600, clock=Clock(), period=60)
    for name in "abc":
        shelf.put(name, name, 10)
    assert shelf.get("a") == "a"  # used again
    shelf.put("d", "d", 15)
    assert [shelf.get(name) for name in "abcd"] == ["a", None, None, "d"]
    assert (len(shelf), shelf.size) == (2, 25)


def test_what_is_too_heavy_for_a_shelf_pushes_nothing_out() -> None:
    shelf: Shelf[str, str] = Shelf(limit=30, idle=600, clock=Clock(), period=60)
    shelf.put("a", "a", 30)
    shelf.put("b", "b", 31)
    assert [shelf.get(name) for name in "ab"] == ["a", None]
    assert shelf.size == 30


def test_what_is_not_used_for_ten_minutes_goes() -> None:
    clock = Clock()
    shelf: Shelf[str, str] = Shelf(limit=1000, idle=600, clock=clock, period=60)
    shelf.put("old", "old", 10)
    clock.now = 300
    shelf.put("used", "used", 10)
    clock.now = 599
    assert shelf.get("old") == "old"
    clock.now = 1000
    assert shelf.get("used") is None  # 700 s
    assert (len(shelf), shelf.size) == (1, 10)
    clock.now = 1300
    assert shelf.get("nobody") is None  # any use of the shelf drops what is due
    assert (len(shelf), shelf.size) == (0, 0)
