"""Whose AWS identity a target has, from its options: values only, nothing is fetched here.

The rules, in order: a Bedrock API key where ``aws_auth_type`` is apiKey; keys in the target; the machine's own
credentials, where the settings allow it and nothing of the host came from the request; an API key.

What is the operator's never serves a caller further than the operator said: `Ours` holds the operator's own word, and a
role that the caller names is assumed with the caller's keys or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from aiogateway.errors import RequestError
from aiogateway.types import Credential, Option, Origin, Secret, Target, UpstreamRequest

DEFAULT_REGION = "us-east-1"

OPTIONS: Mapping[str, Option] = {
    "aws_access_key_id": Option(),
    "aws_secret_access_key": Option(secret=True),
    "aws_session_token": Option(secret=True),
    "aws_region": Option(host=True),
    "aws_role_arn": Option(),
    "aws_external_id": Option(),
    "aws_auth_type": Option(),
    "aws_default_chain": Option(kind=bool),
}
"""Portkey's names (portkey.md, section 3.2), and ours for the machine's own credentials."""

_AUTH_TYPES = ("apiKey", "assumedRole")
_KEY_MARKS = ("ABSK", "bedrock-api-key-")  # how long-term and short-term Bedrock API keys begin


class Keys(msgspec.Struct, frozen=True):
    """An access key; `token` goes with one that is temporary."""

    id: str
    secret: Secret
    token: Secret | None = None


class Role(msgspec.Struct, frozen=True):
    """A role to assume."""

    arn: str
    external_id: str | None = None


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """How a request is signed. Without `keys` the machine's own are meant, if `machine`; else the target's credential
    is a bearer, or the machine's bearer where `machine` says so.
    """

    region: str
    bearer: bool = False
    machine: bool = False
    keys: Keys | None = None
    role: Role | None = None


class SignedRequest(UpstreamRequest, frozen=True, kw_only=True):
    """A request before its signature, with what it takes to sign it."""

    identity: Identity


class Ours(msgspec.Struct, frozen=True):
    """What the operator wrote; nothing until the gateway has started.

    `machine`: whether the machine's own credentials may be used. `named` holds each option's values.
    """

    machine: bool = False
    named: Mapping[str, frozenset[str]] = {}

    def owns(self, name: str, value: Any) -> bool:
        """Whether an option's value is one that the operator gave, and not the caller."""
        return _plain(value) in self.named.get(name, ())

    def __repr__(self) -> str:  # some of it is secret
        return f"Ours(machine={self.machine}, named={sorted(self.named)})"


def read_ours(options: Mapping[str, Any], config: Mapping[str, Any] | None = None) -> Ours:
    """The settings' options of the provider, and the default config, in which every target may have its own."""
    named: dict[str, set[str]] = {}
    waiting: list[Any] = [options, config]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping):
            for name, item in value.items():
                if name in OPTIONS and isinstance(item, str):
                    named.setdefault(name, set()).add(_plain(item))
                else:
                    waiting.append(item)
        elif isinstance(value, list | tuple):
            waiting += value
    return Ours(options.get("aws_default_chain") is True, {name: frozenset(values) for name, values in named.items()})


def find_identity(target: Target, ours: Ours) -> Identity:
    """Raises RequestError for a target that has none, or one that it may not use."""
    options = target.options
    kind = options.get("aws_auth_type")
    if kind is not None and kind not in _AUTH_TYPES:
        raise RequestError(f"aws_auth_type must be one of {', '.join(_AUTH_TYPES)}", param="aws_auth_type")
    region = options.get("aws_region") or DEFAULT_REGION
    machine = ours.machine and options.get("aws_default_chain") is not False
    if kind == "apiKey":
        return _find_bearer(target, region, machine=machine)
    keys = _read_keys(options, ours)
    if keys is None and kind is None and _is_api_key(target.credential, machine=machine):
        return Identity(region=region, bearer=True)
    if keys is None:
        _check_machine(target, machine=machine)
    role = _find_role(options, ours, owned=keys is None or ours.owns("aws_secret_access_key", keys.secret))
    if kind == "assumedRole" and role is None:
        raise RequestError("aws_auth_type assumedRole needs aws_role_arn", param="aws_role_arn")
    return Identity(region=region, machine=keys is None, keys=keys, role=role)


def _find_bearer(target: Target, region: str, *, machine: bool) -> Identity:
    if target.credential is not None:
        return Identity(region=region, bearer=True)
    if not machine:
        raise RequestError("aws_auth_type apiKey needs a Bedrock API key as api_key", param="api_key")
    _check_machine(target, machine=machine)
    return Identity(region=region, bearer=True, machine=True)


def _is_api_key(credential: Credential | None, *, machine: bool) -> bool:
    """Whether the credential is to be sent. Clients that need none often send a dummy, which must not keep the
    machine's own credentials from being used; a key that looks like one of Bedrock's is meant.
    """
    if credential is None:
        return False
    ours = credential.origin is Origin.OURS
    return ours or not machine or credential.secret.reveal().startswith(_KEY_MARKS)


def _check_machine(target: Target, *, machine: bool) -> None:
    if not machine:
        raise RequestError(
            "bedrock needs credentials: aws_access_key_id and aws_secret_access_key, or a Bedrock API key as api_key; "
            "the machine's own are used only where the settings say providers.bedrock.options.aws_default_chain",
            param="aws_access_key_id",
        )
    if target.guarded:
        raise RequestError(
            "the machine's own AWS credentials never go to a host or a region from the request: leave it to the "
            "settings, or send credentials of your own",
            param="aws_access_key_id",
        )


def _read_keys(options: Mapping[str, Any], ours: Ours) -> Keys | None:
    key, secret = options.get("aws_access_key_id"), options.get("aws_secret_access_key")
    token = options.get("aws_session_token")
    if key is None and secret is None:
        return None
    if key is None or secret is None:
        missing = "aws_access_key_id" if key is None else "aws_secret_access_key"
        raise RequestError(f"{missing} is missing: an access key has both parts", param=missing)
    if ours.owns("aws_session_token", token) and not ours.owns("aws_secret_access_key", secret):
        token = None  # it belongs to the settings' key, which is not this one
    return Keys(key, secret, token)


def _find_role(options: Mapping[str, Any], ours: Ours, *, owned: bool) -> Role | None:
    """`owned`: the keys that would assume it are the operator's."""
    arn = options.get("aws_role_arn")
    if arn is None:
        return None
    if owned != ours.owns("aws_role_arn", arn):
        if not owned:
            return None  # the settings' role is for the settings' keys
        raise RequestError(
            "the gateway's own AWS credentials assume no role that a request names: put aws_role_arn into "
            "providers.bedrock.options, or send keys of your own",
            param="aws_role_arn",
        )
    return Role(arn, options.get("aws_external_id"))


def _plain(value: Any) -> Any:
    value = value.reveal() if isinstance(value, Secret) else value
    return value.strip() if isinstance(value, str) else value
