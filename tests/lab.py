"""The crash-test lab: plays the faults of `tests.faults` against a gateway on real sockets and says what came of them.

``python -m tests.lab [S01 ...]`` plays all of them, or those named, in full time, as streams and not, side by side, and
prints a table. It takes a minute and a half, because S15 does.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from aiogateway.app import choose_loop
from aiogateway.engine.breaker import LocalBreakers
from aiogateway.testing import FakeUpstream
from tests.faults import FAULTS, Fault
from tests.stage import Stage, branch, leaf, stage
from tests.verdicts import RETRIES, Heard, Play, Verdict, judge
from tests.voices import ASK, FALLBACK, PRIMARY, Pace


async def perform(fault: Fault, pace: Pace, *, streamed: bool, **fields: Any) -> Play:
    """Plays one fault behind a gateway of its own. `fields` of the config take the place of the budget's."""
    environ = {"AIOGATEWAY_RETRY_WAIT": str(pace.backoff)}
    async with (
        FakeUpstream(fault.fallback(streamed)) as other,
        stage(*fault.primary(pace, streamed), environ=environ) as live,
    ):
        live.gateway.tools.breakers = LocalBreakers(pace.clock.now)
        config = write_config(live.up, other, pace, circuit=fault.circuit, **fields)
        heard = []
        for number in range(fault.calls):
            if number:
                await pace.clock.wait(pace.every)
            heard.append(await ask(live, config, pace, streamed=streamed))
        async with asyncio.timeout(pace.limit):
            await live.recorded(fault.calls)
        return Play(
            fault, pace, streamed, heard, live.up.requests, other.requests, live.up.connections, live.records
        )  # fmt: skip


def write_config(
    primary: FakeUpstream, fallback: FakeUpstream, pace: Pace, *, circuit: bool = False, **fields: Any
) -> dict[str, Any]:
    """The lab's budget: two retries, a limit for the first token and for silence, one fallback; recovery on."""
    limit = round(pace.limit * 1000)
    rules = {"failure_threshold": 3, "cooldown_interval": round(pace.cooldown * 1000)}
    targets = [
        leaf(primary, override_params={"model": PRIMARY.model}),
        leaf(fallback, override_params={"model": FALLBACK.model}),
    ]
    budget: dict[str, Any] = {
        "retry": {"attempts": RETRIES},
        "timeouts": {"first_token": limit, "idle": limit},
        "stream_recovery": {"mode": "restart"},
    }
    strategy = {"cb_config": rules} if circuit else None
    config: dict[str, Any] = branch("fallback", *targets, strategy=strategy, **{**budget, **fields})
    return config


async def ask(live: Stage, config: dict[str, Any], pace: Pace, *, streamed: bool) -> Heard:
    """One call, timed."""
    now = asyncio.get_running_loop().time
    begun, start = pace.clock.now(), now()
    options: dict[str, Any] = {"stream_options": {"include_usage": True}} if streamed else {}
    client = await live.connect()
    try:
        async with asyncio.timeout(pace.patience):
            await live.post(client=client, config=config, stream=streamed, **ASK, **options)
            await client.head()
            first = await client.chunk() if client.headers.get("transfer-encoding") == "chunked" else b""
            told = now() - start
            body = first + await client.body()
    except (TimeoutError, asyncio.IncompleteReadError, ConnectionError):
        return Heard(0, {}, b"", begun, now() - start, now() - start)
    finally:
        client.leave()
    return Heard(client.status, client.headers, body, begun, told, now() - start)


# -- in full time

COLUMNS = ("fault", "", "verdict", "primary", "fallback", "first token s", "end s", "")


async def run_lab(names: Sequence[str]) -> int:
    """Plays and prints; returns the number of plays that did not pass."""
    pace = Pace()
    plays = await asyncio.gather(
        *[perform(FAULTS[name], pace, streamed=streamed) for name in names or FAULTS for streamed in (True, False)]
    )
    rows = [COLUMNS, *map(describe, plays)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        sys.stdout.write("  ".join(map(str.ljust, row, widths)).rstrip() + "\n")
    verdicts = [judge(play)[0] for play in plays]
    sys.stdout.write(", ".join(f"{verdicts.count(one)} {one}" for one in Verdict) + "\n")
    return len(plays) - verdicts.count(Verdict.PASS)


def describe(play: Play) -> tuple[str, ...]:
    """A row; of several calls the slowest counts."""
    verdict, said = judge(play)
    first, end = max(heard.first for heard in play.heard), max(heard.end for heard in play.heard)
    title = f"{play.fault.name} {play.fault.title}"
    kind = "stream" if play.streamed else "unary"
    counts = str(len(play.primary)), str(len(play.fallback))
    return title, kind, verdict, *counts, f"{first:.2f}", f"{end:.2f}", "; ".join(said)


def main(names: Iterable[str]) -> int:
    with asyncio.Runner(loop_factory=choose_loop()) as runner:
        return min(runner.run(run_lab(list(names))), 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
