"""Flags over environment over file over defaults, read once into frozen `Settings`. The only reader of os.environ."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiogateway.config.hosts import AddressPolicy, parse_base_url
from aiogateway.errors import ConfigError, SettingsError
from aiogateway.settings.model import (
    PluginSettings,
    ProviderSettings,
    ProxySettings,
    Settings,
    choose_data_dir,
    is_loopback,
)
from aiogateway.settings.schema import LEAVES, SettingRow, describe_settings, read_leaf
from aiogateway.settings.sources import FILE_VARIABLE, Found, read_environment, read_file, read_flags
from aiogateway.types import Deadlines, Secret

__all__ = [
    "PluginSettings",
    "ProviderSettings",
    "ProxySettings",
    "SettingRow",
    "Settings",
    "check_settings",
    "describe_settings",
    "is_loopback",
    "load_plugin_settings",
    "load_settings",
]

_ORIGIN = re.compile(r"https?://[a-z0-9._-]+(:[0-9]+)?|https?://\[[0-9a-f:.]+\](:[0-9]+)?")
_HOST_NAME = re.compile(r"[A-Za-z0-9._-]+|\[?[0-9A-Fa-f:.]+\]?")


def load_settings(
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    file: str | Path | None = None,
) -> Settings:
    """Reads all sources; `environ` defaults to the process's, `file` to ``AIOGATEWAY_CONFIG``.

    Raises SettingsError with the setting's path, its value unless that is secret, and what is allowed.
    """
    environ = os.environ if environ is None else environ
    file = file or environ.get(FILE_VARIABLE) or None
    found: Found = read_file(Path(file).expanduser(), environ) if file else {}
    found |= read_environment(environ)
    found |= read_flags(flags or {})
    values: dict[str, Any] = {
        "data_dir": choose_data_dir(environ),
        "ca_file": environ.get("SSL_CERT_FILE") or None,
        "proxy": _read_proxy(environ),
    }
    parts: dict[tuple[str, ...], dict[str, Any]] = {}
    for place, given in found.items():
        value = read_leaf(given.leaf, given.raw, ".".join(place), given.source)
        if len(place) == 1:
            values[place[0]] = value
        else:
            parts.setdefault(place[:-1], {})[place[-1]] = value
    settings = Settings(
        **values,
        deadlines=Deadlines(**parts.pop(("deadlines",), {})),
        plugins=PluginSettings(**parts.pop(("plugins",), {})),
        providers={name: ProviderSettings(**part) for (_, name), part in parts.items()},
    )
    check_settings(settings)
    return settings


def load_plugin_settings(environ: Mapping[str, str] | None = None) -> PluginSettings:
    """Which plugins the environment allows: all that is known before a command has read its settings file."""
    environ = os.environ if environ is None else environ
    given: dict[str, tuple[str, ...]] = {}
    for name in ("load", "allow"):
        leaf = LEAVES["plugins", name]
        if leaf.env_name in environ:
            given[name] = read_leaf(leaf, environ[leaf.env_name], f"plugins.{name}", f"from {leaf.env_name}")
    return PluginSettings(**given)


def check_settings(settings: Settings) -> None:
    """What no single value shows: raises SettingsError for settings that can't be served together."""
    if not settings.loopback and not settings.allow_open:
        raise SettingsError(
            f"{settings.host!r} can be reached from other machines, and no key is asked for: listen on 127.0.0.1, "
            "or set allow_open (--allow-open)",
            path="host",
        )
    _check_hosts(settings)
    for name, provider in settings.providers.items():
        if provider.base_url is not None:
            _check_base_url(provider.base_url, f"providers.{name}.base_url")
    if settings.ca_file is not None and not Path(settings.ca_file).is_file():
        raise SettingsError(f"no such file: {settings.ca_file}", path="ca_file")


def _check_hosts(settings: Settings) -> None:
    for index, host in enumerate(settings.allowed_hosts):
        if not _HOST_NAME.fullmatch(host):
            raise SettingsError(
                f"must be a host name without scheme and port, got {host!r}", path=f"allowed_hosts[{index}]"
            )
    for index, origin in enumerate(settings.cors_origins):
        if not _ORIGIN.fullmatch(origin):
            raise SettingsError(f"must be like https://app.example:8443, got {origin!r}", path=f"cors_origins[{index}]")
    for index, trusted in enumerate(settings.trusted_hosts):
        try:
            AddressPolicy(loopback=False, trusted=(trusted,))
        except ValueError as error:
            raise SettingsError(str(error), path=f"trusted_hosts[{index}]") from None


def _check_base_url(url: str, path: str) -> None:
    try:
        parse_base_url(url, path=path)
    except ConfigError as error:
        shown = "" if "@" in url else f", got {url!r}"  # what stands before an @ may be a password
        raise SettingsError(f"{error.reason}{shown}", path=path) from None


def _read_proxy(environ: Mapping[str, str]) -> ProxySettings:
    url = environ.get("https_proxy") or environ.get("HTTPS_PROXY")
    direct = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    return ProxySettings(
        https=Secret(url) if url else None,
        no_proxy=tuple(entry.strip() for entry in direct.split(",") if entry.strip()),
    )
