"""One leaf of a config and the headers and settings around it to a `Target`: which provider, which host, whose key.

A credential of ours goes only to a host of ours. Whatever the way in which a host from the request and a credential
from the settings meet in one target, the call is refused and the message names both.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import msgspec

from aiogateway.config.fields import read_option, read_option_text, read_text
from aiogateway.config.headers import CallHeaders
from aiogateway.config.hosts import parse_base_url
from aiogateway.config.inherit import Leaf, find_source
from aiogateway.config.mistakes import join_errors
from aiogateway.config.model import Config
from aiogateway.config.nodes import describe_unknown_provider
from aiogateway.config.section import join_path
from aiogateway.contracts import Provider
from aiogateway.errors import ConfigError
from aiogateway.types import Credential, Deadlines, Host, Option, Origin, Recovery, Retry, Secret, Target

# Where clients put a provider credential. It travels as the target's credential or not at all.
_CREDENTIAL_HEADERS = frozenset(("authorization", "api-key", "x-api-key", "x-goog-api-key"))
_SLUG = re.compile(r"(?!(?:sk|gsk|xai|pk)[-_]|AIza|AKIA)[A-Za-z0-9._-]{1,64}")  # anything else may be a pasted key


class OwnProvider(Protocol):
    """What the settings say about a provider."""

    @property
    def api_key(self) -> Secret | None: ...

    @property
    def base_url(self) -> str | None: ...

    @property
    def options(self) -> Mapping[str, Any]: ...


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What a leaf is resolved against.

    `ours` holds the settings' word on providers, `caller` the credential in the request's own headers.
    """

    headers: CallHeaders
    providers: Mapping[str, Provider]
    ours: Mapping[str, OwnProvider]
    caller: Credential | None
    deadlines: Deadlines


class _Choice(msgspec.Struct, frozen=True):
    """An option's value and who chose it; `path` is where, for errors, `source` for people."""

    value: Any
    origin: Origin
    source: str
    path: str


class _Place(msgspec.Struct, frozen=True):
    """A host that a target was given; `path` is the field or header that gave it."""

    host: Host
    path: str


def resolve_leaf(leaf: Leaf, around: Surroundings) -> Target:
    """One target. Raises ConfigError for a leaf that can't be used, whatever its siblings are."""
    config = leaf.config
    name, provider = _choose_provider(config, around)
    own = around.ours.get(name)
    choices = _choose_options(config, around.headers, name, provider.options, own)
    place = _choose_host(leaf, around.headers, name, own)
    credential = _choose_credential(config, name, own, around.caller)
    _keep_apart(credential, place, choices, provider.options)
    host = place.host if place is not None else None
    options = {option: choice.value for option, choice in choices.items()}
    key = b""
    if leaf.circuit is not None:
        base = host.url if host is not None else str(getattr(provider, "base_url", ""))  # most providers have one
        key = make_circuit_key(name, base, options, credential, config.override_params.get("model"))
    return Target(
        path=make_address(config),
        provider=name,
        name=config.name,
        credential=credential,
        host=host,
        options=options,
        override_params=config.override_params,
        forward_headers=_choose_forwarded(config, around.headers, credential),
        deadlines=_choose_deadlines(config, around),
        guarded=_from_request(place, choices, provider.options) is not None,
        retry=config.retry or Retry(),
        cache=config.cache,
        recovery=config.recovery if isinstance(config.recovery, Recovery) else None,
        strict=config.strict is True,
        circuit=leaf.circuit,
        circuit_key=key,
        trace_id=config.trace_id,
        metadata=config.metadata,
    )


def make_address(config: Config) -> str:
    """A node's address as ``x-portkey-last-used-option-index`` says it: ``config.targets[1]``."""
    return f"config.{config.path}" if config.path else "config"


# ---------------------------------------------------------------- which provider


def needs_vault(config: Config) -> str | None:
    """The field of a leaf that names a saved key, as long as there is no place where any are saved."""
    if config.virtual_key is not None:
        return "virtual_key"
    return "provider" if config.provider is not None and config.provider.startswith("@") else None


def show_slug(slug: str, *, hidden: str = "this") -> str:
    """A saved key's name for people; `hidden` in place of what looks like a key itself."""
    return repr(slug) if _SLUG.fullmatch(slug.removeprefix("@")) else hidden


def describe_no_vault(config: Config, field: str) -> str:
    """What to say about a leaf that names a saved key."""
    slug = show_slug(getattr(config, field))
    return f"{slug} can't be used: there is no vault yet that keeps keys; send provider and api_key instead"


def find_gap(config: Config) -> ConfigError | None:
    """Why a leaf has no provider by itself, if it has none."""
    field = needs_vault(config)
    if field is not None:
        return ConfigError(describe_no_vault(config, field), path=join_path(config.path, field))
    if config.provider is not None:
        return None
    if config.path:
        return ConfigError(
            "must have a provider (with its api_key, unless the settings or the caller bring one), or targets of its "
            "own; what stands above it is not inherited",
            path=config.path,
        )
    return ConfigError(
        f'{config.source} names no provider: add "provider" to it or send x-portkey-provider', path="provider"
    )


def _choose_provider(config: Config, around: Surroundings) -> tuple[str, Provider]:
    gap = find_gap(config)
    if gap is None:
        name, path = config.provider or "", join_path(config.path, "provider")
    elif gap.path == "provider" and config.provider is None and around.headers.provider is not None:
        path = around.headers.name_of("provider")
        name = _read_provider_header(around.headers.provider, path)
    else:
        raise gap
    if name not in around.providers:
        raise ConfigError(describe_unknown_provider(name, around.providers), path=path)
    return name, around.providers[name]


