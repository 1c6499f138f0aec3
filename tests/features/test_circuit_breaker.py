"""Circuit breakers: a target that keeps failing is left alone for a while, and one probe finds out when it is back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

import pytest

from aiogateway.testing.upstream import Hang, Pause, Reply, SeenRequest, Stall, Step
from aiogateway.types import Outcome
from tests.answers import bad, call, cast, expect_loss, expect_rescue, good, index, problem, seen, tell
from tests.circuits import COOLDOWN, Clock, ask, guard
from tests.stage import branch, leaf
from tests.views import both

# ---------------------------------------------------------------- every strategy


@both
async def test_a_fallback_leaves_a_dead_target_alone(stream: bool) -> None:
    async with cast([bad(503)] * 2 + [good(stream)], [good(stream)]) as (live, ups):
        clock = Clock(live)
        config = guard("fallback", *map(leaf, ups))
        assert await ask(live, config, stream, 5) == ["200 at [1]"] * 5
        assert [len(up.requests) for up in ups] == [2, 5]
        assert tell(live.records[-1]) == [("targets[1]", 200, None)], "a skipped target is no attempt"
        clock.cool_down()
        assert await ask(live, config, stream, 3) == ["200 at [0]"] * 3
        assert [len(up.requests) for up in ups] == [5, 5]


@both
async def test_a_loadbalance_draws_among_those_that_are_up(stream: bool) -> None:
    async with cast([bad(503)] * 2 + [good(stream)], [good(stream)]) as (live, ups):
        clock = Clock(live)
        live.gateway.tools.draw = lambda: 0.1
        config = guard("loadbalance", *map(leaf, ups))
        assert await ask(live, config, stream, 5) == ["503 at [0]"] * 2 + ["200 at [1]"] * 3
        clock.cool_down()
        assert await ask(live, config, stream, 2) == ["200 at [0]"] * 2


@both
async def test_a_conditional_goes_to_the_next_condition_that_matches_or_the_default(stream: bool) -> None:
    async with cast([bad(503)] * 2 + [good(stream)], [good(stream)]) as (live, ups):
        clock = Clock(live)
        config = guard("conditional", *map(leaf, ups))
        assert await ask(live, config, stream, 4) == ["503 at [0]"] * 2 + ["200 at [1]"] * 2
        clock.cool_down()
        assert await ask(live, config, stream, 2) == ["200 at [0]"] * 2


@both
@pytest.mark.parametrize("mode", ["single", "fallback", "loadbalance", "conditional"])
async def test_when_all_circuits_are_open_they_are_bypassed(mode: str, stream: bool) -> None:
    """No provider gets worse by being asked, and a refusal of ours would help nobody."""
    async with cast([bad(503)] * 3 + [good(stream)]) as (live, (up,)):
        Clock(live)
        config = guard(mode, leaf(up))
        assert await ask(live, config, stream, 4) == ["503 at [0]"] * 3 + ["200 at [0]"]
        assert len(up.requests) == 4


@both
async def test_all_open_in_a_fallback_are_still_asked_in_order(stream: bool) -> None:
    async with cast([bad(503)], [bad(500)] * 3 + [good(stream)]) as (live, ups):
        Clock(live)
        config = guard("fallback", *map(leaf, ups))
        assert await ask(live, config, stream, 4) == ["500 at [1]"] * 3 + ["200 at [1]"]
        assert [len(up.requests) for up in ups] == [4, 4]
        assert tell(live.records[2]) == [("targets[0]", 503, "upstream_status"), ("targets[1]", 500, "upstream_status")]


@both
async def test_a_bypass_that_answers_closes_the_circuit(stream: bool) -> None:
    async with cast([bad(503)] * 2 + [good(stream)], [bad(503)]) as (live, ups):
        Clock(live)
        config = guard("fallback", *map(leaf, ups))
        assert await ask(live, config, stream, 4) == ["503 at [1]"] * 2 + ["200 at [0]"] * 2


@both
async def test_a_branch_is_open_when_all_it_could_use_is(stream: bool) -> None:
    async with cast([bad(503)], [bad(503)], [good(stream)]) as (live, ups):
        Clock(live)
        one, two, three = map(leaf, ups)
        config = guard("fallback", branch("fallback", one, two), branch("single", three))
        assert await ask(live, config, stream, 4) == ["200 at [1].targets[0]"] * 4
        assert [len(up.requests) for up in ups] == [2, 2, 4], "nested strategies inherit the rules"


@both
async def test_a_nested_strategy_s_own_rules_hold_for_its_targets(stream: bool) -> None:
    async with cast([bad(503)], [good(stream)]) as (live, ups):
        Clock(live)
        config = guard("fallback", guard("single", leaf(ups[0]), failure_threshold=4), leaf(ups[1]))
        await ask(live, config, stream, 6)
        assert [len(up.requests) for up in ups] == [4, 6]


@both
@pytest.mark.parametrize("mode", ["fallback", "loadbalance"])
async def test_a_circuit_that_opens_during_a_call_holds_for_its_other_targets(mode: str, stream: bool) -> None:
    """The same host, key and model stands there twice: the second is not asked in vain."""
    async with cast([bad(503)], [good(stream)]) as (live, (one, two)):
        Clock(live)
        live.gateway.tools.draw = float
        config = guard(mode, leaf(one), leaf(one), leaf(two), failure_threshold=1)
        config["strategy"]["failover"] = True
        assert await ask(live, config, stream) == ["200 at [2]"]
        assert len(one.requests) == 1


@both
async def test_without_rules_there_is_no_circuit(stream: bool) -> None:
    async with cast([bad(503)], [good(stream)]) as (live, ups):
        Clock(live)
        await ask(live, branch("fallback", *map(leaf, ups)), stream, 8)
        assert [len(up.requests) for up in ups] == [8, 8]
        assert len(live.gateway.tools.breakers) == 0  # type: ignore[arg-type]


# ---------------------------------------------------------------- half-open


@both
async def test_after_the_cooldown_one_of_many_calls_is_the_probe(stream: bool) -> None:
    slow: Reply = (Stall(), *good(stream, "primary"))
    async with cast([bad(503)] * 2 + [slow], [good(stream, "second")]) as (live, ups):
        clock = Clock(live)
        config = guard("fallback", *map(leaf, ups))
        await ask(live, config, stream, 2)
        clock.cool_down()
        probe = asyncio.ensure_future(call(live, config, stream=stream))
        await ups[0].requested(3)
        answers = await asyncio.gather(*[call(live, config, stream=stream) for _ in range(10)])
        assert {(index(client), body) for client, body in answers} == {("config.targets[1]", seen(stream, "second"))}
        assert len(ups[0].requests) == 3, "nobody else waits for the probe"
        ups[0].resume()
        client, body = await probe
        assert (index(client), body) == ("config.targets[0]", seen(stream, "primary"))
        assert await ask(live, config, stream) == ["200 at [0]"], "closed"


@both
async def test_a_burst_right_after_the_cooldown_sends_one_probe(stream: bool) -> None:
    def dead_but_slow(request: SeenRequest) -> Iterable[Step]:
        return (Pause(0.1), *bad(503))

    async with cast([bad(503)] * 2 + [dead_but_slow], [good(stream)]) as (live, ups):
        clock = Clock(live)
        config = guard("fallback", *map(leaf, ups))
        await ask(live, config, stream, 2)
        clock.cool_down()
        answers = await asyncio.gather(*[call(live, config, stream=stream) for _ in range(20)])
        assert {client.status for client, _ in answers} == {200}
        assert len(ups[0].requests) == 3


@both
async def test_a_probe_that_fails_opens_for_another_cooldown(stream: bool) -> None:
    async with cast([bad(503)], [good(stream)]) as (live, ups):
        clock = Clock(live)
        config = guard("fallback", *map(leaf, ups))
        await ask(live, config, stream, 3)
        for probes in (1, 2, 3):
            clock.cool_down()
            await ask(live, config, stream, 4)
            assert len(ups[0].requests) == 2 + probes
        clock.now += COOLDOWN - 1
        await ask(live, config, stream)
        assert len(ups[0].requests) == 5


@both
async def test_a_probe_whose_client_leaves_is_given_back(stream: bool) -> None:
    async with cast([bad(503), bad(503), (Hang(),), good(stream)], [good(stream)]) as (live, ups):
        clock = Clock(live)
        config = guard("fallback", *map(leaf, ups))
        await ask(live, config, stream, 2)
        clock.cool_down()
        client = await live.post(config=config, stream=stream)
        await ups[0].requested(3)
        assert await ask(live, config, stream) == ["200 at [1]"]
        client.leave()
        await ups[0].left(limit=1)
        assert (await live.recorded(4)).outcome is Outcome.CLIENT_LEFT
        assert await ask(live, config, stream) == ["200 at [0]"], "the next call is the probe"


@both
async def test_a_probe_refused_by_the_target_shows_that_it_is_there(stream: bool) -> None:
    async with cast([bad(503), bad(503), bad(401), bad(401)], [good(stream)]) as (live, ups):
        clock = Clock(live)
        config = guard("fallback", *map(leaf, ups))
        await ask(live, config, stream, 3)
        clock.cool_down()
        await ask(live, config, stream, 2)
        assert len(ups[0].requests) == 4


@both
async def test_the_cooldown_is_the_config_s(stream: bool) -> None:
    """On the real clock, and shorter than the 30 s that Portkey asks for at least."""
    async with cast([bad(503)] * 2 + [good(stream)], [good(stream)]) as (live, ups):
        config = guard("fallback", *map(leaf, ups), cooldown_interval=150)
        assert await ask(live, config, stream, 3) == ["200 at [1]"] * 3
        assert len(ups[0].requests) == 2
        await asyncio.sleep(0.16)
        assert await ask(live, config, stream, 2) == ["200 at [0]"] * 2


# ---------------------------------------------------------------- with the rest


@both
async def test_retries_end_when_the_circuit_opens(stream: bool, tmp_path: Path) -> None:
    async with cast([bad(503)], [good(stream)], tmp=tmp_path, retry_wait=0.005) as (live, ups):
        Clock(live)
        config = {**guard("fallback", *map(leaf, ups)), "retry": {"attempts": 4}}
        assert await ask(live, config, stream, 3) == ["200 at [1]"] * 3
        assert len(ups[0].requests) == 2
        attempts = [("targets[0]", 503, "upstream_status")] * 2
        assert tell(live.records[0]) == [*attempts, ("targets[1]", 200, None)]


@both
async def test_a_probe_that_fails_is_not_tried_again(stream: bool, tmp_path: Path) -> None:
    async with cast([bad(503)], [good(stream)], tmp=tmp_path, retry_wait=0.005) as (live, ups):
        clock = Clock(live)
        config = {**guard("fallback", *map(leaf, ups)), "retry": {"attempts": 4}}
        await ask(live, config, stream)
        clock.cool_down()
        await ask(live, config, stream)
        assert len(ups[0].requests) == 3


@both
async def test_when_everybody_is_down_the_answer_is_quick_and_the_last_one_s(stream: bool) -> None:
    async with cast([(Hang(),)], [bad(503)]) as (live, ups):
        Clock(live)
        config = {**guard("fallback", *map(leaf, ups)), "request_timeout": 80}
        for number in (1, 2):
            client, body = await call(live, config, stream=stream)
            assert (client.status, body) == (503, problem(503))
            attempts = [("targets[0]", 408, "first_token_timeout"), ("targets[1]", 503, "upstream_status")]
            await expect_loss(live, "upstream_status", *attempts, count=number)


async def test_passed_on_requests_have_the_same_circuits() -> None:
    async with cast([bad(503)], [good(False)]) as (live, ups):
        Clock(live)
        config = guard("fallback", *map(leaf, ups))
        await ask(live, config, False, 2)
        assert await ask(live, config, False, 2, path="/v1/moderations") == ["200 at [1]"] * 2
        assert len(ups[0].requests) == 2


@both
async def test_a_primary_that_comes_back_is_used_again(stream: bool) -> None:
    """Down for 60 s, twenty calls 4 s apart: few attempts at the dead target, and back within a cooldown."""
    healthy = False

    def flaky(request: SeenRequest) -> Iterable[Step]:
        return good(stream) if healthy else bad(503)

    async with cast([flaky], [good(stream)]) as (live, ups):
        clock = Clock(live)
        config = guard("fallback", *map(leaf, ups), failure_threshold=3)
        served = []
        for number in range(30):
            healthy = number * 4 >= 60
            served += await ask(live, config, stream)
            clock.now += 4
        assert {answer[:3] for answer in served} == {"200"}
        back = served.index("200 at [0]")
        assert 60 <= back * 4 <= 90
        assert set(served[back:]) == {"200 at [0]"}
        assert len(ups[0].requests) - (30 - back) <= 5
        await expect_rescue(live, ("targets[0]", 200, None), count=30)
