from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

import msgspec
import pytest

from aiogateway.config.headers import CallHeaders
from aiogateway.config.inherit import inherit, iterate_leaves
from aiogateway.config.leaf import Surroundings, resolve_leaf
from aiogateway.config.outline import Outline
from aiogateway.config.parse import parse_config
from aiogateway.contracts import Provider
from aiogateway.types import Deadlines, Option, Origin, Secret, Trace


class Named(msgspec.Struct, frozen=True):
    options: Mapping[str, Option] = {}


class Based(msgspec.Struct, frozen=True):
    base_url: str = "https://based.example"
    options: Mapping[str, Option] = {}


class Own(msgspec.Struct, frozen=True, kw_only=True):
    api_key: Secret | None = None
    base_url: str | None = None
    options: Mapping[str, Any] = {}


PROVIDERS = cast(
    Mapping[str, Provider],
    {"named": Named({"token": Option(secret=True), "region": Option()}), "based": Based()},
)
OPTIONS = {name: provider.options for name, provider in PROVIDERS.items()}


def parse(config: Any) -> Any:
    return parse_config(json.dumps(config), origin=Origin.REQUEST, source="x-portkey-config", options=OPTIONS)


def write(config: Any, *, ours: Mapping[str, Own] | None = None, deadlines: Deadlines | None = None) -> list[str]:
    text = Outline(PROVIDERS, ours or {}, deadlines or Deadlines()).write(parse(config))
    assert text.endswith("\n")
    assert "canary" not in text
    return text.splitlines()


def row(lines: list[str], name: str) -> str:
    """The value and the source of the only row of that name."""
    (found,) = [line for line in lines if line.lstrip().startswith(f"{name}: ")]
    return found.partition(": ")[2]


def test_a_value_is_own_the_settings_or_the_default() -> None:
    ours = {
        "named": Own(api_key=Secret("canary"), base_url="http://10.0.0.1", options={"region": "r", "token": "canary"})
    }
    lines = write({"provider": "named", "token": "canary"}, ours=ours, deadlines=Deadlines(total=7))
    assert lines[0] == "config: named"
    assert row(lines, "api_key") == "***  [settings]"
    assert row(lines, "host") == "http://10.0.0.1  [settings]"
    assert row(lines, "region") == '"r"  [settings]'
    assert row(lines, "token") == "***  [own]"
    assert row(lines, "deadlines.total") == "7 s  [settings]"
    assert row(lines, "deadlines.idle") == "120 s  [default]"
    own = write({"provider": "named", "api_key": "canary", "custom_host": "http://127.0.0.1", "region": "q"})
    assert row(own, "api_key") == "***  [own]"
    assert row(own, "host") == "http://127.0.0.1  [own]"
    assert row(own, "region") == '"q"  [own]'


def test_what_the_settings_do_not_say_is_the_callers_or_the_providers() -> None:
    assert row(write({"provider": "based"}), "host") == "https://based.example  [default]"
    assert row(write({"provider": "named"}), "host") == "the provider's own  [default]"
    assert row(write({"provider": "named"}), "api_key").endswith("[caller]")


def test_a_first_token_limit_that_somebody_gave_is_the_unary_one_too() -> None:
    lines = write({"provider": "named", "request_timeout": 1500})
    assert row(lines, "deadlines.first_token") == row(lines, "deadlines.unary") == "1.5 s  [own]"
    kept = write({"provider": "named", "timeouts": {"idle": 1}})
    assert row(kept, "deadlines.unary") == "600 s  [default]"
    assert row(kept, "deadlines.idle") == "0.001 s  [own]"


def test_what_is_inherited_names_its_node() -> None:
    inner = {"strategy": {"mode": "single"}, "retry": {"attempts": 1}, "targets": [{"provider": "named"}]}
    lines = write({"strategy": {"mode": "single"}, "override_params": {"a": 1}, "targets": [inner]})
    assert [line.partition(":")[0] for line in lines[:3]] == [
        "config", "  config.targets[0]", "    config.targets[0].targets[0]"
    ]  # fmt: skip
    assert row(lines, "override_params.a") == "1  [inherited from config]"
    assert row(lines, "retry").endswith("[inherited from config.targets[0]]")


def test_long_values_are_cut() -> None:
    lines = write({"provider": "named", "override_params": {"system": "x" * 1000}})
    assert len(row(lines, "override_params.system")) < 200


@pytest.mark.parametrize(
    "params",
    [
        {"api_key": "canary"},
        {"a": {"b": [{"Authorization": "canary"}]}},
        {"access_token": ["canary"]},
        {"accessToken": {"a": "canary"}},
        {"credentials": "canary"},
        {"clientSecret": "canary"},
    ],
)
def test_what_may_be_a_key_is_hidden(params: Any) -> None:
    assert any("***" in line for line in write({"provider": "named", "override_params": params}))


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens", "n", "keyboard"])
def test_what_only_looks_like_it_is_shown(name: str) -> None:
    assert row(write({"provider": "named", "override_params": {name: 5}}), f"override_params.{name}") == "5  [own]"


def test_the_outline_says_what_the_resolved_target_has() -> None:
    config = parse({
        "strategy": {"mode": "fallback", "cb_config": {"failure_threshold": 2}},
        "timeouts": {"first_token": 1000, "idle": 2000},
        "override_params": {"a": 1, "b": 1},
        "retry": {"attempts": 2},
        "targets": [
            {"provider": "named", "override_params": {"b": 2}, "timeouts": {"idle": 500, "connect": 10}},
            {"provider": "based", "custom_host": "http://127.0.0.1", "request_timeout": 5, "retry": {"attempts": 0}},
        ],
    })  # fmt: skip
    known = Deadlines(connect=1, total=50)
    around = Surroundings(
        headers=CallHeaders(trace=Trace(id="")), providers=PROVIDERS, ours={}, caller=None, deadlines=known
    )
    text = Outline(PROVIDERS, {}, known).write(config)
    parts = text.split("\n  config.targets[")[1:]
    for leaf, part in zip(iterate_leaves(inherit(config)), parts, strict=True):
        target = resolve_leaf(leaf, around)
        lines = part.splitlines()
        for name in Deadlines.__struct_fields__:
            assert row(lines, f"deadlines.{name}").startswith(f"{getattr(target.deadlines, name):g} s  ")
        for name, value in target.override_params.items():
            assert row(lines, f"override_params.{name}").startswith(f"{value}  ")
        assert row(lines, "retry").startswith("2 on" if target.retry.attempts else "none")
        assert row(lines, "circuit").startswith("opens after 2 failures" if target.circuit else "none")
        assert row(lines, "host").startswith(target.host.url if target.host else "the provider's own")
