"""What a proxy must survive, through every strategy: alone, a fault ends as at a plain target; with help, it is mended.

The faults are lines 1 to 9 and 20 to 22 of what the gateway promises to survive; all strategies meet each at once.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from aiogateway.testing import FakeUpstream
from aiogateway.testing.upstream import Cut, Hang, Pause, Reply, Reset, Send, chunk, head, unary
from aiogateway.testing.upstream import stream as streamed
from aiogateway.types import Outcome, Record
from aiogateway.wire.sse import frame
from tests.answers import answer, bad, call, cast, good, index, problem, seen, tell
from tests.network import Authority, Names, closed_port, plain_port
from tests.stage import Stage, branch, event, leaf
from tests.views import both, read_error, read_in_band

Target = dict[str, Any]
HOST = "api.example"
SSE = head(200, (("content-type", "text/event-stream"), ("transfer-encoding", "chunked")))
JSON = head(200, (("content-type", "application/json"), ("transfer-encoding", "chunked")))
DEADLINES = {"connect": 0.2, "first_token": 0.35, "unary": 0.35, "idle": 0.15}
LATE = Pause(0.03)


def conditional(*targets: Target, to: int = 0) -> Target:
    """Everything goes to one of `targets`."""
    named = [{**target, "name": f"t{place}"} for place, target in enumerate(targets)]
    strategy = {"conditions": [{"query": {"params.model": "m"}, "then": f"t{to}"}]}
    return dict(branch("conditional", *named, strategy=strategy))


ALONE: Mapping[str, tuple[Callable[[Target], Target], str]] = {
    "plain": (lambda target: target, "config"),
    "single": (lambda target: branch("single", target), "config.targets[0]"),
    "fallback": (lambda target: branch("fallback", target), "config.targets[0]"),
    "loadbalance": (lambda target: branch("loadbalance", target), "config.targets[0]"),
    "conditional": (conditional, "config.targets[0]"),
    "nested": (
        lambda target: branch("fallback", branch("loadbalance", conditional(branch("single", target)))),
        "config" + ".targets[0]" * 4,
    ),
}
"""How a strategy is built around one target, and that target's address in it."""

HELPED: Mapping[str, tuple[Callable[[Target, Target], Target], str]] = {
    "single": (lambda one, other: branch("fallback", branch("single", one), branch("single", other)), "[1].targets[0]"),
    "fallback": (lambda one, other: branch("fallback", one, other), "[1]"),
    "loadbalance": (lambda one, other: branch("loadbalance", one, other, strategy={"failover": True}), "[1]"),
    "conditional": (
        lambda one, other: branch("fallback", conditional(one, other), conditional(one, other, to=1)),
        "[1].targets[1]",
    ),
    "nested": (
        lambda one, other: branch(
            "loadbalance", branch("fallback", branch("single", one)), conditional(other), strategy={"failover": True}
        ),
        "[1].targets[0]",
    ),
}
"""How it is built so that another target helps, and that one's address."""


async def ask(live: Stage, config: Target, stream: bool, name: str) -> tuple[int, str | None, bytes]:
    """One call: its status, the target it was from, the body."""
    live.gateway.tools.draw = float  # always 0.0: loadbalances begin with their first target
    client, body = await call(live, config, stream=stream, headers={"x-portkey-trace-id": name})
    return client.status, index(client), body


async def ask_all(
    live: Stage, strategies: Mapping[str, tuple[Callable[..., Target], str]], stream: bool, *targets: Target
) -> list[tuple[str, str, tuple[int, str | None, bytes, Record]]]:
    """All strategies at once: each one's name, the address it says, and what came of it, with the one record."""
    count = len(live.records) + len(strategies)
    configs = {name: build(*targets) for name, (build, _) in strategies.items()}
    found = await asyncio.gather(*[ask(live, config, stream, name) for name, config in configs.items()])
    await live.recorded(count)
    records = {record.trace.id: record for record in live.records}
    assert len(records) == len(live.records) == count
    return [(name, strategies[name][1], (*one, records[name])) for name, one in zip(configs, found, strict=True)]


# ---------------------------------------------------------------- before the commit


@dataclass(frozen=True, slots=True)
class Fault:
    """What a target does, and the error that it ends in. `said`: the error is the provider's own."""

    status: int
    code: str
    script: Callable[[bool], Reply] = lambda streamed: (Hang(),)
    said: bool = False


def in_band(streams: bool) -> Reply:
    error = orjson.dumps({"error": {"message": "slow down", "code": 429}})
    return streamed(b": wait\n\n", frame(error)) if streams else unary(error)


def silent(streams: bool) -> Reply:
    return (SSE, chunk(b": wait\n\n"), Hang()) if streams else (Hang(),)


