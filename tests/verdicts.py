"""What came of a fault, as all three sides saw it, and the lab's verdict on it."""

from __future__ import annotations

import enum
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from aiogateway.testing.upstream import SeenConnection, SeenRequest
from aiogateway.types import Record
from tests.faults import Fault
from tests.views import Chat
from tests.voices import FALLBACK, PRIMARY, TEXT, Pace, Voice

RETRIES = 2


class Verdict(enum.StrEnum):
    """Pass: the right answer, and the gateway behaved. Partial: rescued, with an advisory fault. Safe: not rescued, but
    a bounded, clean error. Fail: a hang, a truncated answer presented as success, or a required check failed.
    """

    PASS = "pass"
    PARTIAL = "partial"
    SAFE = "safe"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Heard:
    """One call's answer as its client got it. `first` and `end` are seconds from the question; no status is a hang."""

    status: int
    headers: dict[str, str]
    body: bytes
    begun: float
    first: float
    end: float


@dataclass(frozen=True, slots=True)
class Play:
    """One fault, as all three saw it."""

    fault: Fault
    pace: Pace
    streamed: bool
    heard: list[Heard]
    primary: list[SeenRequest]
    fallback: list[SeenRequest]
    connections: list[SeenConnection]  # of the primary
    records: list[Record]

    def gaps(self) -> list[float]:
        """Seconds between the requests that the primary saw."""
        times = [request.at for request in self.primary]
        return [later - earlier for earlier, later in itertools.pairwise(times)]

    def count(self, seconds: float) -> int:
        """Attempts within the first `seconds`."""
        times = [request.at for request in (*self.primary, *self.fallback)]
        return sum(at < min(times) + seconds for at in times)

    def chat(self, call: int = 0) -> Chat:
        heard = self.heard[call]
        return Chat.read(heard.body, streamed=heard.headers.get("content-type", "").startswith("text/event-stream"))


class Check(NamedTuple):
    """`advisory`: what a rescued caller may lack, but should not."""

    what: str
    holds: bool
    advisory: bool = False


def judge(play: Play) -> tuple[Verdict, list[str]]:
    """The verdict, and what did not hold."""
    rescued = [is_right(play, call) for call in range(len(play.heard))]
    clean = [is_clean(play, call) for call in range(len(play.heard))]
    if not all(one or other for one, other in zip(rescued, clean, strict=True)):
        return Verdict.FAIL, ["a hang, or what was broken looked whole"]
    broken = [check for check in CHECKS[play.fault.name](play) if not check.holds]
    said = [check.what for check in broken]
    if not all(rescued):
        return Verdict.SAFE, said
    if any(not check.advisory for check in broken):
        return Verdict.FAIL, said
    return (Verdict.PARTIAL if broken else Verdict.PASS), said


def is_right(play: Play, call: int) -> bool:
    heard = play.heard[call]
    return is_clean(play, call) if play.fault.refusal else heard.status == 200 and play.chat(call).is_whole(TEXT)


def is_clean(play: Play, call: int) -> bool:
    return play.heard[call].status >= 200 and play.chat(call).is_clean_error()


# -- what must hold beside a whole answer


def _check_s01(play: Play) -> Iterator[Check]:
    yield Check("waits as long as it was told", len(play.gaps()) == 1 and play.gaps()[0] >= 0.9 * play.pace.asked)
    yield Check("no tight loop", play.count(0.75 * play.pace.asked) <= 2)


def _check_s02(play: Play) -> Iterator[Check]:
    waits = [play.pace.backoff / 2, play.pace.backoff]
    backs_off = all(gap >= 0.9 * wait for gap, wait in zip(play.gaps(), waits, strict=True))
    yield Check("backs off", backs_off)
    yield Check("at most 4 attempts in 3 s", play.count(3 * play.pace.backoff) <= 4)
    yield _check_total(play)
    yield _check_model(play, FALLBACK)


def _check_s03(play: Play) -> Iterator[Check]:
    yield Check("one retry on the same target", (len(play.primary), len(play.fallback)) == (2, 0))


