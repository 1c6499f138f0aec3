"""The readers of a load notice every wrong answer, however it is split."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from load_tests.answers import STREAM_HEAD, UNARY, Answer, make_block, make_end, make_reply
from load_tests.clients import CLIENTS, Client, Tally


class Transport:
    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.open = True

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def abort(self) -> None:
        self.open = False

    close = abort


class Owner:
    def __init__(self, answers: list[Answer]) -> None:
        self.tally = Tally()
        self.answers = answers

    def next_answer(self, client: Client) -> Answer | None:
        return self.answers.pop(0) if self.answers else None

    def started(self, client: Client) -> None:
        self.tally.measuring = True

    def stopped(self, client: Client) -> None:
        self.tally.measuring = False


def feed(answers: list[Answer], data: bytes, size: int) -> tuple[Tally, Transport]:
    """What a client counts that asks for `answers` and reads `data` in reads of `size` bytes."""
    owner, transport = Owner(list(answers)), Transport()
    client = CLIENTS[answers[0].kind](owner, b"POST / HTTP/1.1\r\nContent-Length: ")
    client.connection_made(cast(asyncio.Transport, transport))
    for at in range(0, len(data), size):
        if transport.open:
            client.data_received(data[at : at + size])
    return owner.tally, transport


STREAM = Answer("burst", 3)
GOOD = STREAM_HEAD + make_block(3, False) + make_end(False)


@pytest.mark.parametrize("size", [1, 2, 7, 100, 331, 100_000])
def test_good_streams_are_counted_at_every_split(size: int) -> None:
    first, second = feed([STREAM], GOOD, size)[0], feed([STREAM, STREAM], GOOD, size)
    assert (first.operations, first.answers, dict(first.errors)) == (3, 1, {})
    assert (second[0].answers, len(second[1].written)) == (1, 2)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (STREAM_HEAD + make_block(2, False) + make_end(False), "a stream with -1 events"),
        (STREAM_HEAD + make_block(3, False) + make_end(True), "a stream with +1 events"),
        (STREAM_HEAD + make_block(3, False) + b"0\r\n\r\n", "a stream without [DONE]"),
        (make_reply("502 Bad Gateway", b"no"), "status 502: no"),
        (b"nonsense\r\n\r\n", "malformed answer"),
    ],
)
def test_a_bad_stream_is_an_error_by_name(data: bytes, problem: str) -> None:
    tally, transport = feed([STREAM], data, 50)
    assert [name.startswith(problem) for name in tally.errors] == [True]
    assert tally.answers == 0
    assert not transport.open


def test_bytes_after_the_end_are_an_error() -> None:
    tally, _ = feed([STREAM], GOOD + b"HTTP/1.1 200 OK\r\n\r\n", len(GOOD))
    assert dict(tally.errors) == {"bytes that nobody asked for": 1}


def test_a_connection_lost_in_an_answer_is_an_error() -> None:
    owner = Owner([STREAM])
    client = CLIENTS["burst"](owner, b"")
    client.connection_made(cast(asyncio.Transport, Transport()))
    client.data_received(GOOD[:200])
    client.connection_lost(None)
    assert dict(owner.tally.errors) == {"connection lost in an answer": 1}


@pytest.mark.parametrize("size", [1, 64, 100_000])
def test_unary_answers_are_checked_and_timed(size: int) -> None:
    tally, transport = feed([Answer("unary"), Answer("unary")], UNARY, size)
    assert (tally.operations, tally.answers, len(tally.latencies), len(transport.written)) == (1, 1, 1, 2)
    cut = feed([Answer("unary")], make_reply("200 OK", b'{"id":"x"}'), size)[0]
    assert dict(cut.errors) == {"a unary answer is not what was sent": 1}


def test_a_paced_chunk_is_timed_by_its_stamp() -> None:
    tally, _ = feed([Answer("paced", 3, 50)], GOOD, 100_000)
    assert len(tally.latencies) == 1
    assert tally.latencies[0] > 0
