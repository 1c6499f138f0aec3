"""What opens a circuit, and whose circuit it is."""

from __future__ import annotations

from typing import Any

import pytest

from aiogateway.testing import FakeUpstream
from aiogateway.testing.upstream import Cut, Hang, Pause, Reply, Reset
from aiogateway.testing.upstream import stream as streamed
from tests.answers import bad, call, cast, good, index
from tests.circuits import Clock, ask, guard
from tests.network import closed_port
from tests.stage import branch, event, leaf
from tests.views import both, read_in_band

# ---------------------------------------------------------------- what counts


@both
@pytest.mark.parametrize("codes", [None, [401, 403, 404, 429, 503]], ids=["default", "listed"])
async def test_a_4xx_never_opens(codes: list[int] | None, stream: bool) -> None:
    """Not even one that the config lists: it is about this call, or this caller."""
    statuses = [400, 401, 403, 404, 408, 409, 422, 429, 499]
    async with cast([bad(status) for status in statuses for _ in range(4)], [good(stream)]) as (live, ups):
        Clock(live)
        rules = {} if codes is None else {"failure_status_codes": codes}
        config = guard("fallback", *map(leaf, ups), **rules)
        for number, status in enumerate(statuses, 1):
            await ask(live, config, stream, 4)
            assert len(ups[0].requests) == 4 * number, status


@both
@pytest.mark.parametrize(("status", "opens"), [(503, True), (529, True), (500, False), (502, False)])
async def test_of_the_others_those_that_are_listed(status: int, opens: bool, stream: bool) -> None:
    async with cast([bad(status)], [good(stream)]) as (live, ups):
        Clock(live)
        config = guard("fallback", *map(leaf, ups), failure_status_codes=[503, 529])
        await ask(live, config, stream, 5)
        assert len(ups[0].requests) == (2 if opens else 5)


@both
async def test_by_default_every_5xx_counts(stream: bool) -> None:
    statuses = [500, 501, 502, 503, 504, 529]
    async with cast([bad(status) for status in statuses for _ in range(2)], [good(stream)]) as (live, ups):
        for number, status in enumerate(statuses, 1):
            Clock(live)
            await ask(live, guard("fallback", *map(leaf, ups)), stream, 4)
            assert len(ups[0].requests) == 2 * number, status


@both
@pytest.mark.parametrize("codes", [None, [529]], ids=["default", "others listed"])
@pytest.mark.parametrize("fault", [Reset(), Cut(), Hang()], ids=["reset", "closed", "silent"])
async def test_connections_that_fail_and_our_own_limits_count(
    fault: Reset | Cut | Hang, codes: list[int] | None, stream: bool
) -> None:
    async with cast([(fault,)], [good(stream)]) as (live, ups):
        Clock(live)
        rules = {} if codes is None else {"failure_status_codes": codes}
        config = {**guard("fallback", *map(leaf, ups), **rules), "request_timeout": 80}
        assert await ask(live, config, stream, 4) == ["200 at [1]"] * 4
        assert len(ups[0].requests) == 2


@both
async def test_nobody_listening_counts(stream: bool) -> None:
    async with cast([good(stream)]) as (live, (up,)):
        Clock(live)
        with closed_port() as port:
            dead = leaf(up, custom_host=f"http://127.0.0.1:{port}/v1")
            await ask(live, guard("fallback", dead, leaf(up)), stream, 4)
        assert [len(record.attempts) for record in live.records] == [2, 2, 1, 1]


async def test_a_stream_that_breaks_off_counts() -> None:
    broken: Reply = (*streamed(event("half"), end=False), Pause(0.03), Reset())
    async with cast([broken], [good(True)]) as (live, ups):
        Clock(live)
        config = guard("fallback", *map(leaf, ups))
        for _ in range(2):
            client, body = await call(live, config)
            assert index(client) == "config.targets[0]"
            assert read_in_band(body, event("half"))["code"] == "stream_truncated"
        assert await ask(live, config, True, 2) == ["200 at [1]"] * 2
        assert len(ups[0].requests) == 2


