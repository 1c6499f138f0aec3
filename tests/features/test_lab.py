"""The lab itself: it has to tell a good answer from one that only looks so."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.faults import FAULTS
from tests.lab import describe, perform
from tests.verdicts import Play, Verdict, judge
from tests.views import both
from tests.voices import DONE, FALLBACK, PRIMARY, TEXT, TOKENS, Pace


async def play(name: str = "S04", streamed: bool = True) -> Play:
    return await perform(FAULTS[name], Pace(limit=1, backoff=0.01), streamed=streamed)


def hear(played: Play, body: bytes, status: int = 200) -> Play:
    """The same, with another answer."""
    return replace(played, heard=[replace(played.heard[0], body=body, status=status)])


PIECES = PRIMARY.events()
FALSE = {
    "cut, and nothing said": b"".join(PIECES[:41]),
    "cut, and closed": b"".join(PIECES[:41]) + DONE,
    "cut, and an invented finish": b"".join([*PIECES[:41], *PIECES[-2:]]) + DONE,
    "not closed": b"".join(PIECES),
    "a token twice": b"".join([*PIECES[:30], *PIECES[29:]]) + DONE,
    "two texts": b"".join([*PIECES[:-2], *FALLBACK.events()[1:]]) + DONE,
    "two envelopes": b"".join([*PIECES[:31], *FALLBACK.events()[31:]]) + DONE,
    "no usage": b"".join(PIECES[:-1]) + DONE,
    "half an event": b"".join(PIECES) + DONE + b"data: {",
    "an error behind the end": b"".join(PIECES) + DONE + b'data: {"error":{"message":"no"}}\n\n',
    "an error, and closed": b"".join(PIECES[:41]) + b'data: {"error":{"message":"no"}}\n\n' + DONE,
}


async def test_what_only_looks_whole_fails() -> None:
    played = await play()
    assert judge(played) == (Verdict.PASS, [])
    for name, body in FALSE.items():
        assert judge(hear(played, body))[0] is Verdict.FAIL, name


@pytest.mark.parametrize("body", [PRIMARY.body()[:-9], b"{}", PRIMARY.body().replace(TOKENS[30].encode(), b"")])
async def test_not_streamed(body: bytes) -> None:
    played = await play(streamed=False)
    assert played.chat().text == TEXT
    assert judge(hear(played, body))[0] is Verdict.FAIL


async def test_an_error_that_says_so_is_safe() -> None:
    in_band = b"".join(PIECES[:41]) + b'data: {"error":{"message":"the stream broke"}}\n\n'
    assert judge(hear(await play("S08"), in_band)) == (Verdict.SAFE, [])
    refusal = hear(await play(streamed=False), b'{"error":{"message":"all are down"}}', 503)
    assert judge(refusal)[0] is Verdict.SAFE


@both
async def test_a_hang_fails(stream: bool) -> None:
    """Nothing came within the lab's patience."""
    pace = Pace(limit=1, silence=2, patience=0.2)
    played = await perform(FAULTS["S06"], pace, streamed=stream)
    assert played.heard[0].status == 0
    assert judge(played)[0] is Verdict.FAIL


async def test_checks() -> None:
    """Too many attempts fail a rescue; not to say who answered is a smaller matter."""
    played = await play()
    assert judge(replace(played, primary=played.primary * 3)) == (Verdict.FAIL, ["at most 6 attempts"])
    unnamed = hear(played, played.heard[0].body.replace(b'"fallback-1"', b'"m"'))
    assert judge(unnamed) == (Verdict.PARTIAL, ["says that fallback answered"])


async def test_a_row_of_the_table() -> None:
    title, kind, verdict, primary, fallback, first, end, said = describe(await play())
    assert (title, kind, verdict, primary, fallback) == ("S04 503 for ever", "stream", "pass", "3", "1")
    assert 0 < float(first) <= float(end) < 1
    assert said == ""
