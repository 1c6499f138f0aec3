"""What it costs to translate a stream, without sockets: a provider's chunks through the gateway's lane to a client.

`python -m load_tests.translation [CHUNKS]` prints one JSON object, from "<provider> to <client>" to a Report. A read
holds one chunk, as in paced streams, or `BLOCK` of them. A client whose own wire the provider speaks is the verbatim
lane, and what the ratio is to.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict

import orjson

from aiogateway.contracts import MAX_EVENT, Dialect
from aiogateway.dialects.builtin import register_dialects
from aiogateway.engine.lanes import Lane, SplicedLane, TranslatedLane
from aiogateway.neutral import Begin, Envelope, Event, Finish, Text, UsageReport
from aiogateway.types import Usage
from aiogateway.wire.sse import frame
from load_tests.plan import Report

CHUNKS = 2048
BLOCK = 64
PASSES = 7
WORD = " waves"
CLIENTS = ("openai_chat", "openai_responses", "anthropic")
PROVIDERS = (*CLIENTS, "gemini", "cohere_chat")

_MODEL = "sea-1"
_GEMINI = {"modelVersion": _MODEL, "responseId": "tide-1"}
_COUNTS = {"promptTokenCount": 52, "candidatesTokenCount": 64, "totalTokenCount": 116}

Stream = tuple[bytes, bytes, bytes]
"""What comes before the chunks, one chunk, and what comes after them."""


def load_dialects() -> Mapping[str, Dialect]:
    """The built-in ones, by name."""
    found: list[Dialect] = []
    register_dialects(found.append)
    return {dialect.name: dialect for dialect in found}


def write_stream(dialect: Dialect) -> Stream:
    """As its providers write it: by the dialect's own encoder, or by hand where no client speaks it."""
    if dialect.name == "gemini":
        return b"", frame(orjson.dumps(_write_gemini(WORD))), frame(orjson.dumps(_write_gemini("", last=True)))
    if dialect.name == "cohere_chat":
        return _write_cohere()
    encoder = dialect.encoder(make_envelope())
    first: tuple[Event, ...] = (Begin(id="tide-1", model=_MODEL, created=1_760_000_000), Text(WORD))
    last: tuple[Event, ...] = (Finish("stop"), UsageReport(Usage(input=52, output=64)))
    head = b"".join([encoder.feed(event) for event in first])
    chunk = encoder.feed(Text(WORD))
    return head, chunk, b"".join([*map(encoder.feed, last), encoder.end()])


def make_envelope() -> Envelope:
    return Envelope(id="call-1", model=_MODEL, created=1_760_000_000, include_usage=True)


def _write_gemini(text: str, *, last: bool = False) -> dict[str, object]:
    candidate = {"content": {"parts": [{"text": text}], "role": "model"}, "index": 0}
    ending = {"finishReason": "STOP"} if last else {}
    return {"candidates": [candidate | ending], "usageMetadata": _COUNTS, **_GEMINI}


def _write_cohere() -> Stream:
    def event(kind: str, **fields: object) -> bytes:
        return frame(orjson.dumps({"type": kind, **fields}), kind)

    def content(kind: str, **fields: object) -> bytes:
        return event(f"content-{kind}", index=0, delta={"message": {"content": fields}})

    head = event("message-start", id="tide-1", delta={"message": {"role": "assistant", "content": []}})
    ending = {"finish_reason": "COMPLETE", "usage": {"tokens": {"input_tokens": 52, "output_tokens": 64}}}
    last = event("content-end", index=0) + event("message-end", delta=ending)
    return head + content("start", type="text", text=""), content("delta", text=WORD), last


def open_lane(client: Dialect, provider: Dialect) -> Lane:
    """The one that the gateway takes for the two."""
    if client is provider:
        return SplicedLane(provider, max_event=MAX_EVENT)
    return TranslatedLane(provider, client, client.encoder(make_envelope()), max_event=MAX_EVENT)


def time_pass(client: Dialect, provider: Dialect, reads: Sequence[bytes], stream: Stream) -> tuple[float, str | None]:
    """CPU seconds for all `reads`, and what is wrong with what came out."""
    head, chunk, last = stream
    lane = open_lane(client, provider)
    lane.feed(head)
    begun = time.process_time()
    written = [lane.feed(read) for read in reads]
    spent = time.process_time() - begun
    lane.feed(last)
    lane.end(None)
    if lane.verdict.error is not None or not lane.settled():
        return spent, "a stream did not end"
    if sum(piece.count(WORD.encode()) for piece in written) != sum(read.count(chunk) for read in reads):
        return spent, "a stream lost text"
    return spent, None


def measure(chunks: int = CHUNKS) -> Iterator[tuple[str, Report]]:
    """Each client with each provider, the client's own wire first."""
    dialects = load_dialects()
    streams = {name: write_stream(dialects[name]) for name in PROVIDERS}
    for client in CLIENTS:
        verbatim = 0.0
        for provider in sorted(PROVIDERS, key=lambda name: name != client):
            stream = streams[provider]
            values, errors = _measure_pair(dialects[client], dialects[provider], stream, chunks)
            verbatim = verbatim or values["chunk_us"]
            values["ratio"] = values["chunk_us"] / verbatim
            yield f"{provider} to {client}", Report(values, errors)


def _measure_pair(
    client: Dialect, provider: Dialect, stream: Stream, chunks: int
) -> tuple[dict[str, float], dict[str, int]]:
    """Microseconds a chunk, the least of all passes: what more there is, others did."""
    chunk = stream[1]
    sizes = {"chunk_us": [chunk] * chunks, "block_us": [chunk * BLOCK] * max(chunks // BLOCK, 1)}
    values: dict[str, float] = {}
    errors: dict[str, int] = {}
    for name, reads in sizes.items():
        count = sum(len(read) // len(chunk) for read in reads)
        passes = [time_pass(client, provider, reads, stream) for _ in range(PASSES)]
        values[name] = 1e6 * min(spent for spent, _ in passes) / count
        for _, problem in passes:
            if problem is not None:
                errors[problem] = errors.get(problem, 0) + 1
    return values, errors


if __name__ == "__main__":
    reports = {pair: asdict(report) for pair, report in measure(int(sys.argv[1]) if len(sys.argv) > 1 else CHUNKS)}
    print(orjson.dumps(reports).decode())
