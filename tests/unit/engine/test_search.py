"""The way to a target that answers: which one, how often, after which wait, and what its circuit learns."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, cast

import msgspec
import pytest

from aiogateway.config.conditions import Facts
from aiogateway.config.tree import Branch, Tree
from aiogateway.contracts import Admission, RetryPolicy
from aiogateway.engine.attempt import Tools
from aiogateway.engine.breaker import LocalBreakers
from aiogateway.engine.search import Pause, Search, Step, counts, judge
from aiogateway.errors import (
    AnswerDiffers,
    ClientStalled,
    ConfigError,
    ConnectFailed,
    ConnectTimeout,
    FirstTokenTimeout,
    GatewayError,
    IdleTimeout,
    Overloaded,
    PluginError,
    RequestError,
    StreamBroken,
    TotalTimeout,
    Unsupported,
    UpstreamError,
    UpstreamStatus,
    UpstreamTLS,
)
from aiogateway.types import Call, CircuitRules, Deadlines, Retry, Target, Trace
from tests.unit.engine.fakes import FakeLoop, make_call
from tests.unit.engine.kit import make_fallback, make_pipeline, make_target

RULES = CircuitRules()
DOWN = ConnectFailed("the provider refused the connection")
OVERLOADED = Overloaded("the gateway is shutting down")


def said(status: int, code: str | None = None) -> UpstreamStatus:
    return UpstreamStatus("no", status=status, error_code=code)


class Clock(FakeLoop):
    """Its futures are the running loop's."""

    def create_future(self) -> asyncio.Future[None]:
        return asyncio.get_running_loop().create_future()


class Waits:
    """A retry policy with a script; None once it is at its end."""

    name = "exponential"

    def __init__(self, *waits: float | None) -> None:
        self.waits = list(waits)
        self.asked: list[tuple[GatewayError, int]] = []

    def wait(self, error: GatewayError, made: int, target: Target, draw: Callable[[], float]) -> float | None:
        self.asked.append((error, made))
        return self.waits.pop(0) if self.waits else None


class Circuits:
    """Notes what it is told; `admissions` are given in order, then CLOSED."""

    def __init__(self, *admissions: Admission, shut: tuple[bytes, ...] = ()) -> None:
        self.admissions = list(admissions)
        self.shut = set(shut)
        self.log: list[tuple[str, bytes, Admission]] = []
        self.shuts_on_failure = False

    def is_open(self, key: bytes, rules: CircuitRules) -> bool:
        assert rules is RULES
        return key in self.shut

    def begin(self, key: bytes, rules: CircuitRules) -> Admission:
        admission = self.admissions.pop(0) if self.admissions else Admission.CLOSED
        self.log.append(("begin", key, admission))
        return admission

    def succeed(self, key: bytes, admission: Admission) -> None:
        self.log.append(("succeed", key, admission))

    def fail(self, key: bytes, rules: CircuitRules, admission: Admission) -> None:
        self.log.append(("fail", key, admission))
        if self.shuts_on_failure:
            self.shut.add(key)

    def release(self, key: bytes, admission: Admission) -> None:
        self.log.append(("release", key, admission))

    @property
    def steps(self) -> list[str]:
        """All in order; whatever begins is ended once, by the admission it got."""
        under_way: dict[bytes, Admission] = {}
        for verb, key, admission in self.log:
            if verb == "begin":
                assert key not in under_way
                under_way[key] = admission
            elif key in under_way:
                assert under_way.pop(key) is admission
            else:
                assert verb == "fail"  # a break after the commit
        assert not under_way
        return [verb for verb, _, _ in self.log]


