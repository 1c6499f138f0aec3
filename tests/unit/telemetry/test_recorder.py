from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

from aiogateway.contracts import LogSink
from aiogateway.telemetry import recorder as module
from aiogateway.telemetry.metrics import Metrics
from aiogateway.telemetry.recorder import Recorder
from aiogateway.types import Record
from tests.unit.telemetry.records import make_record


class FakeSink:
    """Keeps what it is given; `wrote` is set by every write, and `work` is what a write does before."""

    def __init__(self, name: str = "fake") -> None:
        self.name = name
        self.batches: list[Sequence[Record]] = []
        self.wrote = asyncio.Event()
        self.closed = False
        self.work: Callable[[], Any] = lambda: asyncio.sleep(0)

    @property
    def ids(self) -> list[str]:
        return [record.id for batch in self.batches for record in batch]

    async def write(self, batch: Sequence[Record]) -> None:
        await self.work()
        self.batches.append(batch)
        self.wrote.set()

    async def close(self) -> None:
        self.closed = True


@pytest.fixture
def sink() -> FakeSink:
    return FakeSink()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
async def start(metrics: Metrics) -> AsyncIterator[Callable[..., Recorder]]:
    recorders: list[Recorder] = []

    def start(*sinks: LogSink, **settings: Any) -> Recorder:
        recorder = Recorder(sinks, metrics, **{"linger": 0.0, "patience": 0.1} | settings)
        recorders.append(recorder)
        recorder.start()
        return recorder

    yield start
    for recorder in recorders:
        await recorder.close(0.05)


def put(recorder: Recorder, count: int, first: int = 0) -> None:
    for number in range(first, first + count):
        recorder.put(make_record(id=str(number)))


def lost(metrics: Metrics, sink: str = "fake") -> float | None:
    return metrics.registry.get_sample_value("aiogateway_dropped_records_total", {"sink": sink})


async def hang() -> None:
    await asyncio.Event().wait()


async def test_records_arrive_in_order_and_in_batches(start: Callable[..., Recorder], sink: FakeSink) -> None:
    recorder = start(sink, batch=4)
    put(recorder, 10)
    await recorder.close(1)
    assert sink.ids == [str(number) for number in range(10)]
    assert [len(batch) for batch in sink.batches] == [4, 4, 2]
    assert sink.closed


async def test_an_idle_recorder_wakes_up_again(start: Callable[..., Recorder], sink: FakeSink) -> None:
    recorder = start(sink)
    for number in range(3):
        sink.wrote.clear()
        put(recorder, 1, first=number)
        async with asyncio.timeout(1):
            await sink.wrote.wait()
    assert sink.ids == ["0", "1", "2"]


async def test_records_share_a_write_when_they_come_one_by_one(start: Callable[..., Recorder], sink: FakeSink) -> None:
    recorder = start(sink, linger=0.1)
    for number in range(20):
        put(recorder, 1, first=number)
        await asyncio.sleep(0)
    async with asyncio.timeout(1):
        await sink.wrote.wait()
    assert len(sink.batches) == 1
    assert len(sink.ids) == 20


async def test_closing_does_not_wait_for_company(start: Callable[..., Recorder], sink: FakeSink) -> None:
    recorder = start(sink, linger=60.0)
    put(recorder, 1)
    await asyncio.sleep(0)
    async with asyncio.timeout(1):
        await recorder.close(30)
    assert sink.ids == ["0"]


async def test_records_from_before_the_start_are_kept(metrics: Metrics, sink: FakeSink) -> None:
    recorder = Recorder((sink,), metrics, linger=0.0)
    put(recorder, 2)
    recorder.start()
    await recorder.close(1)
    assert sink.ids == ["0", "1"]


async def test_never_started_means_lost_and_counted(metrics: Metrics, sink: FakeSink) -> None:
    recorder = Recorder((sink,), metrics)
    put(recorder, 2)
    await recorder.close(0.05)
    assert lost(metrics) == 2
    assert sink.closed


async def test_a_full_queue_drops_the_newest(start: Callable[..., Recorder], sink: FakeSink, metrics: Metrics) -> None:
    recorder = start(sink, bound=5)
    put(recorder, 8)
    assert lost(metrics) == 3
    await recorder.close(1)
    assert sink.ids == ["0", "1", "2", "3", "4"]