def cut_short(streams: bool) -> Reply:
    """Inside the first event of a stream, and inside a unary answer."""
    return (SSE, chunk(event("a")[:20]), LATE, Reset()) if streams else (JSON, chunk(answer()[:20]), LATE, Reset())


def ended_short(streams: bool) -> Reply:
    return (SSE, chunk(event("a")[:20]), LATE, Cut()) if streams else (JSON, chunk(answer()[:20]), LATE, Cut())


def stalled(streams: bool) -> Reply:
    """After the head: with a stream that is the wait for the first event."""
    return (SSE, Hang()) if streams else (JSON, chunk(answer()[:20]), Hang())


REFUSED = Fault(502, "connect_failed")
EARLY = {
    "1 connection refused": REFUSED,
    "1 no such name": Fault(502, "connect_failed"),
    "1 no name server": Fault(504, "connect_timeout"),
    "2 certificate expired": Fault(502, "upstream_tls"),
    "2 certificate of nobody": Fault(502, "upstream_tls"),
    "2 certificate of another host": Fault(502, "upstream_tls"),
    "2 no TLS": Fault(502, "upstream_tls"),
    "3 reset before the head": Fault(502, "connect_failed", lambda streams: (Reset(),)),
    "4 reset inside an answer": Fault(502, "stream_truncated", cut_short),
    "5 end inside an answer": Fault(502, "stream_truncated", ended_short),
    "6 error in a 200": Fault(429, "upstream_status", in_band, said=True),
    "8 no first token": Fault(408, "first_token_timeout", silent),
    "an error status": Fault(503, "upstream_status", lambda streams: bad(503), said=True),
}


@contextlib.asynccontextmanager
async def faulty(name: str, stream: bool, tmp: Path) -> AsyncIterator[tuple[Stage, Target, FakeUpstream, FakeUpstream]]:
    """A stage with a good upstream; a target that has the fault; the faulty upstream."""
    ours, theirs = Authority(tmp), Authority(tmp, "theirs.pem")
    tls = {
        "2 certificate expired": lambda: ours.serve_as(HOST, until=datetime.now(UTC) - timedelta(hours=1)),
        "2 certificate of nobody": lambda: theirs.serve_as(HOST),
        "2 certificate of another host": lambda: ours.serve_as("other.example"),
    }.get(name, lambda: None)()
    environ = {"SSL_CERT_FILE": str(ours.file)}
    async with (
        cast([good(stream)], resolver=Names(), environ=environ, tmp=tmp, deadlines=DEADLINES) as (live, (up,)),
        FakeUpstream(EARLY[name].script(stream) if name in EARLY else (Hang(),), tls=tls) as broken,
        plain_port([]) as plain,
    ):
        with closed_port() as closed:
            hosts = {
                "1 connection refused": f"http://127.0.0.1:{closed}",
                "1 no such name": f"http://missing.example:{closed}",
                "1 no name server": f"http://silent.example:{closed}",
                "2 no TLS": f"https://{HOST}:{plain}",
            }
            host = hosts.get(name, f"https://{HOST}:{broken.port}" if tls else broken.url)
            yield live, leaf(up, custom_host=f"{host}/v1"), up, broken


@both
@pytest.mark.parametrize("name", EARLY)
async def test_alone_a_fault_ends_as_at_a_plain_target(name: str, stream: bool, tmp_path: Path) -> None:
    fault = EARLY[name]
    async with faulty(name, stream, tmp_path) as (live, target, up, _):
        for strategy, address, (status, place, body, record) in await ask_all(live, ALONE, stream, target):
            assert (status, place) == (fault.status, address), strategy
            if fault.said:
                assert orjson.loads(body)["error"]["message"] in {"slow down", "provider says 503"}, strategy
            else:
                assert read_error(body)["code"] == fault.code, strategy
            assert (record.status, record.outcome, record.error) == (fault.status, Outcome.FAILED, fault.code), strategy
            assert tell(record) == [(address.removeprefix("config."), fault.status, fault.code)], strategy
        assert up.connections == []


@both
@pytest.mark.parametrize("name", EARLY)
async def test_where_another_target_helps_nobody_sees_the_fault(name: str, stream: bool, tmp_path: Path) -> None:
    fault = EARLY[name]
    async with faulty(name, stream, tmp_path) as (live, target, up, _):
        for strategy, address, (status, place, body, record) in await ask_all(live, HELPED, stream, target, leaf(up)):
            assert (status, place, body) == (200, f"config.targets{address}", seen(stream)), strategy
            assert (record.status, record.outcome, record.error) == (200, Outcome.OK, None), strategy
            first, second = record.attempts
            assert (first.status, first.error, first.outcome) == (fault.status, fault.code, Outcome.FAILED), strategy
            assert (second.target, second.outcome) == (f"config.targets{address}", Outcome.OK), strategy
        assert len(up.requests) == len(HELPED)


