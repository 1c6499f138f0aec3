from __future__ import annotations

import asyncio

import pytest
from aiogateway_plugin_bedrock.leases import PAUSE, Lease, Leases

from aiogateway.errors import UpstreamError


class Source:
    """Gives 1, 2, 3, … once it may."""

    def __init__(self) -> None:
        self.now = 0.0
        self.asked = 0
        self.may = asyncio.Event()
        self.may.set()
        self.error: Exception | None = None
        self.leases: Leases[int] = Leases(2, clock=lambda: self.now)

    async def fetch(self) -> Lease[int]:
        self.asked += 1
        number = self.asked
        await self.may.wait()
        if self.error is not None:
            raise self.error
        return Lease(number, fresh=100.0, valid=200.0)

    async def get(self, key: str = "k") -> int:
        return await self.leases.get(key, self.fetch)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_however_many_ask_it_is_fetched_once() -> None:
    source = Source()
    source.may.clear()
    waiting = [asyncio.create_task(source.get()) for _ in range(5)]
    await settle()
    waiting[0].cancel()  # who leaves takes nothing from the others
    source.may.set()
    assert await asyncio.gather(*waiting[1:]) == [1, 1, 1, 1]
    assert (source.asked, await source.get()) == (1, 1)


async def test_it_is_renewed_before_its_end_without_anyone_waiting() -> None:
    source = Source()
    await source.get()
    source.now = 99.0
    assert await source.get() == 1
    assert source.asked == 1
    source.may.clear()
    source.now = 100.0
    assert [await source.get() for _ in range(3)] == [1, 1, 1]
    await settle()
    assert source.asked == 2
    source.may.set()
    await settle()
    assert await source.get() == 2


async def test_after_its_end_it_is_waited_for() -> None:
    source = Source()
    await source.get()
    source.now = 200.0
    assert await source.get() == 2


async def test_what_can_not_be_renewed_is_used_to_its_end(caplog: pytest.LogCaptureFixture) -> None:
    source = Source()
    await source.get()
    source.error = UpstreamError("no")
    source.now = 100.0
    assert await source.get() == 1
    await settle()
    source.now += PAUSE - 1
    assert await source.get() == 1
    await settle()
    assert source.asked == 2
    source.now += 1
    assert await source.get() == 1
    await settle()
    assert source.asked == 3
    source.now = 200.0
    with pytest.raises(UpstreamError, match="no"):
        await source.get()
    assert caplog.text.count("could not be had") == 3
    source.error = None
    assert await source.get() == 5


async def test_everyone_who_waits_hears_of_a_failure() -> None:
    source = Source()
    source.error = UpstreamError("no")
    results = await asyncio.gather(source.get(), source.get(), return_exceptions=True)
    assert [str(error) for error in results] == ["no", "no"]
    assert source.asked == 1


async def test_only_the_most_recently_used_are_kept() -> None:
    source = Source()
    assert [await source.get(key) for key in ("a", "b", "a", "c")] == [1, 2, 1, 3]
    assert [await source.get(key) for key in ("a", "c", "b")] == [1, 3, 4]


def test_each_loop_fetches_for_itself() -> None:
    """A fetch that died with its loop holds nobody up."""
    source = Source()
    source.may.clear()

    async def leave() -> None:
        task = asyncio.create_task(source.get())
        await settle()
        task.cancel()

    asyncio.run(leave())
    source.may = asyncio.Event()
    source.may.set()
    assert asyncio.run(source.get()) == 2
