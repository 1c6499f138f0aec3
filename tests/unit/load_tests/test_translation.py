"""The streams that are translated for the measurement, and what is said of it."""

from __future__ import annotations

import pytest

from aiogateway.neutral import Finish, Text, UsageReport
from load_tests.translation import CLIENTS, PROVIDERS, WORD, load_dialects, measure, time_pass, write_stream


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_stream_is_what_its_providers_would_send(name: str) -> None:
    dialect = load_dialects()[name]
    head, chunk, last = write_stream(dialect)
    decoder, splitter = dialect.decoder(), dialect.splitter()
    frames = splitter.feed(head + 3 * chunk + last)
    assert splitter.rest() == b""
    assert len(splitter.feed(chunk)) == 1
    events = [event for frame in frames for event in decoder.feed(frame)]
    started = WORD in head.decode()
    assert "".join(event.text for event in events if isinstance(event, Text)) == WORD * (3 + started)
    assert [event.reason for event in events if isinstance(event, Finish)] == ["stop"]
    usage = [event.usage for event in events if isinstance(event, UsageReport)][-1]
    assert (usage.input, usage.output) == (52, 64)


def test_every_client_is_measured_with_every_provider() -> None:
    reports = dict(measure(chunks=64))
    assert set(reports) == {f"{provider} to {client}" for client in CLIENTS for provider in PROVIDERS}
    assert [dict(report.errors) for report in reports.values() if report.errors] == []
    for pair, report in reports.items():
        provider, client = pair.split(" to ")
        assert set(report.values) == {"chunk_us", "block_us", "ratio"}
        assert (report.values["ratio"] == 1) == (provider == client)


def test_a_stream_that_lost_text_or_its_end_is_an_error() -> None:
    dialects = load_dialects()
    client, provider = dialects["openai_chat"], dialects["gemini"]
    stream = head, chunk, last = write_stream(provider)
    assert time_pass(client, provider, [chunk] * 3, stream)[1] is None
    assert time_pass(client, provider, [chunk, chunk[:40]], stream)[1] is not None
    empty = b"data: {}\n\n"
    assert time_pass(client, provider, [empty], (head, empty, last))[1] == "a stream lost text"
    assert time_pass(client, provider, [chunk], (head, chunk, b""))[1] == "a stream did not end"
