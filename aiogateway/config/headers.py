"""The request headers that speak to the gateway: one table, and what is read from them.

Every suffix works as ``x-portkey-<suffix>`` and as ``x-aiogateway-<suffix>``. What Portkey knows and we don't yet is
refused rather than ignored, since ignoring it would answer another question than the one asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
import orjson

from aiogateway.config.fields import CONTROL, read_forwarded, read_timeout, show, suggest
from aiogateway.config.model import State
from aiogateway.errors import ConfigError
from aiogateway.types import GATEWAY_PREFIXES, Trace

MAX_CONFIG = 64 * 1024
MAX_METADATA = 16 * 1024
MAX_ID = 256


class Header(msgspec.Struct, frozen=True):
    """A row of the table."""

    suffix: str
    meaning: str
    state: State = State.USED


HEADERS: tuple[Header, ...] = (
    Header("api-key", "a key of this gateway; never leaves it"),
    Header("config", "a config for this call, as JSON"),
    Header("provider", "the provider, when the config names none"),
    Header("custom-host", "a base URL instead of the provider's own; beats the config's"),
    Header("request-timeout", "milliseconds until the first token, or a whole answer's head; beats the config's"),
    Header("forward-headers", "comma-separated names of headers to pass on; beats the config's"),
    Header("metadata", "a JSON object of plain values that goes into the record"),
    Header("trace-id", "the id under which the record is found; made up when absent"),
    Header("span-id", "the call's place in a trace"),
    Header("parent-span-id", "the span that made this call"),
    Header("span-name", "what the call is called in a trace"),
    Header("explain", "1 or true: the answer says in x-aiogateway-explain which targets were tried, and why"),
    Header("package-version", "sent by portkey_ai", State.ACCEPTED),
    Header("runtime", "sent by portkey_ai", State.ACCEPTED),
    Header("runtime-version", "sent by portkey_ai", State.ACCEPTED),
    Header("strict-open-ai-compliance", "sent by portkey_ai; answers keep the provider's bytes", State.ACCEPTED),
    Header("cache-force-refresh", "nothing to refresh while there is no cache", State.ACCEPTED),
    Header("cache-namespace", "nothing to keep apart while there is no cache", State.ACCEPTED),
    Header("debug", "bodies are not logged either way", State.ACCEPTED),
    Header("cache", "caching", State.LATER),
    Header("retry-count", "say retry in a config", State.LATER),
    Header("virtual-key", "a provider credential kept here", State.LATER),
    Header("mode", "the old proxy style", State.LATER),
    Header("default-input-guardrails", "guardrails", State.LATER),
    Header("default-output-guardrails", "guardrails", State.LATER),
)
_FLAGS = {"1": True, "true": True, "0": False, "false": False}
_TABLE: Mapping[str, Header] = {header.suffix: header for header in HEADERS}


class CallHeaders(msgspec.Struct, frozen=True, kw_only=True):
    """What the headers of one request say. `request_timeout` is milliseconds.

    `options` are provider options by name, not yet checked; `names` gives each suffix as the caller spelled it.
    """

    trace: Trace
    config: str | None = None
    provider: str | None = None
    custom_host: str | None = None
    metadata: Mapping[str, Any] = {}
    request_timeout: int | None = None
    forward_headers: tuple[str, ...] | None = None
    explain: bool = False
    options: Mapping[str, str] = {}
    names: Mapping[str, str] = {}

    def __repr__(self) -> str:  # a config or an option may hold a credential
        return f"<headers {', '.join(self.names.values())}>"

    def name_of(self, suffix: str) -> str:
        """The header's name for an error message."""
        return self.names.get(suffix, GATEWAY_PREFIXES[0] + suffix)


