from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import msgspec
import pytest

from aiogateway.config.headers import CallHeaders
from aiogateway.config.inherit import Leaf, inherit
from aiogateway.config.leaf import (
    Surroundings,
    find_gap,
    make_address,
    make_circuit_key,
    needs_vault,
    resolve_leaf,
    show_slug,
)
from aiogateway.config.model import Config
from aiogateway.contracts import Provider
from aiogateway.errors import ConfigError
from aiogateway.types import CircuitRules, Credential, Deadlines, Option, Origin, Secret, Trace


class Named(msgspec.Struct, frozen=True):
    """A provider without a base URL of its own."""

    options: Mapping[str, Option] = {}


PROVIDERS = cast(Mapping[str, Provider], {"named": Named({"region": Option()})})


def node(**fields: Any) -> Config:
    return Config(source="x-portkey-config", origin=Origin.REQUEST, **fields)


def around(**changes: Any) -> Surroundings:
    known: dict[str, Any] = {
        "headers": CallHeaders(trace=Trace(id="")), "providers": PROVIDERS, "ours": {}, "caller": None,
        "deadlines": Deadlines(),
    }  # fmt: skip
    return Surroundings(**{**known, **changes})


def test_an_address_is_what_the_answers_header_says() -> None:
    assert make_address(node()) == "config"
    assert make_address(node(path="targets[0].targets[2]")) == "config.targets[0].targets[2]"


@pytest.mark.parametrize(
    ("config", "path"),
    [
        (node(provider="named"), None),
        (node(), "provider"),
        (node(path="targets[1]"), "targets[1]"),
        (node(virtual_key="vk"), "virtual_key"),
        (node(path="targets[1]", provider="named", virtual_key="vk"), "targets[1].virtual_key"),
        (node(path="targets[1]", provider="@vk"), "targets[1].provider"),
    ],
)
def test_a_gap_is_where_a_provider_is_wanting(config: Config, path: str | None) -> None:
    gap = find_gap(config)
    assert (gap and gap.path) == path
    if path is not None:
        with pytest.raises(ConfigError) as caught:
            resolve_leaf(Leaf(config=config, lineage=(config,)), around())
        assert str(caught.value) == str(gap)


def test_what_needs_a_vault() -> None:
    assert needs_vault(node(provider="named")) is None
    assert needs_vault(node(virtual_key="vk", provider="@x")) == "virtual_key"
    assert needs_vault(node(provider="@x")) == "provider"


@pytest.mark.parametrize("slug", ["vk-1", "@vk-1", "AWS_BEDROCK_KEY", "my.team_key", "skier"])
def test_a_slug_shows(slug: str) -> None:
    assert show_slug(slug) == repr(slug)


@pytest.mark.parametrize(
    "pasted", ["sk-1", "@sk-1", "sk_live", "gsk_1", "xai-1", "pk-1", "AIza1", "AKIA1", "a b", "x" * 65]
)
def test_what_may_be_a_key_does_not(pasted: str) -> None:
    assert show_slug(pasted) == "this"
    assert show_slug(pasted, hidden="***") == "***"


def test_a_provider_without_a_base_url_has_circuits_too() -> None:
    config = node(provider="named")
    leaf = Leaf(config=config, lineage=(config,), circuit=CircuitRules())
    assert resolve_leaf(leaf, around()).circuit_key == make_circuit_key("named", "", {}, None, None)


def test_the_labels_of_an_old_option_travel_with_its_target() -> None:
    leaf = inherit(node(provider="named", trace_id="t", metadata={"_user": "u"}, name="n"))
    assert isinstance(leaf, Leaf)
    target = resolve_leaf(leaf, around())
    assert (target.trace_id, target.metadata, target.name) == ("t", {"_user": "u"}, "n")


def test_no_two_upstreams_share_a_circuit_by_how_they_are_written() -> None:
    def make(*parts: Any) -> bytes:
        provider, base, options, secret, model = parts
        credential = None if secret is None else Credential(Secret(secret), Origin.REQUEST, "x")
        return make_circuit_key(provider, base, options, credential, model)

    keys = {
        make("ab", "c", {}, "d", "e"),
        make("a", "bc", {}, "d", "e"),
        make("ab", "cd", {}, "", "e"),
        make("ab", "cd", {}, None, "e"),
        make("ab", "c", {}, "de", ""),
        make("ab", "c", {}, "de", None),
        make("ab", "c", {}, "d1:e", ""),
        make("ab", "c", {"e": "1"}, "d", None),
        make("ab", "c", {"e": 1}, "d", None),
        make("ab", "c", {"e": Secret("2")}, "d", None),
        make("ab", "c", {"e": "1", "f": "2"}, "d", None),
    }
    assert len(keys) == 11
    assert make("a", "b", {"x": 1, "y": 2}, "\udcff", "m") == make("a", "b", {"y": 2, "x": 1}, "\udcff", "m")
