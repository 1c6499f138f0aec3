from __future__ import annotations

import random
from typing import NamedTuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from aiogateway.config.conditions import Facts
from aiogateway.config.model import Mode
from aiogateway.config.tree import Branch
from aiogateway.contracts import Admission, CircuitBreakers
from aiogateway.engine.breaker import BUCKETS, MAX_CIRCUITS, WINDOW, LocalBreakers
from aiogateway.engine.route import Setback, walk
from aiogateway.types import CircuitRules, Target

KEY = b"k" * 32
RULES = CircuitRules(failures=3, cooldown=10.0)
SHARE = CircuitRules(failures=None, failure_percentage=50.0, minimum_requests=4, cooldown=10.0)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """Breakers on a clock that the test moves."""

    def __init__(self, rules: CircuitRules = RULES, limit: int = MAX_CIRCUITS) -> None:
        self.clock = Clock()
        self.breakers = LocalBreakers(self.clock, limit=limit)
        self.rules = rules

    def begin(self, key: bytes = KEY) -> Admission:
        return self.breakers.begin(key, self.rules)

    def fail(self, times: int = 1, key: bytes = KEY) -> None:
        """Whole attempts that fail."""
        for _ in range(times):
            self.breakers.fail(key, self.rules, self.begin(key))

    def succeed(self, times: int = 1, key: bytes = KEY) -> None:
        for _ in range(times):
            self.breakers.succeed(key, self.begin(key))

    def is_open(self, key: bytes = KEY) -> bool:
        return self.breakers.is_open(key, self.rules)

    def open(self, key: bytes = KEY) -> None:
        self.fail(3, key)
        assert self.is_open(key)


def test_it_is_what_the_engine_expects() -> None:
    breakers: CircuitBreakers = LocalBreakers()
    assert not breakers.is_open(KEY, RULES)


# ---------------------------------------------------------------------- opening


def test_a_circuit_opens_with_the_last_failure_that_its_rules_allow() -> None:
    bench = Bench()
    bench.fail(2)
    assert not bench.is_open()
    assert bench.begin() is Admission.CLOSED
    bench.fail()
    assert bench.is_open()
    assert bench.begin() is Admission.BYPASS
    assert not bench.is_open(b"another")


def test_successes_do_not_undo_failures_by_count() -> None:
    bench = Bench()
    bench.fail(2)
    bench.succeed(50)
    bench.fail()
    assert bench.is_open()


def test_failures_of_more_than_a_window_ago_do_not_count() -> None:
    bench = Bench()
    bench.fail(2)
    bench.clock.now += WINDOW - WINDOW / BUCKETS
    bench.fail(1)
    assert bench.is_open()
    late = Bench()
    late.fail(2)
    late.clock.now += WINDOW
    late.fail(2)
    assert not late.is_open()
    late.clock.now += 1000 * WINDOW
    late.fail(2)
    assert not late.is_open()


def test_a_share_of_failures_opens_only_after_the_minimum_of_requests() -> None:
    bench = Bench(SHARE)
    bench.fail(3)
    assert not bench.is_open()
    bench.fail()
    assert bench.is_open()


def test_a_share_below_the_threshold_never_opens() -> None:
    bench = Bench(SHARE)
    for _ in range(30):
        bench.succeed(2)
        bench.fail()
        bench.clock.now += 1
    assert not bench.is_open()
    bench.fail(40)
    assert bench.is_open()


def test_either_threshold_opens() -> None:
    both = CircuitRules(failures=3, failure_percentage=90.0, minimum_requests=2)
    by_count, by_share = Bench(both), Bench(both)
    by_count.succeed(10)
    by_count.fail(3)
    assert by_count.is_open()
    by_share.fail(2)
    assert by_share.is_open()


def test_old_requests_leave_the_share() -> None:
    bench = Bench(SHARE)
    bench.succeed(100)
    bench.clock.now += WINDOW
    bench.fail(4)
    assert bench.is_open()


def test_a_failure_slower_than_the_window_still_counts_as_a_request() -> None:
    bench = Bench(SHARE)
    admissions = [bench.begin() for _ in range(4)]
    bench.clock.now += 2 * WINDOW
    for admission in admissions:
        bench.breakers.fail(KEY, SHARE, admission)
    assert bench.is_open()


def test_a_stream_that_breaks_after_its_commit_is_one_request_that_failed() -> None:
    half = CircuitRules(failures=None, failure_percentage=50.0, minimum_requests=4)
    bench = Bench(half)
    bench.succeed(2)
    for _ in range(2):
        admission = bench.begin()
        bench.breakers.succeed(KEY, admission)
        bench.breakers.fail(KEY, half, admission)
    assert bench.is_open()  # 2 of 4; as 2 of 6 it would be closed
    few = Bench(half)
    few.succeed()
    few.fail()
    admission = few.begin()
    few.breakers.succeed(KEY, admission)
    few.breakers.fail(KEY, half, admission)
    assert not few.is_open()  # 2 of 3; as 2 of 4 it would be open


