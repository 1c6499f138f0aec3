"""Recordings, given back over HTTP in pieces that are cut anywhere."""

from __future__ import annotations

import json
import random
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.tape import RECORDINGS, Tape, read_tape

SILENCE = Tape(source="nothing is played", endpoint="", request={}, status=500, headers=(), body=b"")
PIECE = 64  # bytes at most


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as it arrived. Header names are lower case; `path` includes the query."""

    path: str
    headers: dict[str, str]
    body: Any


class Replay:
    """A server that gives back `tape` to every POST; `origin` is its address, `url` ends in ``/v1``."""

    def __init__(self) -> None:
        self.tape = SILENCE
        self.seed = 0
        self.seen: list[Seen] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._make_handler())
        self.origin = f"http://127.0.0.1:{self._server.server_port}"
        self.url = f"{self.origin}/v1"

    def play(self, provider: str, name: str) -> dict[str, Any]:
        """Plays a recording of the core's; returns its request."""
        self.put(read_tape(RECORDINGS / provider / f"{name}.rec"))
        return self.tape.request

    def put(self, tape: Tape, seed: int = 0) -> None:
        """Plays `tape` from now on, cut where `seed` says, and forgets what was asked before."""
        self.tape, self.seed = tape, seed
        self.seen.clear()

    def start(self) -> None:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _make_handler(self) -> type[BaseHTTPRequestHandler]:
        replay = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # each piece is a packet

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                replay.seen.append(Seen(self.path, headers, json.loads(body)))
                tape = replay.tape
                self.send_response(tape.status)
                for name, value in (*tape.headers, ("transfer-encoding", "chunked")):
                    self.send_header(name, value)
                self.end_headers()
                for piece in (*cut(tape.body, replay.seed), b""):
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))

            def log_message(self, *args: Any) -> None:
                pass

        return Handler


def cut(body: bytes, seed: int) -> list[bytes]:
    """At random, and the same every time."""
    draw = random.Random(f"{seed} {len(body)}")
    pieces = []
    while body:
        size = draw.randint(1, PIECE)
        pieces.append(body[:size])
        body = body[size:]
    return pieces
