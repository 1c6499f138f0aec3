"""From samples to a table: medians over rounds, ratios within a round, Markdown and JSON. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import orjson

from load_tests.scenarios import Family, Scenario

FLOOR = "direct"
YARDSTICK = "nginx"
BUSY = 0.95
"""Share of a core above which the load side, not the proxy, may have set the throughput."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What one contestant measured in one round of a scenario; `errors` counts what went wrong, by kind."""

    scenario: str
    contestant: str
    round: int
    values: Mapping[str, float]
    errors: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Row:
    """A contestant in a scenario: medians over rounds.

    `ratios` are to the yardstick and `added` is the difference to no proxy, both within a round, of which this is the
    median; `ranges` are the least and greatest value.
    """

    scenario: str
    contestant: str
    rounds: int
    values: Mapping[str, float]
    ranges: Mapping[str, tuple[float, float]]
    ratios: Mapping[str, float]
    added: Mapping[str, float]
    errors: Mapping[str, int]


def choose_yardstick(contestants: Iterable[str]) -> str:
    """nginx, or no proxy at all where nginx doesn't run."""
    return YARDSTICK if YARDSTICK in contestants else FLOOR


def make_rows(samples: Sequence[Sample]) -> list[Row]:
    """One row per scenario and contestant, in the order of the samples."""
    yardstick = choose_yardstick({sample.contestant for sample in samples})
    groups: dict[tuple[str, str], list[Sample]] = {}
    for sample in samples:
        groups.setdefault((sample.scenario, sample.contestant), []).append(sample)
    rows = []
    for (scenario, contestant), group in groups.items():
        series = {name: [s.values[name] for s in group if name in s.values] for s in group for name in s.values}
        errors: Counter[str] = Counter()
        for sample in group:
            errors.update(sample.errors)
        row = Row(
            scenario=scenario,
            contestant=contestant,
            rounds=sum(bool(sample.values) for sample in group),
            values={name: median(values) for name, values in series.items()},
            ranges={name: (min(values), max(values)) for name, values in series.items()},
            ratios=_compare(
                group, groups.get((scenario, yardstick), []), lambda own, other: own / other if other else None
            ),
            added=_compare(group, groups.get((scenario, FLOOR), []), lambda own, other: own - other),
            errors=dict(errors),
        )
        rows.append(row)
    return rows


def _compare(
    group: Sequence[Sample], others: Sequence[Sample], relate: Callable[[float, float], float | None]
) -> dict[str, float]:
    """The median over the rounds both have of `relate(own, other)`, for each value both have."""
    by_round = {other.round: other.values for other in others}
    series: dict[str, list[float]] = {}
    for sample in group:
        other = by_round.get(sample.round, {})
        for name in sample.values.keys() & other.keys():
            related = relate(sample.values[name], other[name])
            if related is not None:
                series.setdefault(name, []).append(related)
    return {name: median(values) for name, values in series.items()}


Cell = Callable[[Row], str]


def _value(name: str, digits: int) -> Cell:
    return lambda row: f"{row.values[name]:,.{digits}f}" if name in row.values else "–"


def _with_ratio(name: str, digits: int) -> Cell:
    def show(row: Row) -> str:
        text = _value(name, digits)(row)
        return f"{text} ({row.ratios[name]:.2f}×)" if name in row.ratios else text

    return show


def _with_added(name: str, digits: int) -> Cell:
    def show(row: Row) -> str:
        text = _value(name, digits)(row)
        return f"{text} ({row.added[name]:+.{digits}f})" if name in row.added and row.contestant != FLOOR else text

    return show


def _load_side(row: Row) -> str:
    busy = row.values.get("load_busy")
    return "–" if busy is None else f"{busy:.0%}{' (!)' if busy > BUSY else ''}"


def _errors(row: Row) -> str:
    return str(sum(row.errors.values()))


COLUMNS: dict[Family, dict[str, Cell]] = {
    "load": {
        "per second": _with_ratio("operations_per_s", 0),
        "CPU µs per operation": _with_ratio("cpu_us", 1),
        "p50 ms (added)": _with_added("p50_ms", 2),
        "p99 ms (added)": _with_added("p99_ms", 2),
        "RSS MB": _value("resident_mb", 0),
        "peak MB": _value("peak_mb", 0),
        "load side": _load_side,
    },
    "stall": {
        "stuck readers": _value("readers", 0),
        "RSS MB": _value("resident_mb", 1),
        "growth MB per reader": _value("growth_mb_per_reader", 3),
        "growth MB in second half": _value("second_half_mb", 2),
    },
    "leave": {
        "clients left": _value("left", 0),
        "upstream closed within 1 s": _value("closed_within_1s", 0),
        "last after ms": _value("last_closed_ms", 0),
    },
    "start": {
        "first answer s": _with_ratio("first_answer_s", 3),
        "idle RSS MB": _with_ratio("idle_mb", 1),
    },
    "translation": {
        "µs a chunk": _value("chunk_us", 2),
        "to verbatim": lambda row: f"{row.values['ratio']:.0f}×" if "ratio" in row.values else "–",
        "µs a chunk, 64 a read": _value("block_us", 2),
    },
}


def write_markdown(
    rows: Sequence[Row], scenarios: Sequence[Scenario], skipped: Mapping[str, str], facts: Mapping[str, Any]
) -> str:
    """The tables of all families that have rows, what was skipped and why, and every error by name."""
    yardstick = choose_yardstick({row.contestant for row in rows})
    lines = [" · ".join(f"{name} {value}" for name, value in facts.items()), ""]
    lines += [
        f"Medians over rounds; `×` is the ratio to {yardstick} in the same round, `+` the difference to no proxy.",
        "",
    ]
    for family, columns in COLUMNS.items():
        names = {scenario.name for scenario in scenarios if scenario.family == family}
        shown = [row for row in rows if row.scenario in names]
        if shown:
            lines += [*write_table(columns, shown, skipped), ""]
    for row in rows:
        lines += [f"- **{row.scenario}, {row.contestant}**: {count} × {kind}" for kind, count in row.errors.items()]
    return "\n".join(lines).rstrip() + "\n"


def write_table(columns: Mapping[str, Cell], rows: Sequence[Row], skipped: Mapping[str, str]) -> list[str]:
    """The lines of one Markdown table; a skipped contestant is a line of its own."""
    head = ["scenario", "contestant", *columns, "errors"]
    cells = [[row.scenario, row.contestant, *(show(row) for show in columns.values()), _errors(row)] for row in rows]
    cells += [["all", name, f"skipped: {reason}", *[""] * len(columns)] for name, reason in skipped.items()]
    ruler = ["---", "---", *["---:"] * (len(head) - 2)]
    return ["| " + " | ".join(line) + " |" for line in [head, ruler, *cells]]


def write_json(
    samples: Sequence[Sample], rows: Sequence[Row], skipped: Mapping[str, str], facts: Mapping[str, Any]
) -> bytes:
    """Everything measured, indented."""
    content = {
        "facts": dict(facts),
        "skipped": dict(skipped),
        "rows": [asdict(row) for row in rows],
        "samples": [asdict(sample) for sample in samples],
    }
    return orjson.dumps(content, option=orjson.OPT_INDENT_2) + b"\n"