class Scene:
    """A search over a clock that stands still; `outcomes` are what the attempts return, or raise."""

    def __init__(
        self, tree: Tree, *outcomes: Any, waits: Waits | None = None, circuits: Any = None, call: Call | None = None,
        may_go_on: Callable[[], bool] = lambda: True,
    ) -> None:  # fmt: skip
        self.clock = Clock()
        self.clock.now = 1000.0
        self.waits = waits or Waits()
        self.circuits = Circuits() if circuits is None else circuits
        self.tools: Tools = make_pipeline(breakers=self.circuits).tools
        self.tools.loop = self.clock.as_loop()
        policies: Mapping[str, RetryPolicy] = {"exponential": self.waits}
        self.tools.registry = msgspec.structs.replace(self.tools.registry, retry_policies=policies)
        self.call = call or make_call()
        self.outcomes = list(outcomes)
        self.tries: list[Step] = []
        self.search: Search[Any] = Search(self.tools, self.call, tree, self.look, self.attempt, may_go_on)

    def look(self) -> Facts:
        return Facts(path="/v1/x")

    async def attempt(self, this: Step) -> Any:
        self.tries.append(this)
        await asyncio.sleep(0)
        outcome = self.outcomes.pop(0)
        if callable(outcome):
            outcome = await outcome()
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    async def fails(self, broken: GatewayError | None = None) -> GatewayError:
        with pytest.raises(GatewayError) as caught:
            await self.search.find(broken)
        assert not self.tools.live
        return caught.value

    async def settle(self) -> None:
        for _ in range(10):
            await asyncio.sleep(0)

    @property
    def paths(self) -> list[str]:
        return [this.target.path for this in self.tries]


def leaf(number: int = 0, *, attempts: int = 0, circuit: bool = False, **changes: Any) -> Target:
    if circuit:
        changes |= {"circuit": RULES, "circuit_key": b"%d" % number}
    return make_target(path=f"config.targets[{number}]", retry=Retry(attempts=attempts), **changes)


async def hang() -> Any:
    await asyncio.Event().wait()


# --- retries ---


async def test_what_answers_at_once_is_the_answer() -> None:
    target = leaf(attempts=2, deadlines=Deadlines(total=30))
    scene = Scene(target, "answer")
    assert await scene.search.find() == "answer"
    assert scene.tries == [Step(target, 0, 0.0, 1030.0)]
    assert (scene.call.retries, scene.waits.asked) == (0, [])


async def test_a_retry_waits_as_long_as_its_policy_says() -> None:
    scene = Scene(leaf(attempts=2), said(503), DOWN, "answer", waits=Waits(2.0, 4.5))
    finding = asyncio.create_task(scene.search.find())
    for number, wait in enumerate((2.0, 4.5), 1):
        await scene.settle()
        assert len(scene.tries) == number
        assert len(scene.tools.live) == 1
        scene.clock.advance(wait - 0.001)
        await scene.settle()
        assert len(scene.tries) == number
        scene.clock.advance(0.001)
    assert await finding == "answer"
    assert not scene.tools.live
    assert [(this.made, this.waited) for this in scene.tries] == [(0, 0.0), (1, 2.0), (2, 4.5)]
    assert len({this.until for this in scene.tries}) == 1  # no retry gets a deadline of its own
    assert scene.call.retries == 2
    assert [(type(error), made) for error, made in scene.waits.asked] == [(UpstreamStatus, 0), (ConnectFailed, 1)]


async def test_all_retries_used_up_is_minus_one_and_the_last_error() -> None:
    last = said(503)
    scene = Scene(leaf(attempts=1), said(500), last, waits=Waits(0.0, 0.0, 0.0))
    finding = asyncio.create_task(scene.fails())
    await scene.settle()
    scene.clock.advance(0)
    assert await finding is last
    assert (scene.call.retries, len(scene.tries), len(scene.waits.asked)) == (-1, 2, 1)


@pytest.mark.parametrize(("error", "retries"), [(said(400), 1), (said(503), -1), (DOWN, -1)])
async def test_an_end_that_is_worth_no_retry_is_not_for_want_of_retries(error: GatewayError, retries: int) -> None:
    scene = Scene(leaf(attempts=1), said(500), error, waits=Waits(0.0))
    finding = asyncio.create_task(scene.fails())
    await scene.settle()
    scene.clock.advance(0)
    assert await finding is error
    assert scene.call.retries == retries


