from __future__ import annotations

import logging
from typing import Any, cast

import pytest

from aiogateway.telemetry import observers as module
from aiogateway.telemetry.observers import GuardedObserver
from aiogateway.types import Attempt, Call, Record, Trace

CALL = Call(id="c", trace=Trace(id="t"), received=0.0, clock=0.0, method="POST", route="/v1/chat/completions")
ATTEMPT = Attempt(target="config", provider="mock", model="m", start=0)
RECORD = cast(Record, "record")


class Watch:
    """An observer that notes what it is told, or raises."""

    def __init__(self, *, fails: bool = False) -> None:
        self.told: list[Any] = []
        self.fails = fails

    def _tell(self, news: Any) -> None:
        if self.fails:
            raise RuntimeError("no luck")
        self.told.append(news)

    attempt = commit = end = _tell


class Notes:
    """What the metrics would be told."""

    def __init__(self) -> None:
        self.failures: list[tuple[str, str]] = []
        self.times: list[tuple[str, float]] = []

    def fail_plugin(self, plugin: str, hook: str) -> None:
        self.failures.append((plugin, hook))

    def time_plugin(self, plugin: str, seconds: float) -> None:
        self.times.append((plugin, seconds))


def observing(watch: Watch | Exception | None, notes: Notes | None = None) -> GuardedObserver:
    def begin(call: Call) -> Any:
        assert call is CALL
        if isinstance(watch, Exception):
            raise watch
        return watch

    return GuardedObserver("acme", begin, takes_call=True, report=notes)


def test_each_word_is_passed_on_and_timed() -> None:
    watch, notes = Watch(), Notes()
    observer = observing(watch, notes)
    seen = observer(CALL)
    assert seen is not None
    seen.attempt(ATTEMPT)
    seen.commit(CALL)
    seen.end(RECORD)
    assert watch.told == [ATTEMPT, CALL, RECORD]
    assert (observer.calls, observer.failures) == (4, 0)
    assert [plugin for plugin, _ in notes.times] == ["acme"] * 4
    assert observer.seconds == pytest.approx(sum(seconds for _, seconds in notes.times))


def test_one_that_raises_is_isolated_counted_and_named(caplog: pytest.LogCaptureFixture) -> None:
    notes = Notes()
    observer = observing(Watch(fails=True), notes)
    seen = observer(CALL)
    assert seen is not None
    for _ in range(10):
        seen.attempt(ATTEMPT)
        seen.commit(CALL)
    seen.end(RECORD)
    assert observer.failures == 21
    assert notes.failures == [("acme", "observe_call")] * 21
    lines = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(lines) == 5  # 1, 2, 4, 8, 16
    assert all("acme" in line.getMessage() for line in lines)


def test_a_hook_that_raises_observes_nothing() -> None:
    observer = observing(RuntimeError("no luck"))
    assert observer(CALL) is None
    assert observer.failures == 1


def test_a_slow_one_is_named(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    observer = observing(Watch())
    observer(CALL)
    assert caplog.text == ""
    monkeypatch.setattr(module, "SLOW", 0.0)
    observer(CALL)
    assert "plugin acme held up every call" in caplog.text
