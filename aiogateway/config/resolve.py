"""Headers, config and settings to one `Target`: which provider, which host, whose credential.

A credential of ours goes only to a host of ours. Whatever the way in which a host from the request and a credential
from the settings meet in one target, the call is refused and the message names both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from aiogateway.config.fields import read_option, read_option_text, read_text
from aiogateway.config.headers import CallHeaders
from aiogateway.config.hosts import parse_base_url
from aiogateway.config.model import Config
from aiogateway.config.parse import ConfigCache, describe_unknown_provider
from aiogateway.contracts import Provider
from aiogateway.errors import ConfigError
from aiogateway.types import Credential, Deadlines, Host, Option, Origin, Secret, Target

_NOTHING = Config(source="", origin=Origin.REQUEST)
# Where clients put a provider credential. It travels as the target's credential or not at all.
_CREDENTIAL_HEADERS = frozenset(("authorization", "api-key", "x-api-key", "x-goog-api-key"))


class OwnProvider(Protocol):
    """What the settings say about a provider."""

    @property
    def api_key(self) -> Secret | None: ...

    @property
    def base_url(self) -> str | None: ...

    @property
    def options(self) -> Mapping[str, Any]: ...


class _Choice(msgspec.Struct, frozen=True):
    """An option's value and who chose it."""

    value: Any
    origin: Origin
    source: str


def resolve_target(
    headers: CallHeaders,
    *,
    configs: ConfigCache,
    default: Config | None,
    providers: Mapping[str, Provider],
    ours: Mapping[str, OwnProvider],
    caller: Credential | None,
    deadlines: Deadlines,
) -> Target:
    """The target that a call names, or that `default` names for callers that can't set headers.

    `ours` holds the settings' word on providers, `caller` the credential in the request's own headers. Raises
    ConfigError when there is no target, or none that may be used.
    """
    config = _choose_config(headers, configs, default)
    name, provider = _choose_provider(headers, config, providers)
    own = ours.get(name)
    choices = _choose_options(headers, config, name, provider.options, own)
    host = _choose_host(headers, config, name, own)
    credential = _choose_credential(config, name, own, caller)
    _keep_apart(credential, host, choices, provider.options)
    timeout = headers.request_timeout or config.request_timeout
    if timeout is not None:
        deadlines = msgspec.structs.replace(deadlines, first_token=timeout / 1000, unary=timeout / 1000)
    return Target(
        path="config",
        provider=name,
        credential=credential,
        host=host,
        options={option: choice.value for option, choice in choices.items()},
        override_params=config.override_params,
        forward_headers=_choose_forwarded(headers, config, credential),
        deadlines=deadlines,
        guarded=_from_request(host, choices, provider.options) is not None,
    )


def names_target(headers: CallHeaders) -> bool:
    """Whether the request itself says where it goes."""
    return headers.config is not None or headers.provider is not None


def _choose_config(headers: CallHeaders, configs: ConfigCache, default: Config | None) -> Config:
    if headers.config is not None:
        return configs.parse(headers.config, origin=Origin.REQUEST, source=headers.name_of("config"))
    if headers.provider is not None:
        return _NOTHING
    if default is None:
        raise ConfigError(
            "no target: send x-portkey-config (a JSON config) or x-portkey-provider (a provider's name, with your key "
            "for it in Authorization)"
        )
    return default


def _choose_provider(headers: CallHeaders, config: Config, providers: Mapping[str, Provider]) -> tuple[str, Provider]:
    name, path = config.provider, f"{config.source}.provider"
    if name is None:
        if headers.provider is None:
            raise ConfigError(
                f'{config.source} names no provider: add "provider" to it or send x-portkey-provider',
                path="provider",
            )
        path = headers.name_of("provider")
        name = read_text(headers.provider, path)
        if name.startswith("@"):
            raise ConfigError(f"saved providers are not available yet, so {name!r} can't be looked up", path=path)
    if name not in providers:
        raise ConfigError(describe_unknown_provider(name, providers), path=path)
    return name, providers[name]


def _choose_options(
    headers: CallHeaders, config: Config, name: str, known: Mapping[str, Option], own: OwnProvider | None
) -> dict[str, _Choice]:
    chosen: dict[str, _Choice] = {}
    for option, value in (own.options if own else {}).items():
        path = f"providers.{name}.options.{option}"
        chosen[option] = _Choice(read_option(value, _find_option(option, known, name, path), path), Origin.OURS, path)
    for option, value in config.options.items():
        path = f"{config.source} {option}"
        _find_option(option, known, name, path)
        chosen[option] = _Choice(value, config.origin, path)
    for option, text in headers.options.items():
        path = headers.name_of(option.replace("_", "-"))
        value = read_option_text(text, _find_option(option, known, name, path), path)
        chosen[option] = _Choice(value, Origin.REQUEST, path)
    return chosen


def _find_option(option: str, known: Mapping[str, Option], provider: str, path: str) -> Option:
    if option not in known:
        raise ConfigError(f"is not an option of the provider {provider}", path=path)
    return known[option]


def _choose_host(headers: CallHeaders, config: Config, name: str, own: OwnProvider | None) -> Host | None:
    if headers.custom_host is not None:
        path = headers.name_of("custom-host")
        return Host(parse_base_url(headers.custom_host, path=path), Origin.REQUEST, path)
    if config.custom_host is not None:
        return Host(config.custom_host, config.origin, f"{config.source} custom_host")
    if own is not None and own.base_url is not None:
        return Host(own.base_url, Origin.OURS, f"providers.{name}.base_url")
    return None


def _choose_credential(
    config: Config, name: str, own: OwnProvider | None, caller: Credential | None
) -> Credential | None:
    if config.api_key is not None:
        return Credential(config.api_key, config.origin, f"{config.source} api_key")
    if own is not None and own.api_key is not None:
        return Credential(own.api_key, Origin.OURS, f"providers.{name}.api_key")
    return caller


def _from_request(host: Host | None, choices: Mapping[str, _Choice], known: Mapping[str, Option]) -> str | None:
    """The source of a host, or of a part of one, that the request chose."""
    if host is not None and host.origin is Origin.REQUEST:
        return host.source
    for option, choice in choices.items():
        if choice.origin is Origin.REQUEST and known[option].host:
            return choice.source
    return None


def _keep_apart(
    credential: Credential | None, host: Host | None, choices: Mapping[str, _Choice], known: Mapping[str, Option]
) -> None:
    theirs = _from_request(host, choices, known)
    if theirs is None:
        return
    secrets = [choice.source for name, choice in choices.items() if known[name].secret and choice.origin is Origin.OURS]
    if credential is not None and credential.origin is Origin.OURS:
        secrets.insert(0, credential.source)
    if secrets:
        raise ConfigError(
            f"the credential of {secrets[0]} is ours and never goes to a host from {theirs}: send an api_key of your "
            f"own in the config, or leave the host to the settings",
            path=theirs,
        )


def _choose_forwarded(headers: CallHeaders, config: Config, credential: Credential | None) -> tuple[str, ...]:
    names = headers.forward_headers if headers.forward_headers is not None else config.forward_headers or ()
    if credential is None:
        return names
    return tuple(name for name in names if name not in _CREDENTIAL_HEADERS)