async def test_without_attempts_nobody_is_asked() -> None:
    scene = Scene(leaf(), said(503), waits=Waits(0.0))
    assert (await scene.fails()).status == 503
    assert (scene.waits.asked, scene.call.retries, len(scene.tries)) == ([], 0, 1)


async def test_a_policy_that_gives_up_is_obeyed() -> None:
    scene = Scene(leaf(attempts=3), said(400), waits=Waits(None))
    assert (await scene.fails()).status == 400
    assert (scene.call.retries, len(scene.tries), len(scene.waits.asked)) == (0, 1, 1)


@pytest.mark.parametrize(
    ("wait", "total", "waited"),
    [
        (60.0, 3600.0, True),
        (60.001, 3600.0, False),
        (float("inf"), 3600.0, False),
        (float("nan"), 3600.0, False),
        (9.999, 10.0, True),
        (10.0, 10.0, False),
        (-1.0, 10.0, True),
    ],
)
async def test_a_wait_that_is_too_long_is_not_begun(wait: float, total: float, waited: bool) -> None:
    scene = Scene(leaf(attempts=1, deadlines=Deadlines(total=total)), said(429), "answer", waits=Waits(wait))
    finding = asyncio.create_task(scene.search.find())
    await scene.settle()
    assert bool(scene.tools.live) is waited
    if waited:
        scene.clock.advance(max(wait, 0))
        assert await finding == "answer"
    else:
        with pytest.raises(UpstreamStatus):
            await finding
        assert (scene.call.retries, scene.clock.waiting) == (-1, [])


async def test_the_time_of_the_tries_before_counts() -> None:
    scene = Scene(leaf(attempts=2, deadlines=Deadlines(total=10)), said(429), said(429), waits=Waits(6.0, 6.0))
    finding = asyncio.create_task(scene.fails())
    await scene.settle()
    scene.clock.advance(6.0)
    assert (await finding).status == 429
    assert scene.call.retries == -1


SILENCES = [FirstTokenTimeout("x"), IdleTimeout("x"), TotalTimeout("x")]


@pytest.mark.parametrize("error", SILENCES)
async def test_our_own_deadlines_are_never_tried_again(error: GatewayError) -> None:
    scene = Scene(leaf(attempts=5), error, waits=Waits(0.0))
    assert await scene.fails() is error
    assert (scene.waits.asked, len(scene.tries), scene.call.retries) == ([], 1, 0)


async def test_a_providers_own_408_is_for_the_policy_to_judge() -> None:
    scene = Scene(leaf(attempts=5), said(408))
    await scene.fails()
    assert len(scene.waits.asked) == 1


OURS = [Unsupported("x"), RequestError("x"), PluginError("x", plugin="p"), OVERLOADED, ConfigError("x")]


@pytest.mark.parametrize("error", OURS)
async def test_what_is_not_the_providers_is_never_tried_again(error: GatewayError) -> None:
    scene = Scene(leaf(attempts=5), error, waits=Waits(0.0))
    assert await scene.fails() is error
    assert scene.waits.asked == []


async def test_a_new_target_has_new_retries() -> None:
    tree = make_fallback(leaf(0, attempts=1), leaf(1, attempts=1), leaf(2))
    scene = Scene(tree, said(500), said(500), said(500), said(500), "answer", waits=Waits(0.0, 0.0))
    finding = asyncio.create_task(scene.search.find())
    for _ in range(2):
        await scene.settle()
        scene.clock.advance(0)
    assert await finding == "answer"
    assert [(this.target.path[-2], this.made) for this in scene.tries] == [
        ("0", 0), ("0", 1), ("1", 0), ("1", 1), ("2", 0)
    ]  # fmt: skip
    assert scene.call.retries == 0  # the answer's own target was not tried again


# --- the end of a wait ---


