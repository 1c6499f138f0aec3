from __future__ import annotations

import pluggy

from aiogateway import hookspecs
from aiogateway.contracts import Dialect
from aiogateway.dialects import builtin
from aiogateway.registry import CLIENT_DIALECTS
from aiogateway.types import Endpoint


def test_there_is_one_for_each_endpoint() -> None:
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(builtin)
    manager.check_pending()
    found: dict[str, Dialect] = {}
    manager.hook.register_dialects(register=lambda dialect: found.setdefault(dialect.name, dialect))
    assert {endpoint: found[name].endpoint for endpoint, name in CLIENT_DIALECTS.items()} == {
        each: each for each in Endpoint
    }
