from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

import msgspec
import pytest

from aiogateway.config.headers import read_call_headers
from aiogateway.config.model import Config, Mode
from aiogateway.config.parse import ConfigCache, parse_config
from aiogateway.config.resolve import check_default, check_leaves, names_target, resolve_tree
from aiogateway.config.tree import Branch, Tree
from aiogateway.contracts import Provider
from aiogateway.errors import ConfigError
from aiogateway.types import (
    CacheRules,
    Credential,
    Deadlines,
    Host,
    Option,
    Origin,
    Recovery,
    Retry,
    Secret,
    Target,
)


class Named(msgspec.Struct, frozen=True):
    """The part of a provider that resolving looks at."""

    name: str
    options: Mapping[str, Option] = {}
    base_url: str = ""


class Own(msgspec.Struct, frozen=True, kw_only=True):
    api_key: Secret | None = None
    base_url: str | None = None
    options: Mapping[str, Any] = {}


PROVIDERS = {
    "openai": Named("openai", {"openai_organization": Option()}, "https://openai.example/v1"),
    "mock": Named("mock"),
    "azure-openai": Named(
        "azure-openai",
        {"resource_name": Option(host=True), "azure_ad_token": Option(secret=True), "deployment": Option()},
    ),
}
OPTIONS = {name: provider.options for name, provider in PROVIDERS.items()}
DEADLINES = Deadlines()
CALLER = Credential(Secret("sk-caller"), Origin.REQUEST, "authorization")


def resolve_any(
    headers: Mapping[str, str] | None = None,
    *,
    config: Any = None,
    default: Any = None,
    ours: Mapping[str, Own] | None = None,
    caller: Credential | None = CALLER,
    deadlines: Deadlines = DEADLINES,
) -> Tree:
    pairs = [(f"x-portkey-{name}", value) for name, value in (headers or {}).items()]
    if config is not None:
        pairs.append(("x-portkey-config", json.dumps(config)))
    names = frozenset(name for options in OPTIONS.values() for name in options)
    return resolve_tree(
        read_call_headers(pairs, names, new_id=lambda: "t"),
        configs=ConfigCache(OPTIONS),
        default=None if default is None else parse_default(default),
        providers=cast(Mapping[str, Provider], PROVIDERS),
        ours=ours or {},
        caller=caller,
        deadlines=deadlines,
    )


def resolve(*args: Any, **kwargs: Any) -> Target:
    target = resolve_any(*args, **kwargs)
    assert isinstance(target, Target)
    return target


def branch(*args: Any, **kwargs: Any) -> Branch:
    tree = resolve_any(*args, **kwargs)
    assert isinstance(tree, Branch)
    return tree


def leaves(*args: Any, **kwargs: Any) -> list[Target]:
    """The targets of a tree that is one branch over leaves."""
    children = branch(*args, **kwargs).children
    assert all(isinstance(child, Target) for child in children)
    return cast(list[Target], list(children))


def parse_default(config: Any) -> Config:
    return parse_config(json.dumps(config), origin=Origin.OURS, source="default_config", options=OPTIONS)


