"""The README's sections that come out of the code: ``make docs`` writes them, test_readme_tables.py compares."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterable
from itertools import groupby

from aiogateway import hookspecs
from aiogateway.config.headers import HEADERS
from aiogateway.config.model import FIELD_TABLE, State
from aiogateway.dialects import gemini_thinking, thinking
from aiogateway.providers.mock_script import Wishes
from aiogateway.server.routes import RESERVED
from aiogateway.settings import SettingRow, describe_settings
from aiogateway.telemetry.metrics import Metrics
from aiogateway.types import GATEWAY_PREFIXES
from tests.cards import Card, list_providers
from tests.matrix import write_matrix
from tests.readme import README, read_text, replace_sections

_EFFECT = {State.USED: "", State.ACCEPTED: "no effect: ", State.LATER: "**400** for now: "}
_OWN_METRICS = "aiogateway_"


def generate_sections() -> dict[str, str]:
    """Every generated section, by name, as it stands between its comments."""
    return {
        "settings": _table(("setting", "allowed", "default", "meaning"), map(_show_setting, describe_settings())),
        "headers": _table(
            ("header", "meaning"),
            ((f"`{GATEWAY_PREFIXES[0]}{header.suffix}`", _EFFECT[header.state] + header.meaning) for header in HEADERS),
        ),
        "mock-options": _list(f"`{GATEWAY_PREFIXES[0]}{name.replace('_', '-')}`" for name in Wishes.__struct_fields__),
        "fields": _table(("field", "meaning"), _describe_fields()),
        "reserved": _list(f"`/v1/{segment}`" for segment in RESERVED),
        "hooks": _table(("hook", "what it is for"), _describe_hooks()),
        "metrics": _table(("metric", "what it counts"), _describe_metrics()),
        **_describe_providers(),
        "matrix": write_matrix(),
        "thinking": _table(
            ("effort", "a budget in tokens", "which comes from a budget of", "Gemini up to 2.5", "Gemini from 3 on"),
            _describe_thinking(),
        ),
    }


def _show_setting(row: SettingRow) -> tuple[str, str, str, str]:
    allowed = row.kind.partition(":")[0]
    default = row.default.removesuffix(".0")
    if allowed == "a size":
        default = f"{int(default) // 1024} KiB" if int(default) < 2**20 else f"{int(default) // 2**20} MiB"
    return f"`{row.name}`", allowed, f"`{default}`" if default else "", row.text


def _describe_fields() -> Iterable[tuple[str, str]]:
    """Neighbours of which the same is to be said share a row."""
    for (state, meaning), fields in groupby(FIELD_TABLE, lambda field: (field.state, field.meaning)):
        yield ", ".join(f"`{field.name}`" for field in fields), _EFFECT[state] + meaning


def _describe_hooks() -> Iterable[tuple[str, str]]:
    for name, hook in vars(hookspecs).items():
        if hasattr(hook, f"{hookspecs.PROJECT}_spec"):
            text = " ".join((inspect.getdoc(hook) or "").split())
            yield f"`{name}({', '.join(inspect.signature(hook).parameters)})`", re.sub("``+", "`", text)


def _describe_metrics() -> Iterable[tuple[str, str]]:
    for family in Metrics().registry.collect():
        if family.name.startswith(_OWN_METRICS):
            yield f"`{family.name}{'_total' if family.type == 'counter' else ''}`", family.documentation


def _describe_providers() -> dict[str, str]:
    """The table of those with a module of their own, and that of the rows in providers/compatible.py."""
    names = ("provider", "in the client's own bytes", "translated", "base URL", "`custom_host` ends in", "own fields")
    cards = list_providers()
    return {
        "providers": _table(names, (_show_card(card) for card in cards if card.document is None)),
        "compatible": _table(
            ("provider", "serves", "base URL", "`custom_host` ends in", "checked against"),
            (_show_row(card) for card in cards if card.document is not None),
        ),
    }


def _show_card(card: Card) -> tuple[str, ...]:
    name = f"`{card.name}`" if card.folder is None else f"[`{card.name}`]({card.folder})"
    translated = (f"{said} ({_code(sorted(wires))})" for said, wires in card.translated.items())
    fields = _code(card.fields)
    return name, ", ".join(card.verbatim), ", ".join(translated), f"`{card.base}`", _show_suffix(card), fields


def _show_row(card: Card) -> tuple[str, ...]:
    said = ", ".join(card.verbatim)
    return f"`{card.name}`", said, f"`{card.base}`", _show_suffix(card), card.document or ""


def _show_suffix(card: Card) -> str:
    return f"`{card.suffix}`" if card.suffix else "no path"


def _code(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _describe_thinking() -> Iterable[tuple[str, ...]]:
    """Each effort, the budgets it stands for, and the largest budget that becomes it."""
    largest = {thinking.find_effort(budget): budget for budget in sorted(thinking.BUDGETS.values())}
    *bounded, last = largest
    come = {effort: f"up to {largest[effort]:,}" if largest[effort] else "0" for effort in bounded} | {last: "more"}
    for effort, budget in thinking.BUDGETS.items():
        old, level = gemini_thinking.BUDGETS[effort], gemini_thinking.LEVELS[effort]
        yield f"`{effort}`", f"{budget:,}", come.get(effort, ""), f"{old:,}", f"`{level}`"


def _list(items: Iterable[str]) -> str:
    return textwrap.fill(", ".join(items), 120, break_on_hyphens=False) + "\n"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main() -> None:
    """Rewrites the README."""
    README.write_text(replace_sections(read_text(), generate_sections()), encoding="utf-8")


if __name__ == "__main__":
    main()