async def test_a_stop_ends_a_wait_and_the_call() -> None:
    scene = Scene(make_fallback(leaf(0, attempts=1), leaf(1)), said(503), "never", waits=Waits(30.0))
    finding = asyncio.create_task(scene.search.find())
    await scene.settle()
    for live in list(scene.tools.live):
        live.fail(OVERLOADED)
    with pytest.raises(Overloaded):
        await finding
    assert (scene.paths, scene.clock.waiting) == (["config.targets[0]"], [])
    assert not scene.tools.live


async def test_a_client_that_leaves_during_a_wait_leaves_nothing_behind() -> None:
    scene = Scene(make_fallback(leaf(0, attempts=1, circuit=True), leaf(1)), said(503), "never", waits=Waits(30.0))
    finding = asyncio.create_task(scene.search.find())
    await scene.settle()
    finding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await finding
    assert (len(scene.tries), scene.clock.waiting, scene.circuits.steps) == (1, [], ["begin", "fail"])
    assert not scene.tools.live


async def test_a_wait_ends_once() -> None:
    for first in ("end", "fail"):
        pause = Pause(asyncio.get_running_loop().create_future())
        if first == "end":
            pause.end()
        pause.fail(OVERLOADED)
        pause.end()
        pause.fail(DOWN)
        assert pause.over.exception() is (None if first == "end" else OVERLOADED)


# --- the next target ---


@pytest.mark.parametrize(
    "error", [said(400), said(503), DOWN, ConnectTimeout("x"), FirstTokenTimeout("x"), UpstreamTLS("x"),
              StreamBroken("x"), Unsupported("x"), PluginError("x", plugin="p")],
)  # fmt: skip
async def test_a_failure_leads_to_the_next_target(error: GatewayError) -> None:
    scene = Scene(make_fallback(leaf(0), leaf(1)), error, "answer")
    assert await scene.search.find() == "answer"
    assert scene.paths == ["config.targets[0]", "config.targets[1]"]


@pytest.mark.parametrize("error", [ConfigError("x"), OVERLOADED, TotalTimeout("x"), ClientStalled("x")])
async def test_what_no_target_can_mend_ends_the_call(error: GatewayError) -> None:
    scene = Scene(make_fallback(leaf(0), leaf(1)), error, "never")
    assert await scene.fails() is error
    assert scene.paths == ["config.targets[0]"]


async def test_all_failed_is_what_the_last_one_said() -> None:
    last = said(418)
    scene = Scene(make_fallback(leaf(0), leaf(1), leaf(2)), said(503), DOWN, last)
    assert await scene.fails() is last
    assert len(scene.tries) == 3


@pytest.mark.parametrize(
    ("error", "goes_on"),
    [(said(429), True), (said(500), False), (DOWN, True), (FirstTokenTimeout("x"), True), (StreamBroken("x"), True),
     (Unsupported("x"), False)],
)  # fmt: skip
async def test_listed_codes_narrow_what_leads_on_but_for_no_answer_at_all(error: GatewayError, goes_on: bool) -> None:
    scene = Scene(make_fallback(leaf(0), leaf(1), on_status_codes=frozenset((429,))), error, "answer")
    if goes_on:
        assert await scene.search.find() == "answer"
    else:
        assert await scene.fails() is error


@pytest.mark.parametrize(
    "code", ["content_policy_violation", "content_filter", "ResponsibleAIPolicyViolation", "moderation_blocked"]
)
@pytest.mark.parametrize(("codes", "goes_on"), [(None, False), ((400,), True), ((429,), False)])
async def test_a_refused_prompt_is_not_routed_around(code: str, codes: tuple[int, ...] | None, goes_on: bool) -> None:
    branch = make_fallback(leaf(0), leaf(1), on_status_codes=None if codes is None else frozenset(codes))
    scene = Scene(branch, said(400, code), "answer")
    if goes_on:
        assert await scene.search.find() == "answer"
    else:
        assert (await scene.fails()).status == 400
        assert scene.paths == ["config.targets[0]"]


