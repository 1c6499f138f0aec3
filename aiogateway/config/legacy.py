"""The config format of before 2024 in terms of the current one, mapped in this one place (portkey.md 2.3 and 6).

``{"mode": "ab_test", "options": [{"provider": "openai", "cache_status": "semantic", "retry_settings": {…}}]}``

Known by a ``mode`` or ``options`` at the top. From there down every object among ``options`` (or ``targets``, which was
its synonym) may be old, current, or a mixture: fields of now stay as they are and win over what they came to replace.
Errors are the parser's, and so they name the fields of now: ``options[1].retry_settings`` is ``targets[1].retry``.
"""

from __future__ import annotations

import re
from typing import Any

from aiogateway.config.mistakes import Mistakes
from aiogateway.config.model import MAX_DEPTH
from aiogateway.config.section import spell_fields

_AGE = re.compile(r"\s*(?:max-age\s*=)?\s*([0-9]{1,9})\s*", re.IGNORECASE)
_NAMES = frozenset(("mode", "options"))


def is_old(raw: dict[str, Any]) -> bool:
    """Whether a config is written in the old format."""
    return not _NAMES.isdisjoint(spell_fields(raw, "", Mistakes()))


def modernize(raw: dict[str, Any]) -> dict[str, Any]:
    """An old config as a current one, but for ``trace_id`` and ``metadata``, which its options bring along.

    Any JSON object goes in: what is not as it should be stays, under its current name, for the parser to refuse.
    """
    return _map_node(raw, 1, None)


def _map_node(raw: dict[str, Any], depth: int, cache_mode: Any) -> dict[str, Any]:
    mistakes = Mistakes()
    node = spell_fields(raw, "", mistakes)
    if len(mistakes) or depth > MAX_DEPTH:  # the parser refuses either
        return raw
    _map_retry(node)
    cache_mode = _map_cache(node, cache_mode)
    if "options" in node and "targets" not in node:
        node["targets"] = node.pop("options")
    targets = node.get("targets")
    if isinstance(targets, list):
        node["targets"] = [_map_node(one, depth + 1, cache_mode) if isinstance(one, dict) else one for one in targets]
    _map_mode(node)
    return node


def _map_mode(node: dict[str, Any]) -> None:
    """Options without a mode are fine as long as there is nothing to choose."""
    if "strategy" in node:
        return
    mode, targets = node.pop("mode", None), node.get("targets")
    if mode is None and isinstance(targets, list) and len(targets) == 1:
        mode = "single"
    if mode is not None:
        node["strategy"] = {"mode": "loadbalance" if mode == "ab_test" else mode}


def _map_retry(node: dict[str, Any]) -> None:
    """The first of ``retry``, ``retry_settings`` and ``override_params.retry_settings``; the last is never sent on."""
    given = [node.pop("retry", None), node.pop("retry_settings", None)]
    overrides = node.get("override_params")
    if isinstance(overrides, dict):
        given += [value for name, value in overrides.items() if _is_retry(name)]
        node["override_params"] = {name: value for name, value in overrides.items() if not _is_retry(name)}
    for retry in given:
        if retry is not None:
            is_count = isinstance(retry, int) and not isinstance(retry, bool)
            node["retry"] = {"attempts": retry} if is_count else retry
            return


def _is_retry(name: str) -> bool:
    return name in ("retry_settings", "retrySettings")


def _map_cache(node: dict[str, Any], mode_above: Any) -> Any:
    """Writes ``cache``, if there is to be any, and returns its mode for the options below.

    An age or a refresh alone asks for a cache too, as in Portkey's own notebook: one of the mode above, or a simple
    one.
    """
    cache, mode = node.pop("cache", None), node.pop("cache_status", None)
    age, refresh = _read_age(node.pop("cache_age", None)), node.pop("cache_force_refresh", None)
    if isinstance(cache, dict):
        node["cache"] = {"mode": mode, "max_age": age, "refresh": refresh, **cache}
        return node["cache"]["mode"]
    if cache is False:
        return mode_above
    if mode is None:
        mode = "simple" if cache is True else cache
    if mode is None and (age is not None or refresh not in (None, False)):
        mode = mode_above or "simple"
    if mode is not None:
        node["cache"] = {"mode": mode, "max_age": age, "refresh": refresh}
    return mode or mode_above


def _read_age(value: Any) -> Any:
    """``"max-age=60"``, ``"60"`` and 60 are seconds."""
    match = _AGE.fullmatch(value) if isinstance(value, str) else None
    return int(match[1]) if match else value
