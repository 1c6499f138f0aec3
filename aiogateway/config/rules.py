"""What a node says about retries, caching, recovery, circuits and deadlines: one reader for each object.

A reader returns as much as could be read, so that later checks don't report the same mistake a second time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from aiogateway.config.fields import (
    read_choice,
    read_flag,
    read_integer,
    read_milliseconds,
    read_number,
    read_statuses,
)
from aiogateway.config.mistakes import Mistakes
from aiogateway.config.model import MAX_RETRIES
from aiogateway.config.section import Reader, read_object
from aiogateway.types import CacheRules, CircuitRules, Recovery, Retry

MAX_AGE = 7_776_000
"""The longest that an answer may be cached, in seconds: 90 days, as Portkey documents it."""

_MAX_COUNT = 1_000_000
_TIMEOUTS = dict.fromkeys(("connect", "first_token", "idle", "client_stall", "total"), read_milliseconds)
_CACHE: Mapping[str, Reader] = {
    "mode": partial(read_choice, choices=("simple", "semantic")),
    "max_age": partial(read_integer, least=1, most=MAX_AGE, what="an integer of seconds"),
    "refresh": read_flag,
}
_RECOVERY: Mapping[str, Reader] = {
    "mode": partial(read_choice, choices=("off", "restart", "continue")),
    "attempts": partial(read_integer, least=1, most=5),
}
_CIRCUIT: Mapping[str, Reader] = {
    "failure_threshold": partial(read_integer, least=1, most=_MAX_COUNT),
    "failure_threshold_percentage": partial(read_number, most=100),
    "minimum_requests": partial(read_integer, least=1, most=_MAX_COUNT),
    "cooldown_interval": read_milliseconds,
    "failure_status_codes": read_statuses,
}


def read_retry(value: Any, path: str, *, policies: Iterable[str], mistakes: Mistakes) -> Retry:
    """``{"attempts": 2, "on_status_codes": [429], "use_retry_after_header": true, "policy": "exponential"}``."""
    readers: Mapping[str, Reader] = {
        "attempts": partial(read_integer, least=0, most=MAX_RETRIES),
        "on_status_codes": read_statuses,
        "use_retry_after_header": read_flag,
        "policy": partial(read_choice, choices=sorted(policies)),
    }
    required = {"attempts": f"it says how often to try a target again, 0 to {MAX_RETRIES}"}
    read = read_object(value, path, readers, mistakes, required=required, example='{"attempts": 2}')
    if "use_retry_after_header" in read:
        read["use_retry_after"] = read.pop("use_retry_after_header")
    return Retry(**read)


def read_cache(value: Any, path: str, *, mistakes: Mistakes) -> CacheRules | None:
    """``{"mode": "simple", "max_age": 3600}``, seconds; ``refresh`` asks anew and stores the answer."""
    required = {"mode": "it must be simple or semantic"}
    read = read_object(value, path, _CACHE, mistakes, required=required, example='{"mode": "simple"}')
    return CacheRules(**read) if "mode" in read else None


def read_recovery(value: Any, path: str, *, mistakes: Mistakes) -> Recovery | bool | None:
    """``{"mode": "restart", "attempts": 1}``; False for a mode of off."""
    required = {"mode": "it must be off, restart or continue"}
    read = read_object(value, path, _RECOVERY, mistakes, required=required, example='{"mode": "restart"}')
    if "mode" not in read:
        return None
    return False if read["mode"] == "off" else Recovery(**read)


def read_timeouts(value: Any, path: str, *, mistakes: Mistakes) -> dict[str, int]:
    """Milliseconds by the name of the deadline."""
    return read_object(value, path, _TIMEOUTS, mistakes, example='{"first_token": 10000}')


def read_circuit(value: Any, path: str, *, mistakes: Mistakes) -> CircuitRules:
    """Portkey's ``cb_config``. A percentage alone opens by the percentage alone."""
    read = read_object(value, path, _CIRCUIT, mistakes, example='{"failure_threshold": 5}')
    rules: dict[str, Any] = {}
    percentage = read.get("failure_threshold_percentage")
    if "failure_threshold" in read or percentage is not None:
        rules.update(failures=read.get("failure_threshold"), failure_percentage=percentage)
    if "minimum_requests" in read:
        rules["minimum_requests"] = read["minimum_requests"]
    if "cooldown_interval" in read:
        rules["cooldown"] = read["cooldown_interval"] / 1000
    if "failure_status_codes" in read:
        rules["status_codes"] = frozenset(read["failure_status_codes"])
    return CircuitRules(**rules)
