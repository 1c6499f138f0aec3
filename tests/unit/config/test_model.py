from __future__ import annotations

from aiogateway.config.model import FIELDS, Config, State
from aiogateway.types import Origin, Secret


def test_a_config_shows_nothing_that_could_be_secret() -> None:
    config = Config(
        source="x-portkey-config",
        origin=Origin.REQUEST,
        provider="openai",
        api_key=Secret("canary"),
        override_params={"user": "canary"},
        options={"openai_organization": "canary"},
    )
    assert repr(config) == "<config from x-portkey-config: openai>"


def test_every_used_field_is_in_the_model() -> None:
    used = {name for name, state in FIELDS.items() if state is State.USED}
    assert used == set(Config.__struct_fields__) - {"source", "origin", "options"}
