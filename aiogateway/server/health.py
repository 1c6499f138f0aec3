"""Whether this worker lives, whether it wants traffic, and what it is: the bodies, without a server."""

from __future__ import annotations

from collections.abc import Iterable

import orjson

STARTING = "starting"
DRAINING = "draining"


class Health:
    """Readiness as a set of named reasons against it: ready while there is none. Starts as not ready (`starting`)."""

    def __init__(self, *, version: str, docs: str) -> None:
        self._version = version
        self._docs = docs
        self._reasons: dict[str, None] = {STARTING: None}

    @property
    def ready(self) -> bool:
        return not self._reasons

    @property
    def reasons(self) -> tuple[str, ...]:
        """What stands against readiness, the oldest first."""
        return tuple(self._reasons)

    def block(self, reason: str) -> None:
        """Not ready for `reason`, until `clear`. Twice is as good as once."""
        self._reasons[reason] = None

    def clear(self, reason: str) -> None:
        """`reason` is over; one that was not there is no error."""
        self._reasons.pop(reason, None)

    def live(self) -> bytes:
        """The body of ``/healthz``, always with 200: whoever can answer lives."""
        return b'{"status":"ok"}'

    def readiness(self, warnings: Iterable[str] = ()) -> tuple[int, bytes]:
        """Status and body of ``/readyz``. `warnings` are faults that don't keep requests away (a sink that fails)."""
        status = "ready" if self.ready else "not ready"
        body = {"status": status, "reasons": self.reasons, "warnings": tuple(warnings)}
        return (200 if self.ready else 503), orjson.dumps(body)

    def about(self) -> bytes:
        """The body of ``/``."""
        return orjson.dumps({"name": "aiogateway", "version": self._version, "docs": self._docs})