def _check_s04(play: Play) -> Iterator[Check]:
    yield _check_total(play)
    yield _check_model(play, FALLBACK)


def _check_s05(play: Play) -> Iterator[Check]:
    yield _check_total(play)


def _check_s06(play: Play) -> Iterator[Check]:
    yield Check("the silent target is not retried", len(play.primary) == 1)
    yield Check("ends well inside", play.heard[0].end < 0.8 * play.pace.silence)
    yield _check_model(play, FALLBACK)


def _check_s07(play: Play) -> Iterator[Check]:
    yield Check("answered in three quarters of the wait", play.heard[0].end < 0.75 * play.pace.late)
    yield _check_model(play, FALLBACK)


def _check_s08(play: Play) -> Iterator[Check]:
    yield _check_total(play)


def _check_s09(play: Play) -> Iterator[Check]:
    yield Check("detected inside the limit", play.heard[0].end < 0.75 * play.pace.stall)
    yield Check("not retried", play.records[0].attempts[-1].target == "config.targets[1]")
    yield Check("healthy afterwards", play.chat(1).model == PRIMARY.model)


def _check_s10(play: Play) -> Iterator[Check]:
    if play.streamed:
        yield Check("completes in place", (len(play.primary), len(play.fallback)) == (2, 0))
    yield Check("stays up", play.chat(1).model == PRIMARY.model)


def _check_s11(play: Play) -> Iterator[Check]:
    yield Check("does not wait", play.heard[0].end < play.pace.at_once)
    yield Check("no other attempt", (len(play.primary), len(play.fallback)) == (1, 0))


def _check_s12(play: Play) -> Iterator[Check]:
    yield Check("one attempt on that model", len(play.primary) == 1)
    yield _check_model(play, FALLBACK)


def _check_s13(play: Play) -> Iterator[Check]:
    yield Check("one attempt", (len(play.primary), len(play.fallback)) == (1, 0))
    yield Check("the provider's reason", b"this prompt was refused" in play.heard[0].body)


def _check_s14(play: Play) -> Iterator[Check]:
    yield Check("the fallback's 400 is not seen", b"must not end with" not in play.heard[0].body)
    yield _check_total(play)


def _check_s15(play: Play) -> Iterator[Check]:
    healthy = play.heard[0].begun + play.pace.down
    back = [heard.begun for call, heard in enumerate(play.heard) if play.chat(call).model == PRIMARY.model]
    dead = sum(attempt.status == 503 for record in play.records for attempt in record.attempts)
    yield Check("back within 30 s", bool(back) and back[0] <= healthy + play.pace.down / 2)
    yield Check("stays back", len(back) == sum(heard.begun >= back[0] for heard in play.heard) if back else False)
    yield Check("few attempts on the dead target", dead <= 1 + RETRIES + play.pace.down // play.pace.cooldown)


def _check_s16(play: Play) -> Iterator[Check]:
    yield _check_total(play)
    yield _check_model(play, FALLBACK)
    yield Check("the fallback's usage", play.chat().usage == FALLBACK.usage)
    yield Check("failed attempts cost nothing", all(one.usage is None for one in play.records[0].attempts[:-1]))


def _check_total(play: Play) -> Check:
    return Check("at most 6 attempts", len(play.primary) + len(play.fallback) <= 6)


def _check_model(play: Play, voice: Voice) -> Check:
    return Check(f"says that {voice.name} answered", play.chat().model == voice.model, advisory=True)


CHECKS: Mapping[str, Callable[[Play], Iterator[Check]]] = {
    "S01": _check_s01,
    "S02": _check_s02,
    "S03": _check_s03,
    "S04": _check_s04,
    "S05": _check_s05,
    "S06": _check_s06,
    "S07": _check_s07,
    "S08": _check_s08,
    "S09": _check_s09,
    "S10": _check_s10,
    "S11": _check_s11,
    "S12": _check_s12,
    "S13": _check_s13,
    "S14": _check_s14,
    "S15": _check_s15,
    "S16": _check_s16,
}