@both
async def test_a_silent_target_is_left_alone_when_its_time_is_up(stream: bool, tmp_path: Path) -> None:
    """Line 8: the connection is closed, not kept waiting behind the rescue."""
    async with faulty("8 no first token", stream, tmp_path) as (live, target, up, broken):
        await ask_all(live, HELPED, stream, target, leaf(up))
        await broken.left(len(HELPED), limit=1)


async def test_a_unary_answer_that_falls_silent_ends_as_at_a_plain_target(tmp_path: Path) -> None:
    """Line 9, before the commit."""
    script: Reply = (JSON, chunk(answer()[:20]), Hang())
    async with cast([script], [good(False)], tmp=tmp_path, deadlines=DEADLINES) as (live, (broken, up)):
        for strategy, _, (status, _, body, record) in await ask_all(live, ALONE, False, leaf(broken)):
            assert (status, read_error(body)["code"]) == (504, "idle_timeout"), strategy
            assert (record.outcome, record.error) == (Outcome.FAILED, "idle_timeout"), strategy
        live.records.clear()
        for strategy, address, (status, place, body, _) in await ask_all(live, HELPED, False, leaf(broken), leaf(up)):
            assert (status, place, body) == (200, f"config.targets{address}", answer()), strategy


@both
async def test_the_total_limit_is_the_whole_call_s_and_no_target_helps(stream: bool) -> None:
    """Line 9."""
    async with cast([(Hang(),)], [good(stream)]) as (live, (broken, up)):
        slow = leaf(broken, timeouts={"total": 120})
        for strategy, _, (status, _, body, record) in [
            *await ask_all(live, ALONE, stream, slow),
            *await ask_all(live, {f"{name}, helped": it for name, it in HELPED.items()}, stream, slow, leaf(up)),
        ]:
            assert (status, read_error(body)["code"]) == (504, "total_timeout"), strategy
            assert (record.status, record.outcome, record.error) == (504, Outcome.FAILED, "total_timeout"), strategy
            assert len(record.attempts) == 1, strategy
        assert up.connections == []


# ---------------------------------------------------------------- after it

ERROR = orjson.dumps({"error": {"message": "went wrong", "type": "server_error", "code": "canary"}})
LATER: Mapping[str, tuple[Reply, str]] = {
    "4 reset": ((*streamed(event("half"), end=False), LATE, Reset()), "stream_truncated"),
    "5 end without a finish": (streamed(event("half")), "stream_truncated"),
    "5 end of the connection": ((*streamed(event("half"), end=False), LATE, Cut()), "stream_truncated"),
    "5 end inside an event": ((*streamed(event("half") + event("b")[:20], end=False), LATE, Cut()), "stream_truncated"),
    "bad framing": ((*streamed(event("half"), end=False), LATE, Send(b"zz\r\n"), Hang()), "stream_truncated"),
    "9 silence": ((*streamed(event("half"), end=False), Hang()), "idle_timeout"),
}


@pytest.mark.parametrize("name", LATER)
async def test_a_stream_that_breaks_says_so_in_band_whatever_stands_around_it(name: str, tmp_path: Path) -> None:
    """Nobody begins another answer behind half of one, unless the config asks for it."""
    script, code = LATER[name]
    async with cast([script], [good(True)], tmp=tmp_path, deadlines=DEADLINES) as (live, (broken, up)):
        for strategy, address, (status, place, body, record) in await ask_all(live, ALONE, True, leaf(broken)):
            assert (status, place) == (200, address), strategy
            assert read_in_band(body, event("half"))["code"] == code, strategy
            assert (record.status, record.outcome, record.error) == (200, Outcome.TRUNCATED, code), strategy
            assert tell(record) == [(address.removeprefix("config."), 200, code)], strategy
        live.records.clear()
        for strategy, _, (status, _, body, record) in await ask_all(live, HELPED, True, leaf(broken), leaf(up)):
            assert status == 200, strategy
            assert read_in_band(body, event("half"))["code"] == code, strategy
            assert (record.outcome, len(record.attempts)) == (Outcome.TRUNCATED, 1), strategy
        assert up.connections == []


async def test_an_error_after_content_is_passed_on_with_its_code() -> None:
    """Line 7."""
    async with cast([streamed(event("half") + frame(ERROR))], [good(True)]) as (live, (broken, up)):
        for strategy, _, (status, _, body, record) in [
            *await ask_all(live, ALONE, True, leaf(broken)),
            *await ask_all(live, {f"{name}, helped": it for name, it in HELPED.items()}, True, leaf(broken), leaf(up)),
        ]:
            assert (status, body) == (200, event("half") + frame(ERROR)), strategy
            assert (record.status, record.outcome) == (200, Outcome.TRUNCATED), strategy
        assert up.connections == []


