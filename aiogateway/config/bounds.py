"""How large a config may be: leaves, and upstream attempts in the worst case."""

from __future__ import annotations

import msgspec

from aiogateway.config.mistakes import Mistakes
from aiogateway.config.model import Config, Mode, Strategy


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """What the settings and the plugins allow: upstream attempts of a call, and the names of retry policies."""

    max_attempts: int = 20
    policies: frozenset[str] = frozenset(("exponential",))


def check_attempts(root: Config, bounds: Bounds, mistakes: Mistakes) -> None:
    """Notes a config whose worst case is over `bounds.max_attempts`."""
    worst = count_attempts(root)
    if worst > bounds.max_attempts:
        mistakes.note(
            f"a call could make {worst} upstream attempts (1 and retry.attempts for each target that may follow "
            f"another), at most {bounds.max_attempts} are allowed: lower retry.attempts, or have fewer targets",
            root.path,
        )


def count_attempts(config: Config, inherited: int = 0) -> int:
    """Upstream attempts in the worst case; `inherited` are the retries of the nodes above."""
    retries = inherited if config.retry is None else config.retry.attempts
    if not config.targets:
        return 1 + retries
    below = [count_attempts(target, retries) for target in config.targets]
    return sum(below) if goes_on(config.strategy) else max(below)


def goes_on(strategy: Strategy | None) -> bool:
    """Whether another target may be tried when one has failed."""
    if strategy is None:
        return False
    return strategy.mode is Mode.FALLBACK or (strategy.mode is Mode.LOADBALANCE and strategy.failover)
