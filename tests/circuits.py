"""Circuit breakers on a stage: strategies that have one, and their time."""

from __future__ import annotations

from typing import Any

from aiogateway.engine.breaker import LocalBreakers
from tests.answers import call, index
from tests.stage import Stage, branch

COOLDOWN = 30.0
RULES = {"failure_threshold": 2, "cooldown_interval": COOLDOWN * 1000}


class Clock:
    """The breakers' time: it stands still until a test moves it."""

    def __init__(self, live: Stage) -> None:
        self.now = 1000.0
        live.gateway.tools.breakers = LocalBreakers(lambda: self.now)

    def cool_down(self) -> None:
        self.now += COOLDOWN


def guard(mode: str, *targets: Any, **rules: Any) -> dict[str, Any]:
    """A strategy with a circuit breaker; a conditional one sends everything to its first target."""
    strategy: dict[str, Any] = {"cb_config": {**RULES, **rules}}
    if mode == "conditional":
        targets = tuple({**target, "name": f"t{place}"} for place, target in enumerate(targets))
        conditions = [{"query": {"params.model": "m"}, "then": "t0"}]
        strategy.update(conditions=conditions, default=f"t{len(targets) - 1}")
    return dict(branch(mode, *targets, strategy=strategy))


async def ask(live: Stage, config: dict[str, Any], stream: bool, times: int = 1, **asked: Any) -> list[str]:
    """For each call, its status and the place of the target that answered: ``200 at 1``."""
    found = []
    for _ in range(times):
        client, _ = await call(live, config, stream=stream, **asked)
        found.append(f"{client.status} at {str(index(client)).removeprefix('config.targets')}")
    return found