def read_call_headers(
    pairs: Iterable[tuple[str, str]],
    option_names: frozenset[str],
    *,
    new_id: Callable[[], str],
    max_config: int = MAX_CONFIG,
) -> CallHeaders:
    """Reads the headers that are ours from `pairs` (names in lower case); empty ones count as absent.

    `option_names` are the options of all providers; `new_id` makes up a trace id. Raises ConfigError, whose path is
    the header, for a bad value, for an unknown header and for one whose feature isn't there yet.
    """
    names: dict[str, str] = {}
    given: dict[str, str] = {}
    options: dict[str, str] = {}
    for name, value in pairs:
        if not name.startswith(GATEWAY_PREFIXES):
            continue
        value = value.strip()
        if not value:
            continue
        suffix = name.partition("-")[2].partition("-")[2]
        _check_value(name, value)
        if given.setdefault(suffix, value) != value:
            raise ConfigError("is given twice with different values", path=name)
        names[suffix] = name
        if (header := _TABLE.get(suffix)) is None:
            options[_read_option_name(name, suffix, option_names)] = value
        elif header.state is State.LATER:
            raise ConfigError(f"is not available yet ({header.meaning})", path=name)
    timeout, forwarded, metadata, explain = map(
        given.get, ("request-timeout", "forward-headers", "metadata", "explain")
    )
    return CallHeaders(
        trace=_read_trace(given, names, new_id),
        config=_read_config(given.get("config"), names, max_config),
        provider=given.get("provider"),
        custom_host=given.get("custom-host"),
        metadata=_read_metadata(metadata, names["metadata"]) if metadata else {},
        request_timeout=read_timeout(timeout, names["request-timeout"]) if timeout else None,
        forward_headers=_read_names(forwarded, names["forward-headers"]) if forwarded else None,
        explain=_read_flag(explain, names["explain"]) if explain else False,
        options=options,
        names=names,
    )


def _check_value(name: str, value: str) -> None:
    # isprintable() is quick but also false for what JSON may hold (a no-break space); a tab is legal in a header.
    if not value.isprintable() and CONTROL.search(value.replace("\t", " ")):
        raise ConfigError("must not hold control characters", path=name)


def _read_option_name(name: str, suffix: str, option_names: frozenset[str]) -> str:
    option = suffix.replace("-", "_")
    if option not in option_names:
        known = [*_TABLE, *(known.replace("_", "-") for known in option_names)]
        raise ConfigError(f"is not a header of this gateway or of a provider{suggest(suffix, known)}", path=name)
    return option


def _read_config(text: str | None, names: Mapping[str, str], limit: int) -> str | None:
    if text is not None and len(text.encode("utf-8", "surrogateescape")) > limit:
        raise ConfigError(f"must be at most {limit} bytes", path=names["config"])
    return text


def _read_trace(given: Mapping[str, str], names: Mapping[str, str], new_id: Callable[[], str]) -> Trace:
    for suffix in ("trace-id", "span-id", "parent-span-id", "span-name"):
        value = given.get(suffix, "")
        # It goes back in a header and out to sinks, so nothing that those can't carry.
        if len(value) > MAX_ID or not value.isprintable():
            raise ConfigError(f"must be at most {MAX_ID} printable characters", path=names[suffix])
    return Trace(
        id=given.get("trace-id") or new_id(),
        span_id=given.get("span-id"),
        parent_span_id=given.get("parent-span-id"),
        span_name=given.get("span-name"),
    )


def _read_metadata(text: str, path: str) -> dict[str, Any]:
    raw = text.encode("utf-8", "surrogateescape")
    if len(raw) > MAX_METADATA:
        raise ConfigError(f"must be at most {MAX_METADATA} bytes", path=path)
    try:
        metadata = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise ConfigError(f"is not valid JSON: {error.msg} at character {error.pos}", path=path) from None
    if not isinstance(metadata, dict):
        raise ConfigError(f"must be a JSON object, got {show(metadata)}", path=path)
    for key, value in metadata.items():
        if isinstance(value, dict | list):
            raise ConfigError(f"must hold plain values only, but {show(key)} is a {type(value).__name__}", path=path)
    return metadata


def _read_flag(text: str, path: str) -> bool:
    flag = _FLAGS.get(text.lower())
    if flag is None:
        raise ConfigError(f"must be 1, true, 0 or false, got {show(text)}", path=path)
    return flag


def _read_names(text: str, path: str) -> tuple[str, ...]:
    return read_forwarded([name for name in text.split(",") if name.strip()], path)
