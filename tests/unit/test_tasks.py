from __future__ import annotations

import asyncio
import gc
import logging
import weakref

import pytest

from aiogateway.tasks import start_task


async def test_a_task_has_its_name_and_its_result() -> None:
    async def work() -> int:
        return 7

    task = start_task(work(), name="count to seven")
    assert task.get_name() == "count to seven"
    assert await task == 7


async def test_a_task_nobody_holds_is_not_collected() -> None:
    ended = asyncio.Event()
    waits: list[weakref.ref[asyncio.Future[None]]] = []

    async def work() -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waits.append(weakref.ref(future))
        await future  # the future holds the task and the task the future: asyncio alone would let both go
        ended.set()

    start_task(work(), name="alone")
    await asyncio.sleep(0)
    gc.collect()
    future = waits[0]()
    assert future is not None
    future.set_result(None)
    async with asyncio.timeout(1):
        await ended.wait()


async def test_a_failure_nobody_awaits_is_logged_by_name(caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        raise ValueError("broken")

    task = start_task(work(), name="sweeper")
    await asyncio.wait((task,))
    await asyncio.sleep(0)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "sweeper" in record.getMessage()
    assert "broken" in caplog.text


async def test_a_cancelled_task_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    task = start_task(asyncio.Event().wait(), name="waiter")
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait((task,))
    await asyncio.sleep(0)
    assert task.cancelled()
    assert caplog.records == []