async def test_a_failing_sink_loses_its_own_batch_only(
    start: Callable[..., Recorder], metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    good, bad = FakeSink("good"), FakeSink("bad")

    async def fail() -> None:
        bad.work = lambda: asyncio.sleep(0)
        raise OSError("no space left")

    bad.work = fail
    recorder = start(good, bad, batch=3)
    put(recorder, 6)
    await recorder.close(1)
    assert good.ids == ["0", "1", "2", "3", "4", "5"]
    assert bad.ids == ["3", "4", "5"]
    assert (lost(metrics, "good"), lost(metrics, "bad")) == (None, 3)
    assert "log sink bad lost 3 records: OSError: no space left" in caplog.text
    assert "log sink bad works again" in caplog.text


async def test_a_slow_sink_loses_its_batch_and_delays_nobody(
    start: Callable[..., Recorder], metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    quick, slow = FakeSink("quick"), FakeSink("slow")
    slow.work = hang
    recorder = start(slow, quick, patience=0.05)
    put(recorder, 2)
    async with asyncio.timeout(1):
        await quick.wrote.wait()
    assert lost(metrics, "slow") is None  # still at it, while the other one is done
    slow.work = lambda: asyncio.sleep(0)
    put(recorder, 1, first=2)
    async with asyncio.timeout(1):
        await slow.wrote.wait()
    assert slow.ids == ["2"]
    assert lost(metrics, "slow") == 2
    assert "log sink slow lost 2 records: a write took longer than 0.05 s" in caplog.text


async def test_a_sink_that_cancels_itself_does_not_end_the_recorder(
    start: Callable[..., Recorder], sink: FakeSink, metrics: Metrics
) -> None:
    async def cancel() -> None:
        sink.work = lambda: asyncio.sleep(0)
        raise asyncio.CancelledError

    sink.work = cancel
    recorder = start(sink, batch=1)
    put(recorder, 2)
    await recorder.close(1)
    assert sink.ids == ["1"]
    assert lost(metrics) == 1


async def test_a_sink_that_is_no_coroutine_function_is_a_failure(
    start: Callable[..., Recorder], metrics: Metrics
) -> None:
    class Rubbish:
        name = "rubbish"

        def write(self, batch: Sequence[Record]) -> int:
            return len(batch)

        def close(self) -> None:
            raise RuntimeError("no")

    rubbish: Any = Rubbish()
    recorder = start(rubbish)
    put(recorder, 2)
    await recorder.close(1)
    assert lost(metrics, "rubbish") == 2


async def test_a_lasting_failure_is_said_once_and_summed_up(
    start: Callable[..., Recorder], sink: FakeSink, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail() -> None:
        if len(sink.batches) == 0 and lost(metrics) == 9:
            sink.work = lambda: asyncio.sleep(0)
        raise OSError("gone")

    sink.work = fail
    recorder = start(sink, batch=1)
    put(recorder, 11)
    await recorder.close(1)
    assert lost(metrics) == 10
    lines = [record.getMessage() for record in caplog.records if record.name == module.__name__]
    assert lines == [
        "log sink fake lost 1 records: OSError: gone",
        "log sink fake works again; 9 more records were lost",
    ]


async def test_failing_names_the_sinks_in_trouble(start: Callable[..., Recorder], sink: FakeSink) -> None:
    failed = asyncio.Event()

    async def fail() -> None:
        failed.set()
        raise OSError("gone")

    recorder = start(FakeSink("fine"), sink)
    assert not recorder.failing
    sink.work = fail
    put(recorder, 1)
    await failed.wait()
    await asyncio.sleep(0)
    assert list(recorder.failing) == ["fake"]
    sink.work = lambda: asyncio.sleep(0)
    put(recorder, 1)
    async with asyncio.timeout(1):
        await sink.wrote.wait()
    await asyncio.sleep(0)
    assert not recorder.failing


async def test_closing_gives_up_at_its_limit_and_counts(
    start: Callable[..., Recorder], sink: FakeSink, metrics: Metrics
) -> None:
    sink.work = hang
    recorder = start(sink, batch=2, patience=60.0)
    put(recorder, 5)
    await asyncio.sleep(0)
    async with asyncio.timeout(1):
        await recorder.close(0.05)
    assert lost(metrics) == 5  # two in the middle of a write, three behind them
    assert sink.closed


async def test_closing_outlasts_a_sink_that_ignores_cancellation(
    start: Callable[..., Recorder], sink: FakeSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_FAREWELL", 0.05)
    freed = asyncio.Event()

    async def ignore() -> None:
        while not freed.is_set():
            try:
                await freed.wait()
            except asyncio.CancelledError:
                continue

    sink.work = ignore
    sink.close = ignore  # type: ignore[method-assign]
    recorder = start(sink)
    put(recorder, 1)
    async with asyncio.timeout(1):
        await recorder.close(0.05)
    freed.set()


async def test_a_late_record_is_counted_not_kept(
    start: Callable[..., Recorder], sink: FakeSink, metrics: Metrics
) -> None:
    recorder = start(sink)
    await recorder.close(1)
    put(recorder, 1)
    assert lost(metrics) == 1
    assert sink.ids == []


async def test_a_sink_that_fails_to_close_is_named(
    start: Callable[..., Recorder], sink: FakeSink, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail() -> None:
        raise OSError("stuck")

    sink.close = fail  # type: ignore[method-assign]
    recorder = start(sink)
    with caplog.at_level(logging.WARNING):
        await recorder.close(1)
    assert "log sink fake failed to close: OSError: stuck" in caplog.text


async def test_without_sinks_there_is_nothing_to_do(start: Callable[..., Recorder]) -> None:
    recorder = start()
    before = asyncio.all_tasks()
    put(recorder, 3)
    await recorder.close(1)
    assert asyncio.all_tasks() == before


async def test_no_task_outlives_closing(start: Callable[..., Recorder], sink: FakeSink) -> None:
    before = asyncio.all_tasks()
    recorder = start(sink, FakeSink("second"))
    put(recorder, 3)
    await recorder.close(1)
    assert asyncio.all_tasks() == before