async def test_a_call_whose_time_is_over_asks_nobody_else() -> None:
    late = said(503)

    async def slowly() -> GatewayError:
        scene.clock.advance(30)
        return late

    scene = Scene(make_fallback(leaf(0, deadlines=Deadlines(total=30)), leaf(1)), slowly, "never")
    assert await scene.fails() is late
    assert len(scene.tries) == 1


async def test_a_config_that_leads_nowhere() -> None:
    scene = Scene(Branch(path="config", mode=make_fallback().mode, children=()))
    error = await scene.fails()
    assert isinstance(error, ConfigError)
    assert scene.tries == []


async def test_what_has_begun_to_flow_is_not_tried_again() -> None:
    error = said(503)
    tree = make_fallback(leaf(0, attempts=3), leaf(1))
    scene = Scene(tree, error, "never", waits=Waits(0.0), may_go_on=lambda: False)
    assert await scene.fails() is error
    assert (len(scene.tries), scene.waits.asked, scene.call.retries) == (1, [], 0)


async def test_a_body_that_begins_to_flow_in_a_retry_ends_the_search() -> None:
    scene = Scene(
        make_fallback(leaf(0, attempts=3), leaf(1)), said(503), said(500), "never", waits=Waits(0.0, 0.0),
        may_go_on=lambda: len(scene.tries) < 2,
    )  # fmt: skip
    finding = asyncio.create_task(scene.fails())
    await scene.settle()
    scene.clock.advance(0)
    assert (await finding).status == 500
    assert len(scene.tries) == 2


# --- going on after a break ---


async def test_a_break_goes_on_where_the_search_stopped() -> None:
    broken = said(500)
    branch = make_fallback(leaf(0), leaf(1), leaf(2), on_status_codes=frozenset((429,)))
    scene = Scene(branch, said(429), "first", "second")
    assert await scene.search.find() == "first"
    assert await scene.search.find(broken) == "second"  # 500 is not listed, but this is no question of status
    assert scene.paths == ["config.targets[0]", "config.targets[1]", "config.targets[2]"]
    assert await scene.fails(broken) is broken
    assert await scene.fails(broken) is broken


async def test_a_break_without_another_target_is_the_error() -> None:
    broken = StreamBroken("x")
    scene = Scene(leaf(), "first")
    await scene.search.find()
    assert await scene.fails(broken) is broken


async def test_a_target_that_fails_after_a_break_is_judged_as_ever() -> None:
    branch = make_fallback(leaf(0), leaf(1), leaf(2), on_status_codes=frozenset((429,)))
    scene = Scene(branch, "first", said(400), "never")
    await scene.search.find()
    assert (await scene.fails(StreamBroken("x"))).status == 400
    assert len(scene.tries) == 2


# --- circuits ---


@pytest.mark.parametrize("admission", Admission)
@pytest.mark.parametrize(
    ("outcome", "verdict"),
    [
        ("answer", "succeed"),
        (said(500), "fail"),
        (said(503), "fail"),
        (said(529), "fail"),
        (said(429), "succeed"),
        (said(401), "succeed"),
        (said(403), "succeed"),
        (said(400), "succeed"),
        (DOWN, "fail"),
        (ConnectTimeout("x"), "fail"),
        (UpstreamTLS("x"), "fail"),
        (FirstTokenTimeout("x"), "fail"),
        (TotalTimeout("x"), "fail"),
        (StreamBroken("x"), "fail"),
        (OVERLOADED, "release"),
        (Unsupported("x"), "release"),
        (PluginError("x", plugin="p"), "release"),
        (KeyError("a mistake of ours"), "release"),
        (asyncio.CancelledError(), "release"),
        (ConnectionResetError(), "release"),
    ],
)
async def test_each_attempt_tells_its_circuit_once(outcome: Any, verdict: str, admission: Admission) -> None:
    scene = Scene(leaf(circuit=True), outcome, circuits=Circuits(admission))
    if outcome == "answer":
        await scene.search.find()
    else:
        with pytest.raises(type(outcome)):
            await scene.search.find()
    assert scene.circuits.log == [("begin", b"0", admission), (verdict, b"0", admission)]


