"""Recordings as the SDK environments read them: standard library only, since no gateway is installed there.

`aiogateway.testing.recordings` has the format of a file.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RECORDINGS = ROOT / "tests" / "conformance" / "recordings"


@dataclass(frozen=True, slots=True)
class Tape:
    """One answer, the request that led to it, and what it says.

    `usage` is input and output tokens; `text`, `finish` and `usage` are None where the file doesn't say them.
    """

    source: str
    endpoint: str
    request: dict[str, Any]
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    text: str | None = None
    finish: str | None = None
    usage: tuple[int, int] | None = None

    @property
    def checked(self) -> bool:
        """Whether its source shows what it is a recording of."""
        return "unchecked" not in self.source


def read_tape(path: Path) -> Tape:
    head, _, body = path.read_bytes().partition(b"\n\n")
    source, *lines = head.decode().replace("\n ", " ").split("\n")
    fields = [line.partition(": ")[::2] for line in lines]
    known = dict(fields)
    counts = known.get("usage", "absent").split()
    return Tape(
        source=source.removeprefix("#").strip(),
        endpoint=known["endpoint"],
        request=json.loads(known["request"]),
        status=int(known.get("status", "200")),
        headers=tuple(_read_pair(value) for field, value in fields if field == "header"),
        body=body,
        text=json.loads(known["text"]) if "text" in known else None,
        finish=known.get("finish"),
        usage=(int(counts[0]), int(counts[1])) if len(counts) == 2 else None,
    )


def _read_pair(header: str) -> tuple[str, str]:
    name, _, value = header.partition(": ")
    return name, value
