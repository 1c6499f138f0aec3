from __future__ import annotations

import threading
import time

import pytest
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from aiogateway.telemetry import metrics as module
from aiogateway.telemetry.metrics import Metrics
from aiogateway.types import Endpoint, Outcome
from tests.unit.telemetry.records import make_attempt, make_record


def read(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_call_and_attempts_are_counted() -> None:
    metrics = Metrics()
    attempts = (make_attempt(outcome=Outcome.FAILED), make_attempt(provider="mock"))
    metrics.begin_call()
    metrics.end_call(make_record(attempts=attempts))
    labels = {"endpoint": "chat/completions", "stream": "true", "outcome": "ok"}
    assert read(metrics, "aiogateway_calls_total", **labels) == 1
    assert read(metrics, "aiogateway_attempts_total", provider="openai", outcome="failed") == 1
    assert read(metrics, "aiogateway_attempts_total", provider="mock", outcome="ok") == 1
    assert read(metrics, "aiogateway_first_token_seconds_sum") == 0.3
    assert read(metrics, "aiogateway_first_token_seconds_bucket", le="0.25") == 0
    assert read(metrics, "aiogateway_first_token_seconds_bucket", le="0.5") == 1
    assert read(metrics, "aiogateway_overhead_seconds_sum") == 0.0003


def test_refused_call_has_no_overhead_and_no_first_token() -> None:
    metrics = Metrics()
    metrics.end_call(make_record(outcome=Outcome.REFUSED, endpoint=None, stream=False, attempts=(), first_token=None))
    labels = {"endpoint": "other", "stream": "false", "outcome": "refused"}
    assert read(metrics, "aiogateway_calls_total", **labels) == 1
    assert read(metrics, "aiogateway_overhead_seconds_count") == 0
    assert read(metrics, "aiogateway_first_token_seconds_count") == 0


def test_unary_answer_is_no_first_token() -> None:
    metrics = Metrics()
    metrics.end_call(make_record(stream=False))
    assert read(metrics, "aiogateway_first_token_seconds_count") == 0
    assert read(metrics, "aiogateway_overhead_seconds_count") == 1


@pytest.mark.parametrize("endpoint", [*Endpoint, None])
@pytest.mark.parametrize("outcome", list(Outcome))
@pytest.mark.parametrize("stream", [False, True])
def test_every_combination_has_a_series_from_the_start(
    endpoint: Endpoint | None, outcome: Outcome, stream: bool
) -> None:
    metrics = Metrics()
    labels = {"endpoint": endpoint or "other", "stream": str(stream).lower(), "outcome": outcome.value}
    assert read(metrics, "aiogateway_calls_total", **labels) == 0
    metrics.end_call(make_record(endpoint=endpoint, outcome=outcome, stream=stream))
    assert read(metrics, "aiogateway_calls_total", **labels) == 1


def test_providers_beyond_the_bound_are_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_PAIRS", 2)
    metrics = Metrics()
    for provider in ("a", "b", "c", "d", "a"):
        metrics.end_call(make_record(attempts=(make_attempt(provider=provider),)))
    assert read(metrics, "aiogateway_attempts_total", provider="a", outcome="ok") == 2
    assert read(metrics, "aiogateway_attempts_total", provider="b", outcome="ok") == 1
    assert read(metrics, "aiogateway_attempts_total", provider="other", outcome="ok") == 2
    assert read(metrics, "aiogateway_attempts_total", provider="c", outcome="ok") is None


def test_attempt_without_outcome_is_counted() -> None:
    metrics = Metrics()
    metrics.end_call(make_record(attempts=(make_attempt(outcome=None),)))
    assert read(metrics, "aiogateway_attempts_total", provider="openai", outcome="none") == 1


def test_gauges_follow_calls_and_streams() -> None:
    metrics = Metrics()
    metrics.begin_call()
    metrics.begin_call()
    metrics.open_stream()
    assert read(metrics, "aiogateway_running_calls") == 2
    assert read(metrics, "aiogateway_open_streams") == 1
    metrics.end_call(make_record())
    metrics.close_stream()
    assert read(metrics, "aiogateway_running_calls") == 1
    assert read(metrics, "aiogateway_open_streams") == 0


def test_losses_and_failures() -> None:
    metrics = Metrics()
    metrics.add_sink("json_lines")
    assert read(metrics, "aiogateway_dropped_records_total", sink="json_lines") == 0
    metrics.drop_records("json_lines", 7)
    metrics.fail_plugin("acme", "observe_call")
    assert read(metrics, "aiogateway_dropped_records_total", sink="json_lines") == 7
    assert read(metrics, "aiogateway_plugin_failures_total", plugin="acme", hook="observe_call") == 1


def test_exposition_is_readable_and_holds_the_process() -> None:
    metrics = Metrics()
    metrics.end_call(make_record())
    body, content_type = metrics.render()
    assert content_type.startswith("text/plain; version=")
    families = {family.name: family for family in text_string_to_metric_families(body.decode())}
    assert families["process_resident_memory_bytes"].samples[0].value > 1e6
    assert time.time() - families["process_start_time_seconds"].samples[0].value < 24 * 3600
    assert {"aiogateway_calls", "aiogateway_attempts", "aiogateway_open_streams"} <= families.keys()


def test_registries_are_separate() -> None:
    first, second = Metrics(), Metrics()
    first.open_stream()
    assert read(second, "aiogateway_open_streams") == 0
    assert REGISTRY.get_sample_value("aiogateway_open_streams") is None


def test_rendering_in_a_thread_while_calls_end() -> None:
    metrics = Metrics()
    bodies: list[bytes] = []
    thread = threading.Thread(target=lambda: bodies.extend(metrics.render()[0] for _ in range(10)))
    thread.start()
    for number in range(2000):
        metrics.end_call(make_record(attempts=(make_attempt(provider=f"p{number % 400}"),)))
    thread.join()
    assert len(bodies) == 10
    assert read(metrics, "aiogateway_overhead_seconds_count") == 2000


def test_no_text_of_a_caller_is_in_the_exposition() -> None:
    metrics = Metrics()
    canary = "sk-canary-123"
    record = make_record(
        id=canary, metadata={"key": canary}, error=canary, route=canary, attempts=(make_attempt(model=canary),)
    )
    metrics.end_call(record)
    assert canary.encode() not in metrics.render()[0]