async def test_a_client_that_leaves_gives_the_probe_back() -> None:
    now = [0.0]
    breakers = LocalBreakers(lambda: now[0])
    rules = CircuitRules(failures=1, cooldown=10)
    target = make_target(circuit=rules, circuit_key=b"k")
    scene = Scene(target, DOWN, circuits=breakers)
    await scene.fails()
    assert breakers.is_open(b"k", rules)
    now[0] = 10.0
    scene = Scene(target, hang, circuits=breakers)
    finding = asyncio.create_task(scene.search.find())
    await scene.settle()
    assert breakers.is_open(b"k", rules)  # its one probe is under way
    finding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await finding
    assert breakers.begin(b"k", rules) is Admission.PROBE


@pytest.mark.parametrize(
    ("codes", "status", "verdict"),
    [({500}, 500, "fail"), ({500}, 503, "succeed"), ({429, 400}, 429, "succeed"), ({429, 400}, 400, "succeed"),
     (set(), 500, "succeed")],
)  # fmt: skip
def test_listed_failure_codes_replace_the_default_but_no_4xx_counts(codes: set[int], status: int, verdict: str) -> None:
    target = make_target(circuit=CircuitRules(status_codes=frozenset(codes)))
    assert counts(said(status), target) is (verdict == "fail")
    assert counts(DOWN, target) is True


async def test_a_target_without_rules_has_no_circuit() -> None:
    scene = Scene(leaf(attempts=1), said(503), StreamBroken("x"), waits=Waits(0.0))
    finding = asyncio.create_task(scene.fails())
    await scene.settle()
    scene.clock.advance(0)
    scene.search.note_break(await finding)
    assert scene.circuits.log == []


async def test_each_retry_is_an_attempt_for_the_circuit() -> None:
    scene = Scene(leaf(attempts=2, circuit=True), said(500), said(429), "answer", waits=Waits(0.0, 0.0))
    finding = asyncio.create_task(scene.search.find())
    for _ in range(2):
        await scene.settle()
        scene.clock.advance(0)
    await finding
    assert scene.circuits.steps == ["begin", "fail", "begin", "succeed", "begin", "succeed"]


async def test_a_circuit_that_opens_ends_the_retries() -> None:
    circuits = Circuits()
    circuits.shuts_on_failure = True
    tree = make_fallback(leaf(0, attempts=3, circuit=True), leaf(1))
    scene = Scene(tree, said(503), "answer", waits=Waits(0.0), circuits=circuits)
    assert await scene.search.find() == "answer"
    assert (scene.paths, scene.waits.asked) == (["config.targets[0]", "config.targets[1]"], [])
    assert circuits.steps == ["begin", "fail"]


async def test_a_circuit_that_others_open_during_the_wait_ends_the_retries() -> None:
    tree = make_fallback(leaf(0, attempts=3, circuit=True), leaf(1))
    scene = Scene(tree, said(503), "answer", waits=Waits(5.0))
    finding = asyncio.create_task(scene.search.find())
    await scene.settle()
    scene.circuits.shut.add(b"0")
    scene.clock.advance(5.0)
    assert await finding == "answer"
    assert scene.paths == ["config.targets[0]", "config.targets[1]"]
    assert scene.circuits.steps == ["begin", "fail"]


async def test_a_bypassed_circuit_is_tried_again_although_it_is_open() -> None:
    circuits = Circuits(Admission.BYPASS, Admission.BYPASS, shut=(b"0",))
    scene = Scene(leaf(attempts=1, circuit=True), said(503), "answer", waits=Waits(0.0), circuits=circuits)
    finding = asyncio.create_task(scene.search.find())
    await scene.settle()
    scene.clock.advance(0)
    assert await finding == "answer"
    assert circuits.steps == ["begin", "fail", "begin", "succeed"]


