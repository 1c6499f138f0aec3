"""Counters for Prometheus. Children are bound once: `labels()` costs 2 µs a call, a bound child 0.4 µs.

Every label has a bounded set of values, so no caller can grow the registry.
"""

from __future__ import annotations

from itertools import product

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from ..types import Endpoint, Outcome, Record

RECOVERIES = ("recovered", "failed", "too_long", "tool_call", "unsupported")
"""What `Record.recovery` may say."""

_OTHER = "other"
_MOST_PAIRS = 512  # (provider, outcome) pairs with a series of their own

_FIRST_TOKEN_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300)
_OVERHEAD_BUCKETS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.25, 1)


class Metrics:
    """One worker's metrics, in a registry of their own. Written to on the loop's thread only; no method raises."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._running = 0
        self._streams = 0
        calls = Counter(
            "aiogateway_calls",
            "Calls that ended, by endpoint (other: passthrough and local routes), stream and outcome.",
            ("endpoint", "stream", "outcome"),
            registry=registry,
        )
        self._calls = {
            (endpoint, stream, outcome): calls.labels(endpoint or _OTHER, str(stream).lower(), outcome)
            for endpoint, stream, outcome in product((*Endpoint, None), (False, True), Outcome)
        }
        self._attempts = Counter(
            "aiogateway_attempts",
            "Attempts at a provider, by provider and outcome.",
            ("provider", "outcome"),
            registry=registry,
        )
        self._pairs: dict[tuple[str, str | None], Counter] = {}
        self._spill = {outcome: self._attempts.labels(_OTHER, outcome or "none") for outcome in (*Outcome, None)}
        recoveries = Counter(
            "aiogateway_recoveries",
            "Streams that stream_recovery watched and that broke, or could not have been recovered, by what became of "
            "them.",
            ("result",),
            registry=registry,
        )
        self._recoveries = {result: recoveries.labels(result) for result in RECOVERIES}
        self._first_token = Histogram(
            "aiogateway_first_token_seconds",
            "Streams: from the request's arrival to the provider's first event.",
            buckets=_FIRST_TOKEN_BUCKETS,
            registry=registry,
        )
        self._overhead = Histogram(
            "aiogateway_overhead_seconds",
            "The gateway's own time: from the request's arrival to the first attempt.",
            buckets=_OVERHEAD_BUCKETS,
            registry=registry,
        )
        running = Gauge("aiogateway_running_calls", "Calls that have not ended yet.", registry=registry)
        running.set_function(lambda: self._running)
        streams = Gauge("aiogateway_open_streams", "Streams on their way to clients.", registry=registry)
        streams.set_function(lambda: self._streams)
        self._drops = Counter(
            "aiogateway_dropped_records",
            "Call records that a sink lost: its queue was full, or it failed or took too long.",
            ("sink",),
            registry=registry,
        )
        self._failures = Counter(
            "aiogateway_plugin_failures",
            "Exceptions out of plugins at run time, by plugin and hook.",
            ("plugin", "hook"),
            registry=registry,
        )
        self._plugin_time = Counter(
            "aiogateway_plugin_seconds",
            "Time that plugins spent watching calls, on the event loop.",
            ("plugin",),
            registry=registry,
        )
        ProcessCollector(registry=registry)  # process_resident_memory_bytes, process_start_time_seconds, open fds, CPU

    def begin_call(self) -> None:
        """A call arrived; `end_call` has to follow, once."""
        self._running += 1

    def end_call(self, record: Record) -> None:
        """All that is counted of one call, from its record."""
        self._running -= 1
        self._calls[record.endpoint, record.stream, record.outcome].inc()
        for attempt in record.attempts:
            pair = (attempt.provider, attempt.outcome)
            (self._pairs.get(pair) or self._bind(pair)).inc()
        if record.recovery is not None:
            self._recoveries[record.recovery].inc()
        if record.attempts:
            self._overhead.observe(record.overhead)
            if record.stream and record.first_token is not None:
                self._first_token.observe(record.first_token)

    def open_stream(self) -> None:
        """A stream was committed; `close_stream` has to follow, once."""
        self._streams += 1

    def close_stream(self) -> None:
        self._streams -= 1

    def add_sink(self, name: str) -> None:
        """Shows the sink's losses from the start, as 0."""
        self._drops.labels(name)

    def drop_records(self, sink: str, count: int) -> None:
        """`count` records will never be in `sink`."""
        self._drops.labels(sink).inc(count)

    def fail_plugin(self, plugin: str, hook: str) -> None:
        """An exception came out of `plugin`'s `hook`."""
        self._failures.labels(plugin, hook).inc()

    def time_plugin(self, plugin: str, seconds: float) -> None:
        """`plugin` watched a call for `seconds`."""
        self._plugin_time.labels(plugin).inc(seconds)

    def render(self) -> tuple[bytes, str]:
        """The exposition and its content type. Takes milliseconds: call it in a thread."""
        return generate_latest(self.registry), CONTENT_TYPE_LATEST

    def _bind(self, pair: tuple[str, Outcome | None]) -> Counter:
        provider, outcome = pair
        if len(self._pairs) >= _MOST_PAIRS:
            return self._spill[outcome]
        child = self._pairs[pair] = self._attempts.labels(provider, outcome or "none")
        return child