def test_what_a_client_left_is_no_request() -> None:
    bench = Bench(SHARE)
    bench.fail(3)
    for _ in range(5):
        bench.breakers.release(KEY, bench.begin())
        bench.clock.now += WINDOW / BUCKETS
    assert not bench.is_open()
    bench.fail()
    assert bench.is_open()


def test_two_configs_share_the_counts_and_judge_by_themselves() -> None:
    bench = Bench()
    strict = CircuitRules(failures=1, cooldown=1.0)
    bench.fail(2)
    assert not bench.is_open()
    bench.breakers.fail(KEY, strict, bench.breakers.begin(KEY, strict))
    assert bench.is_open()
    bench.clock.now += 2
    assert not bench.breakers.is_open(KEY, strict)
    assert bench.is_open()


# --------------------------------------------------------------- open, half-open


def test_after_the_cooldown_exactly_one_attempt_probes() -> None:
    bench = Bench()
    bench.open()
    bench.clock.now += 9.99
    assert bench.is_open()
    bench.clock.now += 0.01
    assert not bench.is_open()
    assert not bench.is_open()  # looking claims nothing
    assert bench.begin() is Admission.PROBE
    assert bench.is_open()
    bench.clock.now += 1000
    assert bench.is_open()
    assert bench.begin() is Admission.BYPASS


def test_a_probe_that_succeeds_closes_and_everything_is_forgotten() -> None:
    bench = Bench()
    bench.open()
    bench.clock.now += 10
    bench.succeed()
    assert not bench.is_open()
    assert len(bench.breakers) == 0
    bench.fail(2)
    assert not bench.is_open()


def test_a_probe_that_fails_opens_for_a_whole_cooldown() -> None:
    bench = Bench()
    bench.open()
    bench.clock.now += 15
    bench.fail()
    bench.clock.now += 9.99
    assert bench.is_open()
    bench.clock.now += 0.01
    assert bench.begin() is Admission.PROBE


def test_a_probe_that_said_nothing_leaves_the_next_one_to_probe() -> None:
    bench = Bench()
    bench.open()
    bench.clock.now += 10
    bench.breakers.release(KEY, bench.begin())
    assert not bench.is_open()
    assert bench.begin() is Admission.PROBE


def test_an_attempt_that_began_before_the_opening_changes_nothing() -> None:
    bench = Bench()
    good, bad = bench.begin(), bench.begin()
    bench.open()
    bench.clock.now += 5
    bench.breakers.succeed(KEY, good)
    bench.breakers.fail(KEY, RULES, bad)
    assert bench.is_open()
    bench.clock.now += 5
    assert not bench.is_open()


def test_a_bypass_that_succeeds_closes_and_one_that_fails_prolongs_nothing() -> None:
    bench = Bench()
    bench.open()
    bench.clock.now += 6
    bench.fail()
    bench.breakers.release(KEY, bench.begin())
    bench.clock.now += 4
    assert not bench.is_open()
    assert bench.begin() is Admission.PROBE
    bench.succeed()
    assert not bench.is_open()


def open_again(bench: Bench) -> Admission:
    """Opens, closes by a bypass while the probe is under way, and opens again; returns the probe."""
    bench.open()
    bypass = bench.begin()
    bench.clock.now += 10
    probe = bench.begin()
    bench.breakers.succeed(KEY, bypass)
    bench.open()
    assert (bypass, probe) == (Admission.BYPASS, Admission.PROBE)
    return probe


def test_there_is_no_second_probe_while_that_of_an_earlier_opening_is_under_way() -> None:
    bench = Bench()
    probe = open_again(bench)
    bench.clock.now += 10
    assert bench.is_open()
    assert bench.begin() is Admission.BYPASS
    bench.breakers.release(KEY, probe)
    assert bench.begin() is Admission.PROBE


def test_a_probe_of_an_earlier_opening_neither_closes_nor_prolongs() -> None:
    for succeeds in (True, False):
        bench = Bench()
        probe = open_again(bench)
        bench.clock.now += 5
        if succeeds:
            bench.breakers.succeed(KEY, probe)
        else:
            bench.breakers.fail(KEY, RULES, probe)
        assert bench.is_open()
        bench.clock.now += 5
        assert bench.begin() is Admission.PROBE


