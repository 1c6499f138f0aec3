"""The README's sections that come out of the code: ``make docs`` writes them, features/test_readme.py compares."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterable
from itertools import groupby

from aiogateway import hookspecs
from aiogateway.config.headers import HEADERS
from aiogateway.config.model import FIELD_TABLE, State
from aiogateway.providers.mock_script import Wishes
from aiogateway.server.routes import RESERVED
from aiogateway.settings import SettingRow, describe_settings
from aiogateway.telemetry.metrics import Metrics
from aiogateway.types import GATEWAY_PREFIXES
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
