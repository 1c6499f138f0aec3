"""The readers of a load: one protocol per connection, strict about every answer, and cheap."""

from __future__ import annotations

import asyncio
import time
from array import array
from collections import Counter
from typing import Protocol, cast
from urllib.parse import urlsplit

import httptools

from load_tests.answers import DONE, STAMP_MARK, STAMP_SIZE, Answer, write_request
from load_tests.plan import Plan

SAMPLED = 8
"""Of a paced stream's reads, one in this many is timed."""


class Tally:
    """What all clients of a load have counted. Latencies are ns and kept only while `measuring`."""

    def __init__(self) -> None:
        self.operations = 0
        self.answers = 0
        self.latencies = array("q")
        self.errors: Counter[str] = Counter()
        self.measuring = False


class Owner(Protocol):
    """Who runs the clients."""

    tally: Tally

    def next_answer(self, client: Client) -> Answer | None:
        """What to ask for next; None to stop."""

    def started(self, client: Client) -> None:
        """The first byte of the first answer is here."""

    def stopped(self, client: Client) -> None:
        """Its last answer is whole, or its connection is gone."""


def write_head(plan: Plan) -> bytes:
    """A request's head up to the value of its content-length."""
    parts = urlsplit(plan.url)
    lines = [f"POST {parts.path} HTTP/1.1", f"Host: {parts.netloc}", "Content-Type: application/json"]
    lines += [f"{name}: {value}" for name, value in plan.headers.items()]
    return "\r\n".join([*lines, "Content-Length: "]).encode()


class Client(asyncio.Protocol):
    """One keep-alive connection that asks, checks the answer, and asks again."""

    def __init__(self, owner: Owner, head: bytes) -> None:
        self._owner = owner
        self._tally = owner.tally
        self._head = head
        self._pieces: list[bytes] = []
        self.on_body = self._pieces.append  # no Python frame per HTTP chunk
        self._parser = httptools.HttpResponseParser(self)
        self._answer: Answer | None = None
        self._whole = False
        self._status = 0
        self._refusal = b""
        self._begun = False

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by class
        self._ask()

    def data_received(self, data: bytes) -> None:
        if self._answer is None:
            self._fail("bytes that nobody asked for")
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(f"malformed answer: {error}")
            return
        if not self._begun:
            self._begun = True
            self._owner.started(self)
        pieces = self._pieces
        if pieces:
            body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            pieces.clear()
            if self._status == 200:
                self.read(body)
            else:
                self._refusal += body[:200]
        if self._whole:
            self._finish(self._answer)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None:
            self._tally.errors["connection lost in an answer"] += 1
            self._answer = None
        self._owner.stopped(self)

    # httptools

    def on_headers_complete(self) -> None:
        self._status = self._parser.get_status_code()

    def on_message_complete(self) -> None:
        self._whole = True
        self._kept = self._parser.should_keep_alive()  # llhttp forgets it after this call

    # what kinds of answers differ in

    def begin(self) -> None:
        """A new answer is about to come."""

    def read(self, body: bytes) -> None:
        """One read's share of the body."""

    def judge(self, answer: Answer) -> str | None:
        """What is wrong with the whole answer."""

    # the rest

    def _ask(self) -> None:
        self._answer = answer = self._owner.next_answer(self)
        if answer is None:
            self._owner.stopped(self)
            return
        self._whole = False
        self.begin()
        body = write_request(answer)
        self.asked = time.monotonic_ns()
        self.transport.write(b"%b%d\r\n\r\n%b" % (self._head, len(body), body))

    def _finish(self, answer: Answer) -> None:
        if self._status == 200:
            problem = self.judge(answer)
        else:
            problem = f"status {self._status}: {self._refusal[:200].decode(errors='replace')}"
        self._answer = None
        if problem is not None:
            self._fail(problem)
            return
        self._tally.answers += 1
        if self._kept:
            self._ask()
        else:
            self.transport.close()

    def _fail(self, problem: str) -> None:
        self._answer = None
        self._tally.errors[problem] += 1
        self.transport.abort()


class UnaryClient(Client):
    """An operation is an answer; its latency runs from the request to the whole answer."""

    def begin(self) -> None:
        self._body = b""

    def read(self, body: bytes) -> None:
        self._body += body

    def judge(self, answer: Answer) -> str | None:
        if not (self._body.startswith(b'{"id":') and self._body.endswith(b'"total_tokens":116}}')):
            return "a unary answer is not what was sent"
        self._tally.operations += 1
        if self._tally.measuring:
            self._tally.latencies.append(time.monotonic_ns() - self.asked)
        return None


class StreamClient(Client):
    """An operation is a chunk; latency runs from the request to the first read of the body."""

    def begin(self) -> None:
        self._events = 0
        self._reads = 0
        self._ending = b""

    def read(self, body: bytes) -> None:
        events = body.count(b"\n\n")
        ending = self._ending
        if body[0] == 10 and ending.endswith(b"\n") and not ending.endswith(b"\n\n"):
            events += 1
        self._ending = body[-len(DONE) :] if len(body) >= len(DONE) else (ending + body)[-len(DONE) :]
        self._events += events
        self._tally.operations += events
        if self._tally.measuring:
            self.time(body)
        self._reads += 1

    def time(self, body: bytes) -> None:
        """Note the latency this read shows, if it is one of those that show one."""
        if self._reads == 0:
            self._tally.latencies.append(time.monotonic_ns() - self.asked)

    def judge(self, answer: Answer) -> str | None:
        if self._ending != DONE:
            return "a stream without [DONE]"
        if self._events != answer.events:
            return f"a stream with {self._events - answer.events:+d} events"
        self._tally.operations -= answer.events - answer.chunks  # what ends a stream is no chunk
        return None


class PacedClient(StreamClient):
    """Latency is the age of a chunk, by the stamp in it."""

    def time(self, body: bytes) -> None:
        if self._reads % SAMPLED:
            return
        start = body.find(STAMP_MARK) + len(STAMP_MARK)
        stamp = body[start : start + STAMP_SIZE]
        if start >= len(STAMP_MARK) and len(stamp) == STAMP_SIZE:
            self._tally.latencies.append(time.monotonic_ns() - int(stamp, 16))


CLIENTS: dict[str, type[Client]] = {"unary": UnaryClient, "burst": StreamClient, "paced": PacedClient}