def _read_provider_header(value: str, path: str) -> str:
    name = read_text(value, path)
    if name.startswith("@"):
        raise ConfigError(
            f"{show_slug(name)} can't be used: there is no vault yet that keeps keys; send a provider's name, and your "
            "key for it in Authorization",
            path=path,
        )
    return name


# ---------------------------------------------------------------- which values


def _choose_options(
    config: Config, headers: CallHeaders, name: str, known: Mapping[str, Option], own: OwnProvider | None
) -> dict[str, _Choice]:
    chosen: dict[str, _Choice] = {}
    errors: list[ConfigError] = []
    for option, said, read in _list_options(config, headers, name, known, own):
        try:
            value = read(said.value, _find_option(option, known, name, said.path), said.path)
        except ConfigError as error:
            errors.append(error)
        else:
            chosen[option] = msgspec.structs.replace(said, value=value)
    if errors:
        raise join_errors(errors)
    return chosen


def _list_options(
    config: Config, headers: CallHeaders, name: str, known: Mapping[str, Option], own: OwnProvider | None
) -> Iterator[tuple[str, _Choice, Callable[[Any, Option, str], Any]]]:
    """Everyone's word on options, the stronger later, each with what reads its value."""
    for option, value in (own.options if own else {}).items():
        path = f"providers.{name}.options.{option}"
        yield option, _Choice(value, Origin.OURS, path, path), read_option
    for option, value in config.options.items():
        path = join_path(config.path, option)
        yield option, _Choice(value, config.origin, f"{config.source} {path}", path), _keep
    for option, text in headers.options.items():
        if option in known:  # else it is another leaf's
            path = headers.name_of(option.replace("_", "-"))
            yield option, _Choice(text, Origin.REQUEST, path, path), read_option_text


def _keep(value: Any, option: Option, path: str) -> Any:
    return value  # parsing has read it


def _find_option(option: str, known: Mapping[str, Option], provider: str, path: str) -> Option:
    if option not in known:
        raise ConfigError(f"is not an option of the provider {provider}", path=path)
    return known[option]


def _choose_host(leaf: Leaf, headers: CallHeaders, name: str, own: OwnProvider | None) -> _Place | None:
    if headers.custom_host is not None:
        path = headers.name_of("custom-host")
        return _Place(Host(parse_base_url(headers.custom_host, path=path), Origin.REQUEST, path), path)
    config = leaf.config
    if config.custom_host is not None:
        path = join_path((find_source(leaf, "custom_host") or config).path, "custom_host")
        return _Place(Host(config.custom_host, config.origin, f"{config.source} {path}"), path)
    if own is not None and own.base_url is not None:
        path = f"providers.{name}.base_url"
        return _Place(Host(own.base_url, Origin.OURS, path), path)
    return None


def _choose_credential(
    config: Config, name: str, own: OwnProvider | None, caller: Credential | None
) -> Credential | None:
    if config.api_key is not None:
        return Credential(config.api_key, config.origin, f"{config.source} {join_path(config.path, 'api_key')}")
    if own is not None and own.api_key is not None:
        return Credential(own.api_key, Origin.OURS, f"providers.{name}.api_key")
    return caller


def _choose_deadlines(config: Config, around: Surroundings) -> Deadlines:
    said = dict(config.timeouts)
    if around.headers.request_timeout is not None:
        said["first_token"] = around.headers.request_timeout
    if not said:
        return around.deadlines
    if "first_token" in said:  # said by somebody, it is what an unary answer is waited for too
        said["unary"] = said["first_token"]
    return msgspec.structs.replace(around.deadlines, **{name: value / 1000 for name, value in said.items()})


def _choose_forwarded(config: Config, headers: CallHeaders, credential: Credential | None) -> tuple[str, ...]:
    names = headers.forward_headers if headers.forward_headers is not None else config.forward_headers or ()
    if credential is None:
        return names
    return tuple(name for name in names if name not in _CREDENTIAL_HEADERS)


# ---------------------------------------------------------------- whose host, whose key


def _from_request(
    place: _Place | None, choices: Mapping[str, _Choice], known: Mapping[str, Option]
) -> tuple[str, str] | None:
    """The source and the path of a host, or of a part of one, that the request chose."""
    if place is not None and place.host.origin is Origin.REQUEST:
        return place.host.source, place.path
    for option, choice in choices.items():
        if choice.origin is Origin.REQUEST and known[option].host:
            return choice.source, choice.path
    return None


def _keep_apart(
    credential: Credential | None, place: _Place | None, choices: Mapping[str, _Choice], known: Mapping[str, Option]
) -> None:
    theirs = _from_request(place, choices, known)
    if theirs is None:
        return
    secrets = [choice.source for name, choice in choices.items() if known[name].secret and choice.origin is Origin.OURS]
    if credential is not None and credential.origin is Origin.OURS:
        secrets.insert(0, credential.source)
    if secrets:
        source, path = theirs
        raise ConfigError(
            f"the credential of {secrets[0]} is ours and never goes to a host from {source}: send an api_key of your "
            "own in the config, or leave the host to the settings",
            path=path,
        )


def make_circuit_key(
    provider: str, base: str, options: Mapping[str, Any], credential: Credential | None, model: str | None
) -> bytes:
    """SHA-256 over what makes two targets one upstream. Every part has its length before it, so that no two meet."""
    parts = [provider, base, credential.secret.reveal() if credential is not None else None, model]
    for name in sorted(options):
        value = options[name]
        parts += [name, repr(value.reveal() if isinstance(value, Secret) else value)]
    digest = hashlib.sha256()
    for part in parts:
        raw = b"" if part is None else part.encode("utf-8", "surrogatepass")
        digest.update(b"-" if part is None else b"%d:%b" % (len(raw), raw))
    return digest.digest()
