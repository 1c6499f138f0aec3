"""What is measured: one table of scenarios, lettered as the project's speed targets are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from load_tests.plan import Kind

Family = Literal["load", "stall", "leave", "start", "translation"]


@dataclass(frozen=True, slots=True)
class Scenario:
    """`letter` groups scenarios for `--only`; `usage` says whether requests ask for the usage event."""

    letter: str
    name: str
    family: Family = "load"
    kind: Kind = "unary"
    connections: int = 1
    chunks: int = 0
    rate: int = 0
    usage: bool = False
    tls: bool = False


BURST_CONNECTIONS = 16
PACE = 50
PACED_CHUNKS = 100


def _both(
    letter: str, name: str, kind: Kind, connections: int, chunks: int, rate: int = 0, tls: bool = False
) -> list[Scenario]:
    return [
        Scenario(letter, name + ("-usage" if usage else ""), "load", kind, connections, chunks, rate, usage, tls)
        for usage in (False, True)
    ]


SCENARIOS: tuple[Scenario, ...] = (
    Scenario("a", "unary-64", connections=64),
    *_both("b", "burst-64", "burst", BURST_CONNECTIONS, 64),
    *_both("b", "burst-1024", "burst", BURST_CONNECTIONS, 1024),
    *_both("c", "paced-100", "paced", 100, PACED_CHUNKS, PACE),
    *_both("c", "paced-500", "paced", 500, PACED_CHUNKS, PACE),
    *_both("c", "paced-1000", "paced", 1000, PACED_CHUNKS, PACE),
    Scenario("d", "stall-50", "stall", connections=50),
    Scenario("e", "leave-50", "leave", connections=50),
    Scenario("f", "start", "start"),
    *_both("g", "tls-100", "paced", 100, PACED_CHUNKS, PACE, tls=True),
    *_both("g", "tls-500", "paced", 500, PACED_CHUNKS, PACE, tls=True),
    Scenario("h", "translation", "translation"),
)
QUICK = frozenset(
    {
        "unary-64",
        "burst-64",
        "burst-64-usage",
        "paced-100",
        "paced-100-usage",
        "stall-50",
        "leave-50",
        "start",
        "tls-100",
        "translation",
    }
)


def choose_scenarios(only: str, quick: bool) -> list[Scenario]:
    """The scenarios named by `only` (letters, names or beginnings of names, with commas; empty: all), in table order.

    ValueError names a part that fits nothing.
    """
    chosen = [scenario for scenario in SCENARIOS if not quick or scenario.name in QUICK]
    parts = [part.strip() for part in only.split(",") if part.strip()]
    for part in parts:
        if not any(_fits(scenario, part) for scenario in chosen):
            raise ValueError(f"no scenario {part!r}; there are {', '.join(scenario.name for scenario in chosen)}")
    return [scenario for scenario in chosen if not parts or any(_fits(scenario, part) for part in parts)]


def _fits(scenario: Scenario, part: str) -> bool:
    return part in {scenario.letter, scenario.name} or scenario.name.startswith(part + "-")
