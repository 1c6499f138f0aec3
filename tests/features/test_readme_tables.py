"""What the README says is what is so: its tables against the code, its tree against the folders."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

import aiogateway
from aiogateway import errors
from aiogateway.config.model import FIELD_TABLE, FIELDS, Mode
from aiogateway.config.operators import OPERATORS
from aiogateway.config.parse import parse_config
from aiogateway.engine.replies import own_headers, write_error
from aiogateway.providers.anthropic import MAX_TOKENS
from aiogateway.providers.compatible import TABLE
from aiogateway.settings import Settings, describe_settings
from aiogateway.types import Attempt, Call, CircuitRules, Deadlines, Origin, Recovery, Retry, Trace
from tests.docs import generate_sections
from tests.readme import ROOT, read_block, read_sections, read_text

PROVIDERS = (
    "provider", "in the client's own bytes", "translated", "base URL", "`custom_host` ends in", "own fields"
)  # fmt: skip


def read_table(*head: str) -> list[list[str]]:
    """The cells of the table with this head."""
    _, found, rest = read_text().partition(f"| {' | '.join(head)} |\n")
    assert found, head
    rows = [row for row in rest.partition("\n\n")[0].splitlines()[1:] if row.startswith("|")]
    return [[cell.strip() for cell in row.strip().strip("|").split("|")] for row in rows]


def test_the_generated_tables_are_what_the_code_says() -> None:
    """If not: `make docs`."""
    assert read_sections(read_text()) == generate_sections()


def test_every_config_field_is_explained() -> None:
    told = [name for row in read_table("field", "meaning") for name in re.findall(r"`([a-z_]+)`", row[0])]
    assert sorted(told) == sorted(FIELDS)
    assert all(field.meaning for field in FIELD_TABLE)


def list_known(name: str, path: str) -> list[str]:
    """The fields that the parser knows of the object at `path`: it lists them when it meets another."""
    wrong: dict[str, Any] = {"zzzzzzzzzz": 1}
    for key in reversed(path.split(".")):
        wrong = {key: wrong}
    with pytest.raises(errors.ConfigError) as caught:
        parse_config(json.dumps(wrong), origin=Origin.REQUEST, source="config", options={})
    (known,) = re.findall(
        rf"{re.escape(path)}\.zzzzzzzzzz: is not a field of {name} \(there are: (.*?)\)", str(caught.value)
    )
    return [f"{path}.{field}" for field in known.split(", ")]


def test_every_part_of_a_config_is_explained() -> None:
    told = [name.strip("`") for name, _, _ in read_table("part", "default", "meaning")]
    objects = ("strategy", "strategy.cb_config", "retry", "timeouts", "stream_recovery", "cache")
    known = [field for path in objects for field in list_known(path.rpartition(".")[2], path)]
    assert len(told) == len(set(told))
    assert set(told) == set(known)


def test_the_defaults_of_a_config_are_what_is_said() -> None:
    told = {name.strip("`"): default for name, default, _ in read_table("part", "default", "meaning")}
    retry, circuit, deadlines = Retry(), CircuitRules(), Deadlines()
    timeouts = {f"timeouts.{name}": getattr(deadlines, name) for name in Deadlines.__struct_fields__ if name != "unary"}
    assert {name: told[name] for name in timeouts} == {name: f"`{1000 * s:.0f}`" for name, s in timeouts.items()}
    assert f"(else `{1000 * deadlines.unary:.0f}`)" in read_text()
    assert re.findall(r"\d+", told["retry.on_status_codes"]) == list(map(str, retry.on_status_codes))
    assert told["retry.use_retry_after_header"] == f"`{str(retry.use_retry_after).lower()}`"
    assert told["retry.policy"] == f"`{retry.policy}`"
    assert told["stream_recovery.attempts"] == f"`{Recovery().attempts}`"
    assert told["strategy.cb_config.failure_threshold"] == f"`{circuit.failures}`"
    assert told["strategy.cb_config.minimum_requests"] == f"`{circuit.minimum_requests}`"
    assert told["strategy.cb_config.cooldown_interval"] == f"`{1000 * circuit.cooldown:.0f}`"
    assert f"`max_attempts` ({Settings().max_attempts})" in read_text()


def test_every_strategy_and_every_operator_is_explained() -> None:
    assert [name.strip("`") for name, _ in read_table("`strategy.mode`", "who is asked")] == list(Mode)
    told = {name for row in read_table("operator", "matches") for name in re.findall(r"`(\$[a-z]+)`", row[0])}
    assert told == {*OPERATORS, "$and", "$or"}


def test_every_answer_header_is_explained() -> None:
    call = Call(id="c", trace=Trace(id="t"), received=0, clock=0, method="POST", route="/", dropped_params=("user",))
    call.explain = True
    call.attempts += [
        Attempt(target=f"config{one}", provider="mock", model="m", start=0) for one in ("", ".targets[1]")
    ]
    sent = {name.decode(): value.decode() for name, value in own_headers(call)}
    refused = {name.decode(): value.decode() for name, value in write_error(call, errors.UpstreamError("x"), None)[1]}
    told = {name.strip("`"): text for name, text in read_table("header", "value")}
    assert told.keys() == (sent.keys() | refused.keys()) - {"content-type"}
    for name in ("x-portkey-retry-attempt-count", "x-portkey-cache-status", "x-portkey-last-used-option-index"):
        assert f"`{sent[name]}`" in told[name]
    assert f"`{refused['x-should-retry']}`" in told["x-should-retry"]


def test_the_variable_of_a_setting_is_what_the_rule_says() -> None:
    odd = {row.name: row.env for row in describe_settings() if row.env != rule(row.name)}
    assert odd == {"plugins.load": "AIOGATEWAY_PLUGINS"}


def rule(name: str) -> str:
    return f"AIOGATEWAY_{name.upper().replace('.', '__')}"


def list_errors(kind: type[errors.GatewayError] = errors.GatewayError) -> dict[str, int]:
    """Status by code, of the whole tree."""
    found = {kind.code: kind.status} if kind.__module__ == errors.__name__ else {}
    for child in kind.__subclasses__():
        found |= {code: status for code, status in list_errors(child).items() if code not in found}
    return found


def test_every_error_a_caller_can_get_is_explained_with_its_status() -> None:
    known = list_errors()
    told: set[str] = set()
    for _, _, before, after in read_table("what breaks", "what is tried", "before the first token", "after it"):
        for part in f"{before};{after}".split(";"):
            codes = re.findall(r"`([a-z_]+)`", part)
            status = re.match(r"\s*(\d{3}) `", part)
            assert not status or {known[code] for code in codes} == {int(status[1])}, part
            told.update(codes)
    # only a parent; the provider's own error; what stops a start; what only the record says of a recovery
    assert told == known.keys() - {"access_denied", "upstream_status", "invalid_settings", "answer_differs"}


def test_the_tree_is_the_tree() -> None:
    text = read_block("tree").text
    top = re.findall(r"^(\S+)", text, re.MULTILINE)
    assert top == [name for name in top if (ROOT / name).is_dir() and name.endswith("/")]
    inside = re.findall(r"^  (\S+) ", text, re.MULTILINE)
    there = [path for path in Path(aiogateway.__file__).parent.iterdir() if path.name[0] != "_"]
    modules = {path.name for path in there if path.suffix == ".py"} | {
        f"{path.name}/" for path in there if path.is_dir()
    }
    assert set(inside) == modules
    floors = [floor_of(name) for name in inside]
    assert floors == sorted(floors)


def floor_of(name: str) -> int:
    """How far from the top the linter's contract has a module."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = [contract["layers"] for contract in contracts if contract["id"] == "floors"]
    (floor,) = [place for place, layer in enumerate(layers) if f"({name.removesuffix('.py').rstrip('/')})" in layer]
    return int(floor)


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", read_text())
    assert links
    titles = {title.lower().replace(" ", "-") for title in re.findall(r"^#+ (.*)$", read_text(), re.MULTILINE)}
    assert set(re.findall(r"\]\(#([^)]+)\)", read_text())) <= titles
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []


def test_custom_hosts_end_as_portkeys_do() -> None:
    """portkey.md 8.3; azure-openai's resource and vertex-ai's region are part of their hosts."""
    told = {row[0].split("`")[1]: row[4].strip("`") for row in read_table(*PROVIDERS)}
    versioned = {name: told.pop(name) for name in ("anthropic", "openai", "mistral-ai", "huggingface")}
    assert set(versioned.values()) == {"/v1"}
    assert (told.pop("groq"), told.pop("azure-openai")) == ("/openai/v1", "/openai")
    assert told == dict.fromkeys(("bedrock", "cohere", "google", "ollama", "vertex-ai"), "no path")


def test_every_row_of_the_compatible_names_its_document() -> None:
    rows = read_table("provider", "serves", "base URL", "`custom_host` ends in", "checked against")
    assert [row[0].strip("`") for row in rows] == sorted(row.name for row in TABLE)
    assert all(row[1] and row[4] for row in rows)


def test_the_limit_of_a_chat_without_one_is_what_is_said() -> None:
    assert f"gets the field `max_tokens`, else {MAX_TOKENS:,}" in " ".join(read_text().split())
