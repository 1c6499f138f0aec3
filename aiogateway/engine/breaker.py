"""Circuit breakers of this process: which targets are left alone because they keep failing.

::

    closed ──failures──> open ──cooldown──> half-open ──probe succeeds──> closed, forgotten
                          ^                     │
                          └────probe fails──────┘

Half-open is no state of its own: it is an open circuit whose cooldown is over. Nothing here runs by itself; a circuit
moves on when it is asked. Every call is O(1), and a target that never failed has no entry at all, unless its rules ask
for a share of its requests.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from ..contracts import Admission
from ..types import CircuitRules

WINDOW = 60.0
"""Seconds for which a failure counts."""
BUCKETS = 12
"""Parts of the window: it moves by a part at a time, so what counts is the last 55 to 60 s."""
MAX_CIRCUITS = 10_000

_PART = WINDOW / BUCKETS


class _Window:
    """Requests and failures of a closed circuit, in a ring of buckets. A request counts from when it begins."""

    __slots__ = ("_failures", "_part", "_requests", "failures", "requests")

    def __init__(self, now: float) -> None:
        self.requests = self.failures = 0
        self._requests = [0] * BUCKETS
        self._failures = [0] * BUCKETS
        self._part = int(now // _PART)

    def _advance(self, now: float) -> int:
        """Drops what is too old; returns the bucket of `now`."""
        part = int(now // _PART)
        for passed in range(self._part + 1, min(part, self._part + BUCKETS) + 1):
            old = passed % BUCKETS
            self.requests -= self._requests[old]
            self.failures -= self._failures[old]
            self._requests[old] = self._failures[old] = 0
        self._part = max(part, self._part)
        return self._part % BUCKETS

    def count_request(self, now: float) -> None:
        self._requests[self._advance(now)] += 1
        self.requests += 1

    def count_failure(self, now: float) -> None:
        self._failures[self._advance(now)] += 1
        self.failures += 1

    def uncount_request(self) -> None:
        """Takes back the newest request: which one it was makes no difference."""
        for part in range(self._part, self._part - BUCKETS, -1):
            if self._requests[part % BUCKETS]:
                self._requests[part % BUCKETS] -= 1
                self.requests -= 1
                return

    def breaks(self, rules: CircuitRules) -> bool:
        """Whether it was too much. A slow failure may outlive the count of its own request, but it was one."""
        if rules.failures is not None and self.failures >= rules.failures:
            return True
        requests = max(self.requests, self.failures)
        return (
            rules.failure_percentage is not None
            and requests >= rules.minimum_requests
            and self.failures * 100 >= rules.failure_percentage * requests
        )


class _Opening:
    """An open circuit. `probed`: it has had a probe; until then, one that ends was an earlier opening's."""

    __slots__ = ("probed", "since")

    def __init__(self, since: float) -> None:
        self.since = since
        self.probed = False


class LocalBreakers:
    """Implements `contracts.CircuitBreakers` for one process. `clock` is monotonic, in seconds.

    Counts and openings belong to the key, thresholds and cooldown to whoever asks: two configs may share a target and
    judge it differently. Of more than `limit` keys the closed circuit that went longest without an attempt is
    forgotten. Open ones may be half of `limit` and give way to other open ones only: no flood of new keys closes a
    circuit, and no mass of dead ones keeps others from being counted.

    An attempt that began under a closed circuit changes nothing while it is open. An `Admission` doesn't say under
    which opening it was given; so that no probe is taken for a later one, a target whose earlier probe is still under
    way gets no other. A probe whose stream breaks after `succeed` opens the circuit again at once.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, limit: int = MAX_CIRCUITS) -> None:
        self._clock = clock
        self._limit = limit
        self._windows: OrderedDict[bytes, _Window] = OrderedDict()  # of closed circuits, least recently used first
        self._openings: OrderedDict[bytes, _Opening] = OrderedDict()  # a key is in one of the two at most
        self._probes: set[bytes] = set()  # under way, also those of openings that are over

    def __len__(self) -> int:
        """The number of circuits that are kept."""
        return len(self._windows) + len(self._openings)

    def is_open(self, key: bytes, rules: CircuitRules) -> bool:
        opening = self._openings.get(key)
        return opening is not None and not self._may_probe(key, opening, rules)

    def begin(self, key: bytes, rules: CircuitRules) -> Admission:
        opening = self._openings.get(key)
        if opening is None:
            if rules.failure_percentage is not None:
                now = self._clock()
                self._use_window(key, now).count_request(now)
            elif key in self._windows:
                self._windows.move_to_end(key)
            return Admission.CLOSED
        self._openings.move_to_end(key)
        if not self._may_probe(key, opening, rules):
            return Admission.BYPASS
        opening.probed = True
        self._probes.add(key)
        return Admission.PROBE

    def succeed(self, key: bytes, admission: Admission) -> None:
        if admission is Admission.CLOSED:
            return
        opening = self._openings.get(key)
        if admission is Admission.PROBE:
            self._probes.discard(key)
            if opening is not None and not opening.probed:
                return  # this probe began before the circuit opened again
        if opening is not None:
            del self._openings[key]

    def fail(self, key: bytes, rules: CircuitRules, admission: Admission) -> None:
        if admission is Admission.PROBE:
            self._probes.discard(key)
        now = self._clock()
        opening = self._openings.get(key)
        if opening is not None:
            if admission is Admission.PROBE and opening.probed:
                opening.since = now
            return
        window = self._use_window(key, now)
        window.count_failure(now)
        if admission is Admission.PROBE or window.breaks(rules):  # a probe's stream that broke off was no success
            del self._windows[key]
            self._openings[key] = _Opening(now)
            if len(self._openings) > self._limit // 2:
                self._openings.popitem(last=False)

    def release(self, key: bytes, admission: Admission) -> None:
        if admission is Admission.PROBE:
            self._probes.discard(key)
        elif admission is Admission.CLOSED:
            window = self._windows.get(key)
            if window is not None:
                window.uncount_request()

    def _may_probe(self, key: bytes, opening: _Opening, rules: CircuitRules) -> bool:
        return key not in self._probes and self._clock() >= opening.since + rules.cooldown

    def _use_window(self, key: bytes, now: float) -> _Window:
        """The window of a closed circuit, made if need be, as the one used last."""
        window = self._windows.get(key)
        if window is not None:
            self._windows.move_to_end(key)
            return window
        if len(self) >= self._limit:
            self._windows.popitem(last=False)
        window = self._windows[key] = _Window(now)
        return window
