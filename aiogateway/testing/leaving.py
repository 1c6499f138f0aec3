"""A client that leaves in the middle of a recorded stream, behind a gateway of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from itertools import takewhile
from typing import Any

from ..contracts import Dialect, Provider
from ..neutral import Reasoning, Text, ToolCall
from .recordings import Recording
from .replay import decode, split_frames, translates
from .running import Running, gateway
from .upstream import PATIENCE, Hang, Reply, stream


async def leave(
    provider: Provider, dialect: Dialect, recording: Recording, dialects: Iterable[Dialect], config: Mapping[str, Any]
) -> None:
    """Plays the stream up to its finish, then silence. Raises AssertionError unless the upstream is left too.

    `dialect` is the wire of the recording. A stream of one piece is left while its first token is waited for.
    """
    frames, begun = _begin(dialect, recording)
    script: Reply = (*stream(*frames, end=False, media_type=dialect.media_type), Hang())
    async with gateway(script, provider=provider, dialects=dialects, config=config) as live:
        told = asyncio.Event()
        call = asyncio.create_task(_listen(live, recording, told))
        waits = [call, asyncio.create_task(told.wait() if begun else live.upstream.requested())]
        try:
            done, _ = await asyncio.wait(waits, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
            assert done, f"{recording.name}: the client was told nothing in {PATIENCE:.0f} s"
            for wait in done:
                await wait
        finally:
            for wait in waits:
                wait.cancel()
        try:
            await live.upstream.left()
        except TimeoutError:
            raise AssertionError(f"{recording.name}: the upstream was not left although the client had gone") from None


async def _listen(live: Running, recording: Recording, told: asyncio.Event) -> None:
    """A client that stays until it is cancelled."""
    async with live.open(recording.request, endpoint=recording.endpoint) as response:
        answer = "" if response.status == 200 else await response.text()
        assert response.status == 200, f"{recording.name}: the gateway answered {response.status}: {answer}"
        told.set()
        await asyncio.Event().wait()


def _begin(dialect: Dialect, recording: Recording) -> tuple[list[bytes], bool]:
    """The frames before the one with the finish, and whether a client is told anything by them."""
    marks = [mark for mark in (*dialect.finish_marks, (dialect.done or b"").strip()) if mark]
    frames = split_frames(dialect, (recording.body,))
    begun = list(takewhile(lambda frame: not any(mark in frame for mark in marks), frames))
    if not translates(dialect):
        return begun, bool(begun)
    return begun, any(isinstance(event, Text | Reasoning | ToolCall) for event in decode(dialect, begun))