@pytest.mark.parametrize("name", [*LATER, "7 error"])
async def test_with_recovery_another_target_finishes_it(name: str, tmp_path: Path) -> None:
    script = LATER[name][0] if name in LATER else streamed(event("half") + frame(ERROR))
    async with cast([script], [good(True, "half and half")], tmp=tmp_path, deadlines=DEADLINES) as (live, ups):
        helped = {
            name: (lambda *targets, build=build: {**build(*targets), "stream_recovery": {"mode": "restart"}}, address)
            for name, (build, address) in HELPED.items()
        }
        for strategy, address, (status, place, body, record) in await ask_all(live, helped, True, *map(leaf, ups)):
            assert (status, place) == (200, str(place)), strategy
            chunks = [orjson.loads(line[6:]) for line in body.split(b"\n\n") if line.startswith(b"data: {")]
            texts = [choice["delta"].get("content") or "" for one in chunks for choice in one["choices"]]
            assert "".join(texts) == "half and half", strategy
            assert body.endswith(b"data: [DONE]\n\n"), strategy
            assert (record.outcome, record.recovery) == (Outcome.OK, "recovered"), strategy
            assert record.attempts[1].target == f"config.targets{address}", strategy
        assert len(ups[1].requests) == len(HELPED)


# ---------------------------------------------------------------- 20: where a request must not lead us

FORBIDDEN = [
    "http://10.0.0.1/v1",
    "http://169.254.169.254/latest",
    "http://[::ffff:10.0.0.1]/v1",
    "http://2130706433/v1",
    "http://0x7f000001/v1",
    "http://user@10.0.0.1/v1",
    "http://10.0.0.1#@good.example/v1",
]


@both
async def test_a_private_host_is_refused_and_no_target_helps(stream: bool) -> None:
    """It is the config that is wrong: a rescue would hide that somebody tries."""
    helped = {f"{name}, helped": built for name, built in HELPED.items()}
    async with cast([good(stream)]) as (live, (up,)):
        for host in FORBIDDEN:
            wrong = leaf(up, custom_host=host)
            live.records.clear()
            for strategy, _, (status, _, body, record) in [
                *await ask_all(live, ALONE, stream, wrong),
                *await ask_all(live, helped, stream, wrong, leaf(up)),
            ]:
                assert (status, read_error(body)["code"]) == (400, "invalid_config"), (strategy, host)
                assert (record.status, record.error) == (400, "invalid_config"), (strategy, host)
        assert up.connections == []


# ---------------------------------------------------------------- 21, 22: storms


@both
async def test_a_storm_of_429s_stays_within_the_budget(stream: bool, tmp_path: Path) -> None:
    storm = bad(429, (("retry-after-ms", "60"),))
    async with cast([storm], [storm], tmp=tmp_path, retry_wait=0.01) as (live, (one, two)):
        retry = {"attempts": 2}
        for strategy, address, (status, place, body, record) in await ask_all(
            live, ALONE, stream, leaf(one, retry=retry)
        ):
            assert (status, place, body) == (429, address, problem(429)), strategy
            assert len(record.attempts) == 3, strategy
            assert all(0.06 <= attempt.waited <= 0.066 for attempt in record.attempts[1:]), strategy
        live.records.clear()
        targets = leaf(one, retry=retry), leaf(two, retry=retry)
        for strategy, address, (status, place, _, record) in await ask_all(live, HELPED, stream, *targets):
            assert (status, place) == (429, f"config.targets{address}"), strategy
            assert [attempt.retry for attempt in record.attempts] == [0, 1, 2] * 2, strategy


@both
@pytest.mark.parametrize("mode", HELPED)
async def test_all_down_is_answered_for_and_one_that_is_back_is_found_at_once(mode: str, stream: bool) -> None:
    """Line 22: with every circuit open nobody is refused; the targets are asked as if there were no circuits."""
    async with cast([bad(500)], [bad(503)] * 4 + [good(stream)]) as (live, (one, two)):
        config = HELPED[mode][0](leaf(one), leaf(two))
        rules = {"failure_threshold": 1, "cooldown_interval": 60_000}
        config = {**config, "strategy": {**config["strategy"], "cb_config": rules}}
        for number in range(1, 5):
            status, _, body = await ask(live, config, stream, "down")
            record = await live.recorded(number)
            assert (status, body, len(record.attempts)) == (503, problem(503), 2)
        assert await ask(live, config, stream, "back") == (200, f"config.targets{HELPED[mode][1]}", seen(stream))
        assert (await ask(live, config, stream, "closed"))[0] == 200
        assert len((await live.recorded(6)).attempts) == 1, "the other circuit is still open"
        assert (len(one.requests), len(two.requests)) == (5, 6)