async def test_an_open_circuit_is_passed_over() -> None:
    circuits = Circuits(shut=(b"0",))
    scene = Scene(make_fallback(leaf(0, circuit=True), leaf(1, circuit=True)), "answer", circuits=circuits)
    await scene.search.find()
    assert (scene.paths, [key for _, key, _ in circuits.log]) == (["config.targets[1]"], [b"1", b"1"])


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (StreamBroken("x"), True),
        (IdleTimeout("x"), True),
        (said(503), True),
        (said(429), False),
        (TotalTimeout("x"), False),
        (AnswerDiffers("x"), False),
        (ClientStalled("x"), False),
        (OVERLOADED, False),
    ],
)
async def test_a_break_after_the_commit_speaks_against_the_target(error: GatewayError, told: bool) -> None:
    scene = Scene(leaf(circuit=True), "answer", circuits=Circuits(Admission.PROBE))
    scene.search.note_break(error)  # nothing has answered yet
    assert scene.circuits.log == []
    await scene.search.find()
    scene.search.note_break(error)
    assert scene.circuits.steps == ["begin", "succeed", *(["fail"] if told else [])]


async def test_a_break_is_of_the_target_that_answered_last() -> None:
    scene = Scene(make_fallback(leaf(0, circuit=True), leaf(1, circuit=True), leaf(2)), "first", "second", "third")
    for _ in range(2):
        await scene.search.find(StreamBroken("x") if scene.tries else None)
        scene.search.note_break(StreamBroken("x"))
    assert [key for verb, key, _ in scene.circuits.log if verb == "fail"] == [b"0", b"1"]
    await scene.search.find(StreamBroken("x"))
    scene.search.note_break(StreamBroken("x"))  # has no circuit: the one before is not blamed
    assert len(scene.circuits.log) == 6


# --- labels ---


async def test_the_labels_are_those_of_the_option_that_served() -> None:
    call = make_call(trace=Trace(id="t", span_id="s"), metadata={"a": "1", "b": "2"})
    first = leaf(0, trace_id="first", metadata={"a": "x", "c": "3"})
    tree = make_fallback(first, leaf(1, metadata={"d": "4"}), leaf(2))
    scene = Scene(tree, "0", "1", "2", call=call)
    seen = []
    for _ in range(3):
        await scene.search.find(StreamBroken("x") if scene.tries else None)
        seen.append((call.trace, dict(call.metadata)))
    assert seen == [
        (Trace(id="first", span_id="s"), {"a": "x", "b": "2", "c": "3"}),
        (Trace(id="t", span_id="s"), {"a": "1", "b": "2", "d": "4"}),
        (Trace(id="t", span_id="s"), {"a": "1", "b": "2"}),
    ]


# --- what routing is told ---


@pytest.mark.parametrize("broken", [False, True])
@pytest.mark.parametrize(
    ("error", "connection", "policy", "final"),
    [
        (said(503), False, False, False),
        (said(400, "content_filter"), False, True, False),
        (DOWN, True, False, False),
        (FirstTokenTimeout("x"), True, False, False),
        (TotalTimeout("x"), True, False, True),
        (OVERLOADED, False, False, True),
        (ConfigError("x"), False, False, True),
        (Unsupported("x"), False, False, False),
    ],
)
def test_judge(error: GatewayError, connection: bool, policy: bool, final: bool, broken: bool) -> None:
    setback = judge(error, broken=broken)
    assert (setback.status, setback.connection, setback.policy, setback.final, setback.broken) == (
        error.status, connection, policy, final, broken
    )  # fmt: skip
    assert judge(error, late=True).final


def test_what_is_raised_by_us_never_counts() -> None:
    target = make_target(circuit=RULES)
    for error in (OVERLOADED, Unsupported("x"), ClientStalled("x"), GatewayError("x")):
        assert not counts(error, target)
    assert counts(UpstreamError("x"), target)
    assert cast(CircuitRules, target.circuit).status_codes is None
