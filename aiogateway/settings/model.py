"""What can be set, with its default, its bounds and its meaning: the one place that documents each setting."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from aiogateway.types import Deadlines, Secret

KIB = 1024
MIB = 1024 * KIB
_WEEK = 604_800.0

Size = Annotated[int, Meta(ge=1, extra={"size": True})]
Seconds = Annotated[float, Meta(gt=0, le=_WEEK)]
LogLevel = Literal["debug", "info", "warning", "error"]


def choose_data_dir(environ: Mapping[str, str]) -> Path:
    """Where the XDG base directory specification puts a program's data."""
    base = environ.get("XDG_DATA_HOME") or ""
    folder = Path(base) if base.startswith("/") else Path(environ.get("HOME") or "~").expanduser() / ".local" / "share"
    return folder / "aiogateway"


def _default_data_dir() -> Path:
    return choose_data_dir(os.environ)


class ProviderSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Our own word on one provider."""

    api_key: Annotated[Secret | None, Meta(description="Our credential; it only ever goes to a host of ours.")] = None
    base_url: Annotated[str | None, Meta(description="Base URL instead of the provider's own.")] = None
    options: Annotated[dict[str, Any], Meta(description="The provider's own options, by name.")] = {}

    def __repr__(self) -> str:  # an option may be a credential
        return f"ProviderSettings(api_key={self.api_key}, base_url={self.base_url!r}, options={sorted(self.options)})"


class PluginSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Which installed plugins are used."""

    load: Annotated[
        tuple[str, ...] | None,
        Meta(description="The only installed plugins to load, by entry point or distribution; all when unset."),
    ] = None
    allow: Annotated[
        tuple[str, ...] | None,
        Meta(description="The only installed plugins that may load, by entry point or distribution; all when unset."),
    ] = None
    override: Annotated[
        tuple[str, ...], Meta(description="Installed plugins that may replace a built-in of the same name.")
    ] = ()


class ProxySettings(msgspec.Struct, frozen=True, kw_only=True):
    """The way out by CONNECT; from HTTPS_PROXY and NO_PROXY only, as other programs on the machine read them.

    `https` is a URL and may hold a password. `no_proxy` holds host names (each with its subdomains), addresses and
    networks that are dialled directly; ``*`` is all of them.
    """

    https: Secret | None = None
    no_proxy: tuple[str, ...] = ()

    def url_for(self, host: str) -> str | None:
        """The proxy for an https upstream, or None when `host` is dialled directly."""
        if self.https is None or any(_covers(entry, host.lower()) for entry in self.no_proxy):
            return None
        return self.https.reveal()


def _covers(entry: str, host: str) -> bool:
    name = entry.lower().removeprefix("*").removeprefix(".")
    if not name:
        return entry == "*"
    if host == name or host.endswith(f".{name}"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")) in ipaddress.ip_network(name.strip("[]"), strict=False)
    except ValueError:
        return False


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything an operator decides. Sizes are bytes, times are seconds."""

    host: Annotated[str, Meta(min_length=1, description="Address or name to listen on.")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="Port to listen on; 0 takes any free one.")] = 8787
    data_dir: Annotated[Path, Meta(description="Where data is kept; made when something is first written.")] = (
        msgspec.field(default_factory=_default_data_dir)
    )
    log_level: Annotated[LogLevel, Meta(description="The least severe messages to log.")] = "info"
    drain: Annotated[float, Meta(ge=0, le=_WEEK, description="How long open streams may go on after SIGTERM.")] = 30.0
    allow_open: Annotated[
        bool, Meta(description="Listen beyond loopback although anyone who reaches the port may use it.")
    ] = False
    allowed_hosts: Annotated[
        tuple[str, ...], Meta(description="Host names that clients may call us by, besides loopback ones.")
    ] = ()
    cors_origins: Annotated[
        tuple[str, ...], Meta(description="Origins (https://app.example) whose web pages may call us.")
    ] = ()
    trusted_hosts: Annotated[
        tuple[str, ...],
        Meta(
            description="Host names, *.suffixes, addresses and networks that a request may name as a custom host "
            "although they are private."
        ),
    ] = ()
    default_config: Annotated[
        dict[str, Any] | None, Meta(description="The config of calls that name no target in their headers.")
    ] = None
    ca_file: Annotated[
        str | None, Meta(description="Certificates to trust instead of the system's; SSL_CERT_FILE when unset.")
    ] = None
    proxy: ProxySettings = ProxySettings()
    max_body: Annotated[Size, Meta(description="Largest body of an inference request.")] = 64 * MIB
    max_buffered: Annotated[Size, Meta(description="All bytes held at once; above it calls get a 503.")] = 512 * MIB
    unary_buffer: Annotated[Size, Meta(description="How much of an answer is read before any of it is sent on.")] = (
        8 * MIB
    )
    max_event: Annotated[Size, Meta(description="Largest event of a stream.")] = 16 * MIB
    max_config_header: Annotated[Size, Meta(description="Largest config in a header.")] = 64 * KIB
    keepalive: Annotated[Seconds, Meta(description="How long an idle client connection stays open.")] = 75.0
    head_timeout: Annotated[Seconds, Meta(description="How long a client may take for a request's head.")] = 10.0
    body_timeout: Annotated[Seconds, Meta(description="How long a client may be silent while it uploads.")] = 30.0
    deadlines: Deadlines = Deadlines()
    max_attempts: Annotated[
        int, Meta(ge=1, le=100, description="Most tries at providers that one call's config may ask for.")
    ] = 20
    retry_wait: Annotated[
        Seconds, Meta(description="Wait before the first retry at a provider that asks for none; doubles each time.")
    ] = 1.0
    check_streams: Annotated[
        bool, Meta(description="Parse every event of a stream, and drop and count malformed ones.")
    ] = False
    providers: dict[str, ProviderSettings] = {}
    call_log: Annotated[
        str | None, Meta(description='Where to write one JSON line per call: a file, or "-" for standard output.')
    ] = None
    plugins: PluginSettings = PluginSettings()

    def __repr__(self) -> str:  # default_config may hold a credential
        shown = (name for name in self.__struct_fields__ if name != "default_config")
        return f"Settings({', '.join(f'{name}={getattr(self, name)!r}' for name in shown)})"

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach us."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether a host name or address can only mean this machine."""
    name = host.lower().strip("[]")
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")


# Deadlines live in types.py, which knows nothing of settings.
DEADLINES: Mapping[str, Any] = {
    "connect": Annotated[Seconds, Meta(description="Until a connection to the provider stands.")],
    "first_token": Annotated[Seconds, Meta(description="Until a stream's first event.")],
    "unary": Annotated[Seconds, Meta(description="Until the head of an answer that is not streamed.")],
    "idle": Annotated[Seconds, Meta(description="Longest silence of a provider in the middle of an answer.")],
    "client_stall": Annotated[Seconds, Meta(description="How long a client may accept nothing.")],
    "total": Annotated[Seconds, Meta(description="Longest call.")],
}