async def test_a_stream_whose_client_leaves_does_not_count() -> None:
    async with cast([(*streamed(event("a"), end=False), Hang())], [good(True)]) as (live, ups):
        Clock(live)
        config = guard("fallback", *map(leaf, ups))
        for number in range(1, 5):
            client = await live.post(config=config)
            await client.head()
            assert index(client) == "config.targets[0]"
            client.leave()
            await live.recorded(number)
        assert len(ups[0].requests) == 4


@both
async def test_failures_must_come_together_to_count(stream: bool) -> None:
    """What is more than a minute old is forgotten."""
    async with cast([bad(503)], [good(stream)]) as (live, ups):
        clock = Clock(live)
        config = guard("fallback", *map(leaf, ups))
        for _ in range(5):
            await ask(live, config, stream)
            clock.now += 61
        assert len(ups[0].requests) == 5


@both
async def test_a_share_of_failures_counts_once_there_were_enough_requests(stream: bool) -> None:
    script = [good(stream), good(stream), bad(503), good(stream), bad(503), bad(503), bad(503)]
    async with cast(script, [good(stream)]) as (live, ups):
        Clock(live)
        strategy = {
            "cb_config": {"failure_threshold_percentage": 50, "minimum_requests": 6, "cooldown_interval": 30000}
        }
        config = branch("fallback", *map(leaf, ups), strategy=strategy)
        await ask(live, config, stream, 5)
        assert len(ups[0].requests) == 5, "2 of 5 is less than half"
        await ask(live, config, stream, 4)
        assert len(ups[0].requests) == 6, "3 of 6 is half"


# ---------------------------------------------------------------- whose circuit

OTHER: dict[str, dict[str, Any]] = {
    "another key": {"api_key": "sk-own-2"},
    "another model": {"override_params": {"model": "other"}},
    "another path": {"custom_host": "/other/v1"},
    "another organization": {"openai_organization": "org-2"},
}


def vary(up: FakeUpstream, change: dict[str, Any]) -> dict[str, Any]:
    if "custom_host" in change:
        change = {"custom_host": up.url + change["custom_host"]}
    return leaf(up, **change)


@both
@pytest.mark.parametrize("kind", OTHER)
async def test_another_credential_model_or_host_has_its_own_circuit(kind: str, stream: bool) -> None:
    async with cast([bad(503)] * 2 + [good(stream)], [good(stream)]) as (live, ups):
        Clock(live)
        await ask(live, guard("fallback", *map(leaf, ups)), stream, 2)
        other = guard("fallback", vary(ups[0], OTHER[kind]), leaf(ups[1]))
        assert await ask(live, other, stream) == ["200 at [0]"]
        assert await ask(live, guard("fallback", *map(leaf, ups)), stream) == ["200 at [1]"], "the first is still open"


@both
async def test_the_same_target_in_another_config_shares_its_circuit(stream: bool) -> None:
    async with cast([bad(503)], [good(stream)]) as (live, ups):
        Clock(live)
        await ask(live, guard("fallback", *map(leaf, ups)), stream, 2)
        first, second = map(leaf, ups)
        other = guard("fallback", branch("fallback", {**first, "name": "x", "weight": 3}, second), failure_threshold=9)
        assert await ask(live, other, stream) == ["200 at [0].targets[1]"]
        assert len(ups[0].requests) == 2


@both
async def test_two_callers_with_keys_of_their_own_do_not_share_one(stream: bool) -> None:
    async with cast([bad(503)] * 2 + [good(stream)], [good(stream)]) as (live, ups):
        Clock(live)
        targets = [{name: value for name, value in leaf(up).items() if name != "api_key"} for up in ups]
        config = guard("fallback", *targets)
        assert await ask(live, config, stream, 3) == ["200 at [1]"] * 3
        other = {"Authorization": "Bearer sk-other"}
        assert await ask(live, config, stream, headers=other) == ["200 at [0]"]
