from __future__ import annotations

import pytest

from aiogateway.engine.deadlines import MAX_TICK, PERIOD, Sweeper, Watch
from aiogateway.errors import ClientStalled, FirstTokenTimeout, GatewayError, IdleTimeout, TotalTimeout
from aiogateway.types import Deadlines
from tests.unit.engine.fakes import FakeLoop, FakeSink

LIMITS = Deadlines(first_token=10, unary=20, idle=4, client_stall=8, total=100)


class Watched:
    def __init__(self) -> None:
        self.beats = 0
        self.failed: list[tuple[float, GatewayError]] = []
        self.watch: Watch | None = None
        self.loop = FakeLoop()

    def fail(self, error: GatewayError) -> None:
        self.failed.append((self.loop.now, error))
        if self.watch is not None:  # the handler stops its watch when its exchange has failed
            self.watch.stop()


def make_watch(limits: Deadlines = LIMITS, until: float = 100) -> tuple[Watch, Watched, FakeLoop]:
    watched = Watched()
    watch = watched.watch = Watch(Sweeper(watched.loop.as_loop()), watched, limits, until)
    return watch, watched, watched.loop


def expect(watched: Watched, kind: type[GatewayError], earliest: float, latest: float | None = None) -> None:
    """One failure of `kind`, as soon as a sweep can see it."""
    assert len(watched.failed) == 1
    at, error = watched.failed[0]
    assert type(error) is kind
    assert earliest <= at <= (earliest if latest is None else latest) + 2 * PERIOD


def unexpected(error: GatewayError) -> None:
    pytest.fail(error.message)


def silent(loop: FakeLoop) -> bool:
    """Whether nobody is looked at any more, so that the sweeper ends by itself."""
    loop.advance(2 * PERIOD)
    return not loop.waiting


@pytest.mark.parametrize(("stream", "limit"), [(True, 10), (False, 20)])
def test_first_token_and_unary_have_limits_of_their_own(stream: bool, limit: float) -> None:
    watch, watched, loop = make_watch()
    watch.await_first(stream=stream)
    loop.advance(limit - 0.01)
    assert not watched.failed
    loop.advance(1)
    expect(watched, FirstTokenTimeout, limit)
    assert f"{limit} s" in watched.failed[0][1].message


@pytest.mark.parametrize("until", [10, 3, -1])
def test_what_is_left_of_the_call_bounds_the_first_token(until: float) -> None:
    watch, watched, loop = make_watch(until=until)
    watch.await_first(stream=True)
    loop.advance(20)
    expect(watched, TotalTimeout, max(until, 0))
    assert "100 s" in watched.failed[0][1].message


def test_an_upload_is_bounded_by_the_call_alone() -> None:
    watch, watched, loop = make_watch()
    watch.await_total()
    loop.advance(99.9)
    assert not watched.failed
    loop.advance(1)
    expect(watched, TotalTimeout, 100)


def test_the_first_token_deadline_begins_again_after_an_upload() -> None:
    watch, watched, loop = make_watch()
    watch.await_total()
    loop.advance(50)
    watch.await_first(stream=False)
    loop.advance(49)
    expect(watched, FirstTokenTimeout, 70)


def test_an_upload_may_begin_too_late() -> None:
    watch, watched, loop = make_watch(until=-5)
    watch.await_total()
    loop.advance(1)
    expect(watched, TotalTimeout, 0)


def test_the_first_token_deadline_ends_with_the_answer() -> None:
    watch, watched, loop = make_watch(Deadlines(first_token=1, idle=50, client_stall=50, total=100))
    watch.await_first(stream=True)
    watch.await_idle()
    loop.advance(49)
    assert not watched.failed


@pytest.mark.parametrize("relayed", [False, True])
def test_silence_is_noticed_within_a_tick_of_its_limit(relayed: bool) -> None:
    watch, watched, loop = make_watch()
    loop.advance(0.3)
    if relayed:
        watch.await_relay(FakeSink(), None, unexpected)
    else:
        watch.await_idle()
    loop.advance(0.2)
    watched.beats += 1
    loop.advance(30)
    expect(watched, IdleTimeout, 0.5 + 4, 0.5 + 4 * 1.25 + 4 * PERIOD)
    assert silent(loop)


def test_every_byte_resets_the_idle_limit() -> None:
    watch, watched, loop = make_watch()
    watch.await_idle()
    for _ in range(20):
        loop.advance(3.9)
        watched.beats += 1
    assert not watched.failed
    assert len(loop.waiting) == 1


def test_bytes_never_reset_the_total_limit() -> None:
    watch, watched, loop = make_watch()
    sink = FakeSink()
    watch.await_relay(sink, lambda: pytest.fail("not idle"), unexpected)
    for step in range(1250):
        watched.beats += 1
        sink.paused = step % 2 == 0
        sink.backlog = step
        loop.advance(0.1)
    expect(watched, TotalTimeout, 100, 100 + MAX_TICK)


