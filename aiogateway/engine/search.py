"""Finds a target that answers: routing says which one is next, here it is tried, and tried again by its retry policy.

A search goes on where it stopped: a stream that breaks after its first token asks for the next target of the same walk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from ..config.conditions import Facts
from ..config.tree import Tree
from ..contracts import Admission
from ..errors import (
    AnswerDiffers,
    ClientStalled,
    ConfigError,
    FirstTokenTimeout,
    GatewayError,
    IdleTimeout,
    Overloaded,
    TotalTimeout,
    UpstreamError,
    UpstreamStatus,
)
from ..retries.exponential import MAX_WAIT
from ..types import Call, CircuitRules, Target
from .route import Setback, walk

if TYPE_CHECKING:
    from .attempt import Tools

T = TypeVar("T")

REFUSALS = frozenset(
    ("content_filter", "content_policy_violation", "moderation_blocked", "responsibleaipolicyviolation")
)
"""Error codes of providers that won't answer this prompt, in lower case: OpenAI's and Azure's references."""
FINAL = (ConfigError, Overloaded, TotalTimeout, ClientStalled)
"""What no other target can mend."""
SILENT = (FirstTokenTimeout, IdleTimeout, TotalTimeout)
"""Deadlines of ours: the target that let them pass is not asked again."""


class Step(msgspec.Struct, frozen=True):
    """What an attempt is told: the target, the retries made at it before, the seconds waited for this one, and the
    loop time at which the whole call is over.
    """

    target: Target
    made: int
    waited: float
    until: float


