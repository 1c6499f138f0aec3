from __future__ import annotations

import json
from typing import Any

import pytest

from aiogateway.config.model import Config, Mode
from aiogateway.config.parse import parse_config
from aiogateway.types import CacheRules, Option, Origin, Retry
from tests.seeds import CURRENT, OLD, PROVIDERS


def parse(config: dict[str, Any]) -> Config:
    options: dict[str, dict[str, Option]] = {provider: {} for provider in PROVIDERS}
    return parse_config(json.dumps(config), origin=Origin.REQUEST, source="x-portkey-config", options=options)


@pytest.mark.parametrize("name", CURRENT)
def test_every_config_of_the_guides_parses(name: str) -> None:
    written, config = CURRENT[name], parse(CURRENT[name])
    targets = written.get("targets", [written])
    leaves = config.targets or (config,)
    assert [leaf.virtual_key for leaf in leaves] == [target.get("virtual_key") for target in targets]
    assert [leaf.provider for leaf in leaves] == [target.get("provider") for target in targets]
    assert (config.strategy.mode if config.strategy else None) == written.get("strategy", {}).get("mode")


def test_what_they_ask_for_is_read() -> None:
    assert parse(CURRENT["retries"]).retry == Retry(attempts=5)
    assert parse(CURRENT["simple_cache"]).cache == CacheRules(mode="simple", max_age=60000)
    assert parse(CURRENT["semantic_cache"]).cache == CacheRules(mode="semantic", max_age=60000)
    assert parse(CURRENT["request_timeout"]).timeouts == {"first_token": 10000}
    assert parse(CURRENT["prompt"]).override_params == {"model": "llama3-70b-8192"}
    assert parse(CURRENT["ollama"]).custom_host == "https://7cc4-3-235-157-146.ngrok-free.app"


@pytest.mark.parametrize("name", OLD)
def test_every_config_of_the_old_format_parses(name: str) -> None:
    written, config = OLD[name], parse(OLD[name])
    assert len(config.targets) == len(written["options"])
    assert config.strategy is not None
    assert config.strategy.mode is (Mode.LOADBALANCE if name == "ab_test" else Mode(written["mode"]))
    assert all(target.override_params == {"model": "gpt-4"} for target in config.targets)


@pytest.mark.parametrize("name", ["fallback", "fallback_settings", "fallback_overrides"])
def test_old_retries_are_read_wherever_they_are(name: str) -> None:
    assert parse(OLD[name]).targets[0].retry == Retry(attempts=2, on_status_codes=(429, 500))


def test_old_options_keep_their_weights_labels_and_caches() -> None:
    assert [target.weight for target in parse(OLD["ab_test"]).targets] == [0.2, 0.8]
    (labelled,) = parse(OLD["observability"]).targets
    assert (labelled.trace_id, labelled.metadata["_organisation"]) == ("llamaindex_portkey", "acme")
    cached = parse(OLD["everything"]).targets[1]
    assert cached.cache == CacheRules(mode="semantic", max_age=60, refresh=True)
    assert (cached.trace_id, cached.metadata) == ("tr", {"_user": "u"})