def test_a_failure_after_the_probe_succeeded_counts_once() -> None:
    bench = Bench()
    bench.open()
    bench.clock.now += 10
    probe = bench.begin()
    bench.breakers.succeed(KEY, probe)
    bench.breakers.fail(KEY, RULES, Admission.CLOSED)
    bench.fail(1)
    assert not bench.is_open()
    bench.fail(1)
    assert bench.is_open()


# ------------------------------------------------------------------------ bounds


def test_targets_that_never_failed_are_not_kept() -> None:
    bench = Bench()
    bench.succeed()
    bench.breakers.release(KEY, bench.begin())
    assert len(bench.breakers) == 0


def test_the_least_recently_used_is_forgotten_first() -> None:
    bench = Bench(limit=3)
    for key in (b"a", b"b", b"c"):
        bench.fail(2, key)
    bench.succeed(key=b"a")
    bench.fail(1, b"d")
    assert len(bench.breakers) == 3
    bench.fail(1, b"a")
    assert bench.is_open(b"a")
    bench.fail(1, b"b")  # the third, but the first two are forgotten
    assert not bench.is_open(b"b")


@pytest.mark.parametrize("rules", [RULES, SHARE])
def test_a_flood_of_other_keys_closes_no_circuit(rules: CircuitRules) -> None:
    bench = Bench(limit=10)
    bench.open()
    bench.rules = rules
    for number in range(100):
        bench.fail(1, b"%d" % number)
    assert len(bench.breakers) == 10
    assert bench.is_open()


def test_a_mass_of_open_circuits_leaves_room_to_count() -> None:
    bench = Bench(limit=10)
    for number in range(100):
        bench.open(b"%d" % number)
    assert len(bench.breakers) <= 10
    assert bench.is_open(b"99")
    assert not bench.is_open(b"0")


def test_ten_thousand_are_kept_unless_told_otherwise() -> None:
    breakers = LocalBreakers(Clock())
    for number in range(MAX_CIRCUITS + 500):
        breakers.fail(b"%d" % number, RULES, Admission.CLOSED)
    assert len(breakers) == MAX_CIRCUITS == 10_000


# ------------------------------------------------------------ against a model


class Began(NamedTuple):
    """An attempt under way; `opening` tells which opening of the circuit it belongs to."""

    key: bytes
    admission: Admission
    opening: int


