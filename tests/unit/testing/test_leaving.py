from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from aiogateway.errors import RequestError
from aiogateway.testing import FakeUpstream, load_recordings
from aiogateway.testing.leaving import leave
from aiogateway.testing.recordings import Recording
from aiogateway.types import Request, Target, UpstreamRequest
from tests.unit.testing.toy import STREAM, ToyDialect, ToyProvider, write_recordings

WHOLE = 'usage: 3 2\n\n{"say":"h"}\n{"end":"stop","counts":[3,2]}\n'
ONE = 'usage: 3 2\n\n{"end":"stop","counts":[3,2]}\n'


def record(folder: Path, text: str) -> Recording:
    (recording,) = load_recordings(write_recordings(folder, {"it": STREAM + text}))
    return recording


async def check(recording: Recording, provider: ToyProvider | None = None) -> None:
    await leave(provider or ToyProvider(), ToyDialect(), recording, (ToyDialect(),), {})


@pytest.mark.parametrize("text", [WHOLE, ONE], ids=["in the middle", "before the first token"])
async def test_an_upstream_that_is_left_is_fine(tmp_path: Path, text: str) -> None:
    await check(record(tmp_path, text))


@pytest.mark.parametrize("text", [WHOLE, ONE], ids=["in the middle", "before the first token"])
async def test_an_upstream_that_is_kept_is_told_with_its_recording(
    tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(self: FakeUpstream) -> None:
        raise TimeoutError

    monkeypatch.setattr(FakeUpstream, "left", never)
    with pytest.raises(AssertionError, match=r"it\.rec: the upstream was not left although the client had gone"):
        await check(record(tmp_path, text))


async def test_a_call_that_is_refused_is_told(tmp_path: Path) -> None:
    class Picky(ToyProvider):
        def prepare(self, request: Request, target: Target) -> UpstreamRequest:
            raise RequestError("not on a Sunday")

    with pytest.raises(AssertionError, match=r"it\.rec: the gateway answered 400: .*not on a Sunday"):
        await check(record(tmp_path, WHOLE), Picky())


async def test_a_stream_that_never_begins_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hold(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("aiogateway.testing.leaving.PATIENCE", 0.05)
    monkeypatch.setattr("aiogateway.testing.leaving._listen", hold)
    with pytest.raises(AssertionError, match=r"it\.rec: the client was told nothing in 0 s"):
        await check(record(tmp_path, WHOLE))
