"""Paced streams take turns on one timer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from load_tests.wheel import Wheel


class Loop:
    """A loop whose clock only moves when told."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, due: float, call: Callable[[], None]) -> None:
        self.calls.append((due, call))

    def advance(self, seconds: float, step: float = 0.001) -> None:
        end = self.now + seconds
        while self.now < end - step / 2:
            self.now += step
            for entry in [entry for entry in self.calls if entry[0] <= self.now + 1e-9]:
                self.calls.remove(entry)
                entry[1]()


class Member:
    def __init__(self) -> None:
        self.turns = 0

    def emit(self) -> None:
        self.turns += 1


def make_wheel(rate: int, members: int) -> tuple[Loop, Wheel, list[Member]]:
    loop = Loop()
    wheel = Wheel(cast(asyncio.AbstractEventLoop, loop), rate)
    made = [Member() for _ in range(members)]
    for member in made:
        wheel.add(member)
    return loop, wheel, made


def test_every_member_has_its_rate() -> None:
    loop, _, members = make_wheel(50, 30)
    loop.advance(1.0)
    assert {member.turns for member in members} == {50}


def test_members_are_spread_over_the_period() -> None:
    loop, _, members = make_wheel(50, 20)
    loop.advance(0.010)
    assert sum(member.turns for member in members) == 10


def test_a_late_wheel_catches_up_but_never_sends_a_burst() -> None:
    loop, _, members = make_wheel(50, 1)
    loop.advance(0.1, step=0.01)
    assert members[0].turns in {5, 6}
    loop.advance(1.0, step=1.0)
    assert members[0].turns in {6, 7}


def test_a_wheel_without_members_stops_and_starts_again() -> None:
    loop, wheel, members = make_wheel(50, 1)
    wheel.discard(members[0])
    wheel.discard(members[0])
    loop.advance(0.1)
    assert not loop.calls
    wheel.add(members[0])
    loop.advance(0.1)
    assert members[0].turns == 5