class BreakerModel(RuleBasedStateMachine):
    """Drives breakers beside a slow model that knows every attempt by itself and keeps every time."""

    keys = st.sampled_from([b"a", b"b"])

    @initialize(
        failures=st.none() | st.integers(1, 4),
        percentage=st.none() | st.sampled_from([25.0, 50.0, 100.0]),
        minimum=st.integers(1, 5),
        cooldown=st.sampled_from([1.0, 7.0, 30.0]),
    )
    def start(self, failures: int | None, percentage: float | None, minimum: int, cooldown: float) -> None:
        self.terms = CircuitRules(
            failures=failures, failure_percentage=percentage, minimum_requests=minimum, cooldown=cooldown
        )
        self.clock = Clock()
        self.breakers = LocalBreakers(self.clock)
        self.under_way: list[Began] = []
        self.answered: list[bytes] = []  # their streams may still break
        self.since: dict[bytes, float] = {}
        self.openings = 0
        self.opening: dict[bytes, int] = {}
        self.requests: dict[bytes, list[float]] = {b"a": [], b"b": []}
        self.failures: dict[bytes, list[float]] = {b"a": [], b"b": []}

    def count(self, times: list[float]) -> int:
        part = WINDOW / BUCKETS
        return sum(self.clock.now // part - time // part < BUCKETS for time in times)

    def expects_open(self, key: bytes) -> bool:
        if key not in self.since:
            return False
        probing = any(began.key == key and began.admission is Admission.PROBE for began in self.under_way)
        return probing or self.clock.now < self.since[key] + self.terms.cooldown

    def close(self, key: bytes) -> None:
        self.since.pop(key, None)
        self.opening.pop(key, None)

    def note_failure(self, key: bytes) -> None:
        self.failures[key].append(self.clock.now)
        failures = self.count(self.failures[key])
        requests = max(self.count(self.requests[key]), failures)
        terms = self.terms
        if (terms.failures is not None and failures >= terms.failures) or (
            terms.failure_percentage is not None
            and requests >= terms.minimum_requests
            and failures / requests * 100 >= terms.failure_percentage
        ):
            self.openings += 1
            self.since[key], self.opening[key] = self.clock.now, self.openings
            self.requests[key], self.failures[key] = [], []

    @rule(seconds=st.sampled_from([0.5, 1.0, 5.0, 7.0, 30.0, 61.0]))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule(key=keys, times=st.integers(1, 3))
    def begin(self, key: bytes, times: int) -> None:
        for _ in range(times):
            if key not in self.since:
                expected = Admission.CLOSED
                if self.terms.failure_percentage is not None:
                    self.requests[key].append(self.clock.now)
            else:
                expected = Admission.BYPASS if self.expects_open(key) else Admission.PROBE
            assert self.breakers.begin(key, self.terms) is expected
            self.under_way.append(Began(key, expected, self.opening.get(key, 0)))

    def take(self, data: st.DataObject) -> Began | None:
        if not self.under_way:
            return None
        return self.under_way.pop(data.draw(st.integers(0, len(self.under_way) - 1)))

    @rule(data=st.data())
    def succeed(self, data: st.DataObject) -> None:
        if (began := self.take(data)) is None:
            return
        self.breakers.succeed(began.key, began.admission)
        self.answered.append(began.key)
        present = self.opening.get(began.key) == began.opening
        if began.admission is Admission.BYPASS or (began.admission is Admission.PROBE and present):
            self.close(began.key)

    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        if (began := self.take(data)) is None:
            return
        self.breakers.fail(began.key, self.terms, began.admission)
        if began.key not in self.since:
            self.note_failure(began.key)
        elif began.admission is Admission.PROBE and self.opening[began.key] == began.opening:
            self.since[began.key] = self.clock.now

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        if (began := self.take(data)) is None:
            return
        self.breakers.release(began.key, began.admission)
        if began.admission is Admission.CLOSED and self.requests[began.key]:
            self.requests[began.key].pop()

    @rule(data=st.data())
    def break_off(self, data: st.DataObject) -> None:
        """A stream breaks after its commit."""
        if not self.answered:
            return
        key = self.answered.pop(data.draw(st.integers(0, len(self.answered) - 1)))
        self.breakers.fail(key, self.terms, Admission.CLOSED)
        if key not in self.since:
            self.note_failure(key)

    @invariant()
    def agrees(self) -> None:
        for key in (b"a", b"b"):
            assert self.breakers.is_open(key, self.terms) == self.expects_open(key)
            probes = [began for began in self.under_way if began.key == key and began.admission is Admission.PROBE]
            assert len(probes) <= 1


TestBreakerModel = BreakerModel.TestCase
TestBreakerModel.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


# ------------------------------------------------------------------ S15, simulated


@pytest.mark.parametrize(("tries", "most"), [(1, 8), (3, 9)])
def test_an_outage_costs_few_attempts_and_ends_soon_after_it_ended(tries: int, most: int) -> None:
    """faults.md S15: down for 60 s, then healthy; 20 requests 4 s apart, each tried up to `tries` times at a target."""
    rules = CircuitRules(failures=5, cooldown=10.0)
    clock = Clock()
    breakers = LocalBreakers(clock)
    children = tuple(
        Target(path=f"config.targets[{place}]", provider="openai", circuit=rules, circuit_key=bytes([place]))
        for place in range(2)
    )
    tree = Branch(path="config", mode=Mode.FALLBACK, children=children)
    start = clock.now
    dead, served = 0, []

    def is_open(target: Target) -> bool:
        return breakers.is_open(target.circuit_key, rules)

    for number in range(20):
        clock.now = start + 4 * number
        steps = walk(tree, Facts, is_open, random.random, [])
        target = next(steps)
        while True:
            down = target is children[0] and clock.now < start + 60
            for made in range(tries):
                if made and is_open(target):
                    break
                admission = breakers.begin(target.circuit_key, rules)
                if not down:
                    breakers.succeed(target.circuit_key, admission)
                    break
                dead += 1
                breakers.fail(target.circuit_key, rules, admission)
            if not down:
                served.append((4 * number, target.path))
                break
            target = steps.send(Setback(status=503))

    assert len(served) == 20
    assert dead <= most
    back = next(second for second, path in served if path == "config.targets[0]")
    assert 60 <= back <= 90
    assert {path for second, path in served if second >= back} == {"config.targets[0]"}


def test_a_probe_whose_stream_breaks_off_was_no_success() -> None:
    """Else a target that truncates every stream would be asked until the threshold is met anew, each time."""
    clock = Clock()
    breakers = LocalBreakers(clock)
    rules = CircuitRules(failures=3, cooldown=10)
    for _ in range(3):
        breakers.fail(KEY, rules, breakers.begin(KEY, rules))
    clock.now += 10
    probe = breakers.begin(KEY, rules)
    breakers.succeed(KEY, probe)
    assert not breakers.is_open(KEY, rules)
    breakers.fail(KEY, rules, probe)
    assert breakers.is_open(KEY, rules)
    clock.now += 10
    assert breakers.begin(KEY, rules) is Admission.PROBE
