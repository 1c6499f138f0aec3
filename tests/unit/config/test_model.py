from __future__ import annotations

from aiogateway.config.model import FIELDS, Config, State
from aiogateway.types import Origin, Secret


def test_a_config_shows_nothing_that_could_be_secret() -> None:
    config = Config(
        source="x-portkey-config",
        origin=Origin.REQUEST,
        path="targets[0]",
        provider="openai",
        api_key=Secret("canary"),
        virtual_key="canary",
        override_params={"user": "canary"},
        options={"openai_organization": "canary"},
        metadata={"_user": "canary"},
    )
    assert repr(config) == "<config from x-portkey-config targets[0]: openai>"


def test_every_used_field_is_in_the_model() -> None:
    used = {name for name, state in FIELDS.items() if state is State.USED}
    kept_as = {"stream_recovery": "recovery", "request_timeout": "timeouts"}
    only_ours = {"source", "origin", "path", "options", "trace_id", "metadata"}
    assert {kept_as.get(name, name) for name in used} == set(Config.__struct_fields__) - only_ours