@pytest.mark.parametrize(
    ("limits", "tick"),
    [
        (Deadlines(idle=0.8, client_stall=8), 0.2),
        (Deadlines(idle=8, client_stall=0.8), 0.2),
        (Deadlines(idle=120, client_stall=120), MAX_TICK),
    ],
)
def test_ticks_are_a_quarter_of_the_shortest_limit_or_of_a_second(limits: Deadlines, tick: float) -> None:
    watch, _, loop = make_watch(limits, until=1000)
    loop.advance(7)
    watch.await_idle()
    assert watch.due == 7 + tick
    loop.advance(tick + 2 * PERIOD)
    assert 7 + 2 * tick <= watch.due <= 7 + 2 * tick + 2 * PERIOD


def test_a_client_that_takes_nothing_is_cut() -> None:
    watch, watched, loop = make_watch()
    sink = FakeSink()
    stalls: list[tuple[float, GatewayError]] = []

    def stall(error: GatewayError) -> None:
        stalls.append((loop.now, error))
        watch.stop()

    watch.await_relay(sink, None, stall)
    sink.paused, sink.backlog = True, 1000
    loop.advance(50)
    assert len(stalls) == 1
    at, error = stalls[0]
    assert isinstance(error, ClientStalled)
    assert "8 s" in error.message
    assert 8 <= at <= 8 + 2 * MAX_TICK + 10 * PERIOD
    assert not watched.failed
    assert silent(loop)


def test_a_slow_client_is_not_cut_while_it_takes_something() -> None:
    watch, watched, loop = make_watch()
    sink = FakeSink()
    watch.await_relay(sink, None, unexpected)
    sink.paused, sink.backlog = True, 1000
    for _ in range(9):
        loop.advance(7)
        sink.backlog -= 1
    assert not watched.failed  # the provider waits for the client: its silence isn't its own


def test_what_the_provider_still_sends_counts_as_movement_while_the_client_is_full() -> None:
    watch, watched, loop = make_watch()
    sink = FakeSink()
    watch.await_relay(sink, None, unexpected)
    sink.paused = True
    for _ in range(8):
        loop.advance(7)
        watched.beats += 1


def test_a_provider_gets_its_whole_idle_limit_after_a_slow_client() -> None:
    watch, watched, loop = make_watch()
    sink = FakeSink()
    watch.await_relay(sink, None, unexpected)
    sink.paused, sink.backlog = True, 1000
    loop.advance(7)
    sink.backlog = 500
    loop.advance(1.1)
    sink.paused = False
    start = loop.now
    loop.advance(50)
    at, error = watched.failed[0]
    assert isinstance(error, IdleTimeout)
    assert at - start >= 4 - 1.2


def test_a_finished_stream_that_stays_open_is_settled_after_one_quiet_tick() -> None:
    watch, watched, loop = make_watch()
    asked: list[float] = []

    def settle() -> bool:
        asked.append(loop.now)
        return True

    watch.await_relay(FakeSink(), settle, unexpected)
    watched.beats += 1
    loop.advance(MAX_TICK + 2 * PERIOD)
    assert not asked  # there was a byte
    loop.advance(50)
    assert len(asked) == 1
    assert 2 * MAX_TICK <= asked[0] <= 2 * MAX_TICK + 4 * PERIOD
    assert not watched.failed
    assert silent(loop)


def test_an_unfinished_stream_is_asked_again_and_goes_idle() -> None:
    watch, watched, loop = make_watch()
    asked: list[float] = []

    def settle() -> bool:
        asked.append(loop.now)
        return False

    watch.await_relay(FakeSink(), settle, unexpected)
    loop.advance(50)
    assert 12 <= len(asked) <= 4 / MAX_TICK
    expect(watched, IdleTimeout, 4, 4 + 4 * PERIOD)


def test_one_timer_serves_all_watches() -> None:
    loop = FakeLoop()
    sweeper = Sweeper(loop.as_loop())
    watched = [Watched() for _ in range(5)]
    for number, one in enumerate(watched):
        one.loop = loop
        one.watch = Watch(sweeper, one, Deadlines(first_token=number + 1), until=100)
        one.watch.await_first(stream=True)
        one.watch.await_first(stream=True)
    assert len(loop.waiting) == 1
    loop.advance(3.5)
    assert [len(one.failed) for one in watched] == [1, 1, 1, 0, 0]
    assert len(loop.waiting) == 1
    loop.advance(3)
    assert not loop.waiting  # nothing to look at: it ends by itself
    watched[0].watch = again = Watch(sweeper, watched[0], Deadlines(first_token=1), until=100)
    again.await_first(stream=True)
    loop.advance(2)
    assert len(watched[0].failed) == 2


def test_a_closed_sweeper_looks_no_more() -> None:
    watch, watched, loop = make_watch()
    watch.await_total()
    watch._sweeper.close()
    watch._sweeper.close()
    assert not loop.waiting
    loop.advance(1000)
    assert not watched.failed


def test_stop_is_the_end_and_may_come_twice() -> None:
    watch, watched, loop = make_watch()
    watch.stop()
    for begin in (watch.await_total, watch.await_idle, lambda: watch.await_first(stream=True)):
        begin()
        watch.stop()
        watch.stop()
        assert silent(loop)
    loop.advance(1000)
    assert not watched.failed