class Search(Generic[T]):
    """One call's way through its config. `attempt` opens a target and returns what answers; nothing may have reached
    the client when it raises. `may_go_on` is asked before anything is tried a second time.
    """

    __slots__ = (
        "_admission",
        "_alone",
        "_attempt",
        "_call",
        "_labelled",
        "_labels",
        "_may_go_on",
        "_serving",
        "_started",
        "_tools",
        "_walk",
    )

    def __init__(
        self,
        tools: Tools,
        call: Call,
        tree: Tree,
        facts: Callable[[], Facts],
        attempt: Callable[[Step], Coroutine[Any, Any, T]],
        may_go_on: Callable[[], bool] = lambda: True,
    ) -> None:
        self._tools = tools
        self._call = call
        self._attempt = attempt
        self._may_go_on = may_go_on
        self._alone = tree if isinstance(tree, Target) and is_plain(tree) else None
        self._walk = None if self._alone else walk(tree, facts, tools.is_open, tools.draw, call.notes)
        self._started = tools.loop.time()
        self._serving: Target | None = None
        self._admission = Admission.CLOSED
        self._labels = call.trace, call.metadata
        self._labelled = False

    def find(self, broken: GatewayError | None = None) -> Coroutine[Any, Any, T]:
        """The first answer, or the next one after the last one's stream ended with `broken`.

        Raises what the last target failed with; `broken` itself when there is no other target. A plain target, which
        most calls have, is asked without a detour: two coroutines and a generator would cost 9 µs a call.
        """
        target = self._alone
        if target is not None and broken is None:
            return self._attempt(Step(target, 0, 0.0, self._started + target.deadlines.total))
        return self._find(broken)

    async def _find(self, broken: GatewayError | None) -> T:
        if self._walk is None:
            raise broken or ConfigError("the config leads to no target")
        error = broken
        setback = None if broken is None else judge(broken, broken=True)
        while True:
            try:
                target = next(self._walk) if setback is None else self._walk.send(setback)
            except StopIteration:
                if error is None:
                    raise ConfigError("the config leads to no target") from None
                raise error from None
            try:
                return await self._try(target)
            except GatewayError as failure:
                if not self._may_go_on():
                    raise
                late = self._tools.loop.time() >= self._started + target.deadlines.total
                error, setback = failure, judge(failure, late=late)

    def note_break(self, error: GatewayError) -> None:
        """The answer that was found broke off after its commit. That a call took too long is no fault of a target that
        was answering, nor is it that the answer was another one.
        """
        target = self._serving
        if target is None or target.circuit is None or isinstance(error, TotalTimeout | AnswerDiffers):
            return
        if counts(error, target):
            self._tools.breakers.fail(target.circuit_key, target.circuit, self._admission)

    async def _try(self, target: Target) -> T:
        """One target, until it answers or its retries are used up."""
        if target.trace_id is not None or target.metadata or self._labelled:
            self._label(target)
        self._serving = target
        call, made, waited = self._call, 0, 0.0
        until = self._started + target.deadlines.total
        call.retries = 0
        while True:
            try:
                this = Step(target, made, waited, until)
                if target.circuit is None:
                    return await self._attempt(this)
                return await self._admit(this, target.circuit)
            except GatewayError as error:
                wait = self._plan(target, error, made, until) if target.retry.attempts else None
                if wait is None:
                    raise
                failure = error
            await self._pause(wait)
            if self._is_shut(target):  # others found out meanwhile
                raise failure
            made += 1
            waited = wait
            call.retries = made

    async def _admit(self, this: Step, circuit: CircuitRules) -> T:
        """One attempt, and what its circuit learns from it."""
        target, breakers, key = this.target, self._tools.breakers, this.target.circuit_key
        self._admission = admission = breakers.begin(key, circuit)
        try:
            answer = await self._attempt(this)
        except GatewayError as error:
            if counts(error, target):
                breakers.fail(key, circuit, admission)
            elif isinstance(error, UpstreamStatus):
                breakers.succeed(key, admission)  # it refuses this call, but it is there
            else:
                breakers.release(key, admission)
            raise
        except BaseException:
            breakers.release(key, admission)
            raise
        breakers.succeed(key, admission)
        return answer

    def _plan(self, target: Target, error: GatewayError, made: int, until: float) -> float | None:
        """Seconds until the next try at the same target; None to give it up."""
        if isinstance(error, SILENT) or not isinstance(error, UpstreamError) or not self._may_go_on():
            return None
        tools, call = self._tools, self._call
        if made >= target.retry.attempts:
            if not isinstance(error, UpstreamStatus) or error.status in target.retry.on_status_codes:
                call.retries = -1
            return None
        if self._is_shut(target):
            return None
        wait = tools.registry.retry_policies[target.retry.policy].wait(error, made, target, tools.draw)
        if wait is not None and not (wait <= MAX_WAIT and tools.loop.time() + wait < until):
            call.retries = -1  # as observed there for a Retry-After that is too long
            return None
        return wait

    def _is_shut(self, target: Target) -> bool:
        """Whether the circuit opened since the target was chosen."""
        return self._admission is not Admission.BYPASS and self._tools.is_open(target)

    async def _pause(self, wait: float) -> None:
        """Waits, unless the gateway is told to stop."""
        loop = self._tools.loop
        pause = Pause(loop.create_future())
        timer = loop.call_later(max(wait, 0.0), pause.end)
        self._tools.live.add(pause)
        try:
            await pause.over
        finally:
            timer.cancel()
            self._tools.live.discard(pause)

    def _label(self, target: Target) -> None:
        """The labels of an old config's option are those of the option that served."""
        self._labelled = True
        trace, metadata = self._labels
        if target.trace_id is not None:
            trace = msgspec.structs.replace(trace, id=target.trace_id)
        self._call.trace = trace
        self._call.metadata = {**metadata, **target.metadata} if target.metadata else metadata


def is_plain(target: Target) -> bool:
    """Whether a config of this target alone leaves nothing to decide."""
    return not (target.retry.attempts or target.circuit or target.trace_id or target.metadata)


class Pause:
    """A wait between two attempts, which a stop of the gateway ends."""

    __slots__ = ("over",)

    def __init__(self, over: asyncio.Future[None]) -> None:
        self.over = over

    def end(self) -> None:
        if not self.over.done():
            self.over.set_result(None)

    def fail(self, error: GatewayError) -> None:
        if not self.over.done():
            self.over.set_exception(error)


def judge(error: GatewayError, *, broken: bool = False, late: bool = False) -> Setback:
    """What routing has to know of a failure. `late`: the call's time is over."""
    return Setback(
        status=error.status,
        connection=isinstance(error, UpstreamError) and not isinstance(error, UpstreamStatus),
        policy=isinstance(error, UpstreamStatus) and (error.error_code or "").lower() in REFUSALS,
        broken=broken,
        final=late or isinstance(error, FINAL),
    )


def counts(error: GatewayError, target: Target) -> bool:
    """Whether a failure speaks against the target: a 4xx never does, whatever the config lists."""
    if isinstance(error, UpstreamStatus):
        codes = target.circuit.status_codes if target.circuit is not None else None
        return error.status >= 500 and (codes is None or error.status in codes)
    return isinstance(error, UpstreamError) and not isinstance(error, AnswerDiffers)
