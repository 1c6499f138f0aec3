"""The scenarios that are not a window of load: readers that stop, clients that leave, and the start of a process."""

from __future__ import annotations

import contextlib
import http.client
import socket
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import orjson

from load_tests.answers import DONE, Answer, write_request
from load_tests.clients import write_head
from load_tests.meter import peak_megabytes, resident_megabytes
from load_tests.plan import Plan, Report

ENDLESS = 1_000_000
RATE = 50
TIMEOUT = 10.0
RECEIVE_BUFFER = 65536
RESUMED = 2_000_000
"""Bytes a stuck reader must still be able to read once it goes on: more than all buffers on the way hold."""
LEFT_WITHIN = 1.0
START_LIMIT = 30.0
POLL = 0.001


@contextlib.contextmanager
def open_streams(plan: Plan, answer: Answer) -> Iterator[list[socket.socket]]:
    """`plan.connections` requests for `answer`, written and not yet read."""
    parts = urlsplit(plan.url)
    body = write_request(answer)
    request = b"%b%d\r\n\r\n%b" % (write_head(plan), len(body), body)
    with contextlib.ExitStack() as stack:
        peers = []
        for _ in range(plan.connections):
            peer = stack.enter_context(socket.socket())
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            peer.settimeout(TIMEOUT)
            peer.connect((parts.hostname, parts.port))
            peer.sendall(request)
            peers.append(peer)
        yield peers


def probe_stall(plan: Plan) -> Report:
    """They ask for an endless unpaced stream and don't read: memory before, half way, at the end. Then they go on."""
    before = resident_megabytes(plan.proxy)
    errors: dict[str, int] = {}
    with open_streams(plan, Answer("burst", ENDLESS, 0, plan.usage)) as peers:
        time.sleep(plan.seconds / 2)
        half = resident_megabytes(plan.proxy)
        time.sleep(plan.seconds / 2)
        end = resident_megabytes(plan.proxy)
        stuck = sum(not can_read(peer, RESUMED) for peer in peers)
    if stuck:
        errors["a reader that stopped got nothing more when it went on"] = stuck
    values = {"readers": float(plan.connections)}
    if plan.proxy:
        values |= {
            "resident_mb": end,
            "peak_mb": peak_megabytes(plan.proxy),
            "growth_mb_per_reader": (end - before) / plan.connections,
            "second_half_mb": end - half,
        }
    return Report(values, errors)


def can_read(peer: socket.socket, size: int) -> bool:
    """Whether `size` more bytes come."""
    try:
        while size > 0:
            data = peer.recv(RECEIVE_BUFFER)
            if not data:
                return False
            size -= len(data)
    except OSError:
        return False
    return True


def probe_leave(plan: Plan, upstream_port: int) -> Report:
    """Clients of paced streams leave after their first chunk: how many streams the mock saw closed within 1 s."""
    ask_upstream(upstream_port, "DELETE")
    errors: dict[str, int] = {}
    with open_streams(plan, Answer("paced", ENDLESS, RATE, plan.usage)) as peers:
        silent = sum(not wait_for_chunk(peer) for peer in peers)
        if silent:
            errors["a stream without a first chunk"] = silent
        left = time.monotonic()
    cuts: list[float] = []
    while len(cuts) < plan.connections and time.monotonic() < left + 2 * LEFT_WITHIN:
        time.sleep(0.05)
        cuts = ask_upstream(upstream_port, "GET")
    values = {
        "left": float(plan.connections),
        "closed_within_1s": float(sum(cut <= left + LEFT_WITHIN for cut in cuts)),
    }
    if cuts:
        values["last_closed_ms"] = (max(cuts) - left) * 1e3
    return Report(values, errors)


def wait_for_chunk(peer: socket.socket) -> bool:
    """Whether a chunk comes before the stream ends or TIMEOUT passes."""
    data = b""
    with contextlib.suppress(OSError):
        while b'"content":' not in data:
            piece = peer.recv(RECEIVE_BUFFER)
            if not piece or DONE in data:
                return False
            data += piece
        return True
    return False


def ask_upstream(port: int, method: str) -> list[float]:
    """The mock's list of cut streams, CLOCK_MONOTONIC seconds; DELETE empties it."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    with contextlib.closing(connection):
        connection.request(method, "/cuts")
        cuts: list[float] = orjson.loads(connection.getresponse().read())
        return cuts


def wait_for_answer(plan: Plan, alive: Callable[[], bool]) -> str | None:
    """Ask until a unary request is answered with 200; after START_LIMIT or the process's end, what happened instead."""
    parts = urlsplit(plan.url)
    body = write_request(Answer("unary"))
    problem = "no answer"
    deadline = time.monotonic() + START_LIMIT
    while alive() and time.monotonic() < deadline:
        connection = http.client.HTTPConnection(parts.netloc, timeout=TIMEOUT)
        with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("POST", parts.path, body, {"Content-Type": "application/json", **plan.headers})
            response = connection.getresponse()
            text = response.read()
            if response.status == 200:
                return None
            problem = f"status {response.status}: {text[:200].decode(errors='replace')}"
            if response.status < 500:
                break
        time.sleep(POLL)
    return problem if alive() else "it ended"
