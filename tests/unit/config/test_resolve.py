from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

import msgspec
import pytest

from aiogateway.config.headers import read_call_headers
from aiogateway.config.model import Config
from aiogateway.config.parse import ConfigCache, parse_config
from aiogateway.config.resolve import names_target, resolve_target
from aiogateway.contracts import Provider
from aiogateway.errors import ConfigError
from aiogateway.types import Credential, Deadlines, Host, Option, Origin, Secret, Target


class Named(msgspec.Struct, frozen=True):
    """The part of a provider that resolving looks at."""

    name: str
    options: Mapping[str, Option] = {}


class Own(msgspec.Struct, frozen=True, kw_only=True):
    api_key: Secret | None = None
    base_url: str | None = None
    options: Mapping[str, Any] = {}


PROVIDERS = {
    "openai": Named("openai", {"openai_organization": Option()}),
    "mock": Named("mock"),
    "azure-openai": Named(
        "azure-openai",
        {"resource_name": Option(host=True), "azure_ad_token": Option(secret=True), "deployment": Option()},
    ),
}
OPTIONS = {name: provider.options for name, provider in PROVIDERS.items()}
CALLER = Credential(Secret("sk-caller"), Origin.REQUEST, "authorization")


def resolve(
    headers: Mapping[str, str] | None = None,
    *,
    config: Any = None,
    default: Any = None,
    ours: Mapping[str, Own] | None = None,
    caller: Credential | None = CALLER,
) -> Target:
    pairs = [(f"x-portkey-{name}", value) for name, value in (headers or {}).items()]
    if config is not None:
        pairs.append(("x-portkey-config", json.dumps(config)))
    names = frozenset(name for options in OPTIONS.values() for name in options)
    return resolve_target(
        read_call_headers(pairs, names, new_id=lambda: "t"),
        configs=ConfigCache(OPTIONS),
        default=None if default is None else parse_default(default),
        providers=cast(Mapping[str, Provider], PROVIDERS),
        ours=ours or {},
        caller=caller,
        deadlines=Deadlines(),
    )


def parse_default(config: Any) -> Config:
    return parse_config(json.dumps(config), origin=Origin.OURS, source="default_config", options=OPTIONS)


def refuse(*args: Any, **kwargs: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        resolve(*args, **kwargs)
    assert "canary" not in str(caught.value)
    return str(caught.value)


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
    assert "not available yet" in refuse({"provider": "@saved"})


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
            {"headers": {"azure-resource": "", "resource-name": "theirs"}, "default": DEFAULT_AZURE},
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
