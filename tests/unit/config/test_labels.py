from __future__ import annotations

from typing import Any

import pytest

from aiogateway.config.labels import LABELS
from tests.unit.config.configs import list_mistakes, parse


def old(**label: Any) -> dict[str, Any]:
    return {"mode": "single", "options": [{"provider": "openai", **label}]}


def test_an_option_of_the_old_format_has_labels_of_its_own() -> None:
    (target,) = parse(old(trace_id="tr-1", metadata={"_user": "u", "n": 1, "camelCase": None})).targets
    assert (target.trace_id, target.metadata) == ("tr-1", {"_user": "u", "n": 1, "camelCase": None})


def test_a_current_config_has_not() -> None:
    mistakes = list_mistakes({"provider": "openai", "trace_id": "x", "metadata": {"_user": "u"}})
    assert mistakes == {
        "trace_id": "is not a config field: send it as the header x-portkey-trace-id",
        "metadata": "is not a config field: send it as the header x-portkey-metadata",
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("trace_id", 3),
        ("trace_id", "x" * 257),
        ("trace_id", "a\x85b"),
        ("trace_id", "a\nb"),
        ("metadata", "u"),
        ("metadata", {"a": {}}),
        ("metadata", {"a": ["b"]}),
        ("metadata", {"a": "x" * 20_000}),
    ],
)
def test_labels_are_within_the_limits_of_the_headers(name: str, value: Any) -> None:
    assert list(LABELS) == ["trace_id", "metadata"]
    assert list(list_mistakes(old(**{name: value}))) == [f"targets[0].{name}"]