def refuse(*args: Any, **kwargs: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        resolve_any(*args, **kwargs)
    assert "canary" not in str(caught.value)
    return str(caught.value)


def refuse_all(*args: Any, **kwargs: Any) -> dict[str, str]:
    """Every mistake by its path."""
    with pytest.raises(ConfigError) as caught:
        resolve_any(*args, **kwargs)
    errors = caught.value.errors or (caught.value,)
    assert len({(error.path, error.reason) for error in errors}) == len(errors)
    return {error.path: error.reason for error in errors}


def test_a_provider_header_and_the_callers_key_are_a_target() -> None:
    assert resolve({"provider": "openai"}) == Target(path="config", provider="openai", credential=CALLER)


def test_a_config_is_a_target() -> None:
    target = resolve(
        config={
            "provider": "openai",
            "api_key": "sk-own",
            "custom_host": "http://127.0.0.1:9/v1/",
            "override_params": {"model": "m"},
            "forward_headers": ["x-a"],
            "request_timeout": 1500,
            "openai_organization": "org",
        }
    )
    assert target == Target(
        path="config",
        provider="openai",
        credential=Credential(Secret("sk-own"), Origin.REQUEST, "x-portkey-config api_key"),
        host=Host("http://127.0.0.1:9/v1", Origin.REQUEST, "x-portkey-config custom_host"),
        options={"openai_organization": "org"},
        override_params={"model": "m"},
        forward_headers=("x-a",),
        deadlines=Deadlines(first_token=1.5, unary=1.5),
        guarded=True,
    )


def test_headers_beat_the_config() -> None:
    target = resolve(
        {
            "custom-host": "http://127.0.0.2",
            "request-timeout": "10",
            "forward-headers": "x-b",
            "openai-organization": "header",
            "provider": "mock",
        },
        config={
            "provider": "openai",
            "custom_host": "http://127.0.0.1",
            "request_timeout": 1500,
            "forward_headers": ["x-a"],
            "openai_organization": "config",
        },
    )
    assert target.host == Host("http://127.0.0.2", Origin.REQUEST, "x-portkey-custom-host")
    assert (target.deadlines.first_token, target.deadlines.unary) == (0.01, 0.01)
    assert target.forward_headers == ("x-b",)
    assert target.options == {"openai_organization": "header"}
    assert target.provider == "openai"  # only the provider header yields


def test_the_provider_header_completes_a_config_that_names_none() -> None:
    assert resolve({"provider": "mock"}, config={"override_params": {"model": "m"}}).provider == "mock"
    message = refuse(config={"override_params": {"model": "m"}})
    assert "x-portkey-config names no provider" in message
    assert "x-portkey-provider" in message


def test_no_target_names_both_headers() -> None:
    message = refuse()
    assert "x-portkey-config" in message
    assert "x-portkey-provider" in message


def test_the_default_config_serves_calls_that_name_no_target() -> None:
    default = {"provider": "openai", "api_key": "sk-canary", "custom_host": "http://10.0.0.1"}
    target = resolve(default=default)
    assert target.credential == Credential(Secret("sk-canary"), Origin.OURS, "default_config api_key")
    assert target.host == Host("http://10.0.0.1", Origin.OURS, "default_config custom_host")
    assert not target.guarded
    other = resolve({"provider": "mock"}, default=default)
    assert (other.provider, other.credential, other.host) == ("mock", CALLER, None)
    assert resolve(config={"provider": "mock"}, default=default).credential == CALLER


def test_unknown_providers_are_named_with_the_nearest() -> None:
    assert "did you mean 'openai'?" in refuse({"provider": "openia"})
    message = refuse({"provider": "@saved"})
    assert message.startswith("x-portkey-provider: '@saved' can't be used: there is no vault yet")


def test_options_of_another_provider_are_refused() -> None:
    assert "x-portkey-openai-organization" in refuse({"provider": "mock", "openai-organization": "o"})
    assert "openai_organization" in refuse({"provider": "mock"}, config={"openai_organization": "o"})


def test_the_credential_of_a_target_beats_ours_and_ours_the_callers() -> None:
    ours = {"openai": Own(api_key=Secret("sk-ours"))}
    assert resolve({"provider": "openai"}, ours=ours).credential == Credential(
        Secret("sk-ours"), Origin.OURS, "providers.openai.api_key"
    )
    own = resolve(config={"provider": "openai", "api_key": "sk-own"}, ours=ours).credential
    assert own is not None
    assert own.secret == Secret("sk-own")
    assert resolve({"provider": "mock"}, ours=ours).credential == CALLER
    assert resolve({"provider": "mock"}, ours=ours, caller=None).credential is None


def test_hosts_of_the_settings_are_ours_and_meet_any_credential() -> None:
    ours = {"openai": Own(api_key=Secret("sk-ours"), base_url="http://10.0.0.1/v1")}
    target = resolve({"provider": "openai"}, ours=ours)
    assert target.host == Host("http://10.0.0.1/v1", Origin.OURS, "providers.openai.base_url")
    assert not target.guarded


KEY_OF_OURS = {"openai": Own(api_key=Secret("sk-canary"))}
DEFAULT_KEY = {"provider": "openai", "api_key": "sk-canary"}
DEFAULT_AZURE = {"provider": "azure-openai", "api_key": "sk-canary", "resource_name": "ours"}
AZURE_KEY = {"azure-openai": Own(api_key=Secret("sk-canary"))}
AZURE_TOKEN = {"azure-openai": Own(options={"azure_ad_token": "canary", "resource_name": "ours"})}


@pytest.mark.parametrize(
    ("call", "theirs", "of_ours"),
    [
        (
            {"headers": {"provider": "openai", "custom-host": "http://127.0.0.1"}, "ours": KEY_OF_OURS},
            "x-portkey-custom-host",
            "providers.openai.api_key",
        ),
        (
            {"config": {"provider": "openai", "custom_host": "http://127.0.0.1"}, "ours": KEY_OF_OURS},
            "x-portkey-config custom_host",
            "providers.openai.api_key",
        ),
        (
            {"headers": {"custom-host": "http://127.0.0.1"}, "default": DEFAULT_KEY},
            "x-portkey-custom-host",
            "default_config api_key",
        ),
        (
            {"headers": {"resource-name": "theirs"}, "default": DEFAULT_AZURE},
            "x-portkey-resource-name",
            "default_config api_key",
        ),
        (
            {"config": {"provider": "azure-openai", "resource_name": "theirs"}, "ours": AZURE_KEY},
            "x-portkey-config resource_name",
            "providers.azure-openai.api_key",
        ),
        (
            {"headers": {"provider": "azure-openai", "resource-name": "theirs"}, "ours": AZURE_TOKEN},
            "x-portkey-resource-name",
            "providers.azure-openai.options.azure_ad_token",
        ),
        (
            {"headers": {"provider": "azure-openai", "custom-host": "http://127.0.0.1"}, "ours": AZURE_TOKEN},
            "x-portkey-custom-host",
            "providers.azure-openai.options.azure_ad_token",
        ),
    ],
)
def test_a_credential_of_ours_never_meets_a_host_of_the_request(
    call: dict[str, Any], theirs: str, of_ours: str
) -> None:
    message = refuse(call.pop("headers", None), **call)
    assert theirs in message
    assert of_ours in message


def test_a_credential_of_the_request_may_go_where_the_request_says() -> None:
    target = resolve({"provider": "openai", "custom-host": "http://127.0.0.1"})
    assert target.guarded
    own = resolve(
        {"custom-host": "http://127.0.0.1"}, config={"provider": "openai", "api_key": "sk-own"}, ours=KEY_OF_OURS
    )
    assert own.credential is not None
    assert own.credential.origin is Origin.REQUEST


def test_a_part_of_the_host_from_the_request_is_guarded() -> None:
    assert resolve({"provider": "azure-openai", "resource-name": "theirs"}).guarded
    assert not resolve({"provider": "azure-openai", "deployment": "d"}, ours=AZURE_TOKEN).guarded


def test_options_are_checked_wherever_they_come_from() -> None:
    assert "a-z" in refuse({"provider": "azure-openai", "resource-name": "evil.example/"})
    assert "a-z" in refuse(config={"provider": "azure-openai", "resource_name": "evil.example#"})
    assert resolve({"provider": "azure-openai", "azure-ad-token": "t"}).options == {"azure_ad_token": Secret("t")}


def test_the_default_configs_options_yield_to_headers_that_are_no_host() -> None:
    target = resolve({"deployment": "theirs"}, default={**DEFAULT_AZURE, "deployment": "ours"})
    assert target.options == {"resource_name": "ours", "deployment": "theirs"}


def test_credential_headers_travel_as_the_credential_or_when_there_is_none() -> None:
    headers = {"provider": "openai", "forward-headers": "Authorization,x-a"}
    assert resolve(headers).forward_headers == ("x-a",)
    assert resolve(headers, caller=None).forward_headers == ("authorization", "x-a")


@pytest.mark.parametrize("host", ["http://0x7f.1", "http://2130706433", "http://[::ffff:127.0.0.1]", "http://127.1"])
def test_hosts_in_headers_are_canonical(host: str) -> None:
    assert "x-portkey-custom-host" in refuse({"provider": "openai", "custom-host": host})


def test_naming_a_target_is_told_from_leaving_it_to_the_default() -> None:
    def read(*pairs: tuple[str, str]) -> bool:
        return names_target(read_call_headers(pairs, frozenset(), new_id=lambda: "t"))

    assert read(("x-portkey-config", "{}"))
    assert read(("x-portkey-provider", "openai"))
    assert not read(("x-portkey-trace-id", "t"))


# ---------------------------------------------------------------- trees


def tree_of(*targets: Any, mode: str = "fallback", **fields: Any) -> dict[str, Any]:
    return {"strategy": {"mode": mode, **fields.pop("strategy", {})}, "targets": list(targets), **fields}


def test_a_branch_holds_its_targets_by_position() -> None:
    nested = tree_of({"provider": "mock", "name": "b", "weight": 2}, {"provider": "openai"}, mode="loadbalance")
    tree = branch(config=tree_of({"provider": "openai", "name": "a"}, {**nested, "name": "inner"}))
    assert (tree.path, tree.mode, tree.weights, tree.name) == ("config", Mode.FALLBACK, (1.0, 1.0), None)
    first, inner = tree.children
    assert (first.path, first.name) == ("config.targets[0]", "a")
    assert isinstance(inner, Branch)
    assert (inner.path, inner.name, inner.weights) == ("config.targets[1]", "inner", (2.0, 1.0))
    assert [child.path for child in inner.children] == ["config.targets[1].targets[0]", "config.targets[1].targets[1]"]


def test_a_strategy_travels_with_its_branch() -> None:
    config = tree_of({"provider": "mock"}, mode="loadbalance", strategy={"on_status_codes": [429], "failover": True})
    tree = branch(config=config)
    assert (tree.on_status_codes, tree.failover) == (frozenset((429,)), True)
    plain = branch(config=tree_of({"provider": "mock"}))
    assert (plain.on_status_codes, plain.failover, plain.rules, plain.default) == (None, False, (), None)


def test_conditions_lead_to_children_by_their_index() -> None:
    rules = [
        {"query": {"params.model": "big"}, "then": "second"},
        {"query": {"params.model": "small"}, "then": "first"},
    ]
    targets = [{"provider": "mock", "name": name} for name in ("first", "second", "third")]
    tree = branch(config=tree_of(*targets, mode="conditional", strategy={"conditions": rules, "default": "third"}))
    assert [rule.child for rule in tree.rules] == [1, 0]
    assert tree.default == 2
    assert branch(config=tree_of(*targets, mode="conditional", strategy={"conditions": rules})).default is None


def test_conditions_of_another_mode_are_no_rules() -> None:
    strategy = {"conditions": [{"query": {"params.model": "a"}, "then": "nobody"}], "default": "nobody"}
    tree = branch(config=tree_of({"provider": "mock"}, strategy=strategy))
    assert (tree.rules, tree.default) == ((), None)


def test_leaves_take_what_they_inherit() -> None:
    config = tree_of(
        {"provider": "openai", "api_key": "sk-1", "override_params": {"model": "m"}},
        {"provider": "mock", "retry": {"attempts": 1}, "stream_recovery": {"mode": "off"}, "timeouts": {"idle": 9}},
        override_params={"model": "top", "n": 1},
        retry={"attempts": 2, "on_status_codes": [500]},
        cache={"mode": "simple"},
        stream_recovery={"mode": "restart"},
        timeouts={"first_token": 1000, "idle": 2000},
        forward_headers=["x-a"],
        custom_host="http://127.0.0.1:9",
    )
    first, second = leaves(config=config)
    assert (first.override_params, second.override_params) == ({"model": "m", "n": 1}, {"model": "top", "n": 1})
    assert (first.retry.attempts, first.retry.on_status_codes) == (2, (500,))
    assert second.retry == Retry(attempts=1)
    assert first.cache == second.cache == CacheRules(mode="simple")
    assert (first.recovery, second.recovery) == (Recovery(), None)
    assert first.deadlines == Deadlines(first_token=1.0, unary=1.0, idle=2.0)
    assert second.deadlines == Deadlines(first_token=1.0, unary=1.0, idle=0.009)
    assert first.forward_headers == second.forward_headers == ("x-a",)
    inherited = Host("http://127.0.0.1:9", Origin.REQUEST, "x-portkey-config custom_host")
    assert first.host == second.host == inherited
    assert first.credential == Credential(Secret("sk-1"), Origin.REQUEST, "x-portkey-config targets[0].api_key")
    assert second.credential == CALLER


def test_headers_beat_the_config_for_every_leaf() -> None:
    first, second = leaves(
        {"custom-host": "http://127.0.0.2", "request-timeout": "10", "forward-headers": "x-b", "provider": "openai"},
        config=tree_of(
            {"provider": "mock", "custom_host": "http://127.0.0.1", "request_timeout": 5, "forward_headers": ["x-c"]},
            {"provider": "mock"},
            forward_headers=["x-a"],
        ),
    )
    for target in (first, second):
        assert target.provider == "mock"
        assert target.host == Host("http://127.0.0.2", Origin.REQUEST, "x-portkey-custom-host")
        assert target.deadlines == Deadlines(first_token=0.01, unary=0.01)
        assert target.forward_headers == ("x-b",)


def test_deadlines_are_the_settings_overlaid() -> None:
    known = Deadlines(connect=1, first_token=2, unary=3, idle=4, client_stall=5, total=6)
    said = {"connect": 10, "idle": 20, "client_stall": 30, "total": 40}
    target = resolve(config={"provider": "mock", "timeouts": said}, deadlines=known)
    assert target.deadlines == Deadlines(connect=0.01, first_token=2, unary=3, idle=0.02, client_stall=0.03, total=0.04)
    assert resolve(config={"provider": "mock"}, deadlines=known).deadlines is known


def test_an_options_header_goes_to_the_leaves_that_know_it() -> None:
    config = tree_of({"provider": "openai"}, {"provider": "mock"}, {"provider": "openai", "openai_organization": "own"})
    targets = leaves({"openai-organization": "o"}, config=config)
    assert [target.options for target in targets] == [
        {"openai_organization": "o"}, {}, {"openai_organization": "o"}
    ]  # fmt: skip


def test_an_options_header_that_fits_no_leaf_is_refused() -> None:
    config = tree_of({"provider": "openai"}, {"provider": "mock"})
    assert refuse_all({"deployment": "d"}, config=config) == {
        "x-portkey-deployment": "is not an option of any of the providers mock, openai"
    }


def test_all_leaves_mistakes_come_at_once() -> None:
    config = tree_of(
        {"virtual_key": "vk-1", "retry": {"attempts": 1}},
        {"provider": "@saved", "name": "x"},
        {"strategy": {"mode": "single"}},
        tree_of({"provider": "openai", "custom_host": "http://127.0.0.1"}, {"provider": "openai"}),
        {"provider": "azure-openai"},
        provider="openai",
    )
    headers = {"resource-name": "EVIL", "deployment": " d "}
    found = refuse_all(headers, config=config, ours={**KEY_OF_OURS, "mock": Own(options={"odd": 1})})
    assert sorted(found) == [
        "targets[0].virtual_key", "targets[1].provider", "targets[2]", "targets[3].targets[0].custom_host",
        "x-portkey-resource-name",
    ]  # fmt: skip
    assert found["targets[0].virtual_key"].startswith("'vk-1' can't be used: there is no vault yet")
    assert "send provider and api_key instead" in found["targets[0].virtual_key"]
    assert found["targets[1].provider"].startswith("'@saved' can't be used")
    assert "must have a provider" in found["targets[2]"]
    assert "x-portkey-config targets[3].targets[0].custom_host" in found["targets[3].targets[0].custom_host"]


def test_one_mistake_of_many_leaves_is_told_once() -> None:
    config = tree_of({"provider": "openai"}, {"provider": "openai"}, custom_host="http://127.0.0.1")
    assert list(refuse_all(config=config, ours=KEY_OF_OURS)) == ["custom_host"]
    assert list(refuse_all({"custom-host": "http://127.1"}, config=config)) == ["x-portkey-custom-host"]


def test_all_options_of_a_leaf_are_checked() -> None:
    headers = {"provider": "azure-openai", "resource-name": "EVIL", "azure-ad-token": "ä"}
    assert sorted(refuse_all(headers)) == ["x-portkey-azure-ad-token", "x-portkey-resource-name"]


@pytest.mark.parametrize("pasted", ["sk-proj-canary", "gsk_canary", "AIzacanary", "can ary", "canary" * 20])
def test_a_key_pasted_as_a_virtual_key_does_not_show(pasted: str) -> None:
    for config in ({"virtual_key": pasted}, {"provider": f"@{pasted}"}):
        assert "this can't be used" in refuse(config=config).replace("can ary", "canary")
    assert "this can't be used" in refuse({"provider": f"@{pasted}"})


def test_the_provider_header_is_no_help_for_a_saved_key_or_an_inner_leaf() -> None:
    assert list(refuse_all({"provider": "openai"}, config={"virtual_key": "vk"})) == ["virtual_key"]
    assert list(refuse_all({"provider": "openai"}, config={"provider": "@vk"})) == ["provider"]
    assert list(refuse_all({"provider": "openai"}, config=tree_of({"strategy": {"mode": "single"}}))) == ["targets[0]"]


def test_inner_leaves_keep_our_keys_from_their_hosts() -> None:
    fine = tree_of(
        {"provider": "openai"}, {"provider": "openai", "api_key": "sk-own", "custom_host": "http://127.0.0.1"}
    )
    first, second = leaves(config=fine, ours=KEY_OF_OURS)
    assert first.credential is not None
    assert (first.credential.origin, first.guarded) == (Origin.OURS, False)
    assert second.credential is not None
    assert (second.credential.origin, second.guarded) == (Origin.REQUEST, True)
    inherited = {"mode": "fallback"}
    default = {
        "strategy": inherited,
        "targets": [{**DEFAULT_KEY, "custom_host": "http://10.0.0.1"}, {"provider": "mock"}],
    }
    assert "targets[0].api_key" in refuse({"custom-host": "http://127.0.0.1"}, default=default)


def test_a_default_that_nobody_can_use_is_found_before_it_is_used() -> None:
    check_default(parse_default({"provider": "openai"}))
    for config, path in (
        ({"virtual_key": "vk"}, "virtual_key"),
        ({"override_params": {"model": "m"}}, "provider"),
        (tree_of({"provider": "openai"}, {"strategy": {"mode": "single"}}), "targets[1]"),
    ):
        with pytest.raises(ConfigError) as caught:
            check_default(parse_default(config))
        assert caught.value.path == path


def test_leaves_are_checked_without_a_call() -> None:
    def check(config: Any, ours: Mapping[str, Own] | None = None) -> None:
        text = json.dumps(config)
        parsed = parse_config(text, origin=Origin.REQUEST, source="x-portkey-config", options=OPTIONS)
        check_leaves(parsed, cast(Mapping[str, Provider], PROVIDERS), ours or {})

    check(tree_of({"virtual_key": "vk"}, {"strategy": {"mode": "single"}}, {"provider": "openai"}))
    check({"override_params": {"model": "m"}})  # a header may complete it
    inherited = tree_of({"provider": "openai"}, {"virtual_key": "vk"}, custom_host="http://127.0.0.1")
    check(inherited)
    with pytest.raises(ConfigError) as caught:
        check(inherited, KEY_OF_OURS)
    assert caught.value.path == "custom_host"


# ---------------------------------------------------------------- circuits

CIRCUIT = {"strategy": {"mode": "single", "cb_config": {"failure_threshold": 3}}}


def key_of(config: Any, headers: Any = None, **kwargs: Any) -> bytes:
    return resolve(headers, config={**config, **CIRCUIT}, **kwargs).circuit_key


def test_the_nearest_strategys_circuit_goes_to_every_leaf_below() -> None:
    inner = tree_of({"provider": "mock"}, strategy={"cb_config": {"failure_threshold": 2}})
    outer = tree_of({"provider": "mock"}, inner, strategy={"cb_config": {"failure_threshold": 1}})
    tree = branch(config=outer)
    first, nested = tree.children
    assert isinstance(first, Target)
    assert isinstance(nested, Branch)
    (second,) = nested.children
    assert isinstance(second, Target)
    assert (first.circuit and first.circuit.failures, second.circuit and second.circuit.failures) == (1, 2)
    assert first.circuit_key == second.circuit_key != b""  # the same upstream
    plain = resolve(config={"provider": "mock"})
    assert (plain.circuit, plain.circuit_key) == (None, b"")


def test_a_circuit_is_that_of_one_upstream() -> None:
    base = {"provider": "openai", "api_key": "k", "custom_host": "http://127.0.0.1", "override_params": {"model": "m"}}
    keys = [
        key_of(base),
        key_of({**base, "provider": "mock"}),
        key_of({**base, "api_key": "l"}),
        key_of({**base, "custom_host": "http://127.0.0.2"}),
        key_of({**base, "override_params": {"model": "n"}}),
        key_of({**base, "override_params": {}}),
        key_of({**base, "openai_organization": "o"}),
        key_of({key: value for key, value in base.items() if key != "api_key"}),
        key_of({key: value for key, value in base.items() if key != "api_key"}, caller=None),
    ]
    assert len(set(keys)) == len(keys)
    assert all(len(key) == 32 for key in keys)
    same = {**base, "name": "x", "override_params": {"model": "m", "n": 1}, "retry": {"attempts": 1}, "weight": 3}
    assert key_of(same) == keys[0]
    assert key_of(base, {"request-timeout": "5"}) == keys[0]


def test_settings_that_name_the_providers_own_url_are_the_same_upstream() -> None:
    ours = {"openai": Own(base_url="https://openai.example/v1")}
    assert key_of({"provider": "openai"}) == key_of({"provider": "openai"}, ours=ours)
