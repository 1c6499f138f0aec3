"""A handful of providers' options, and configs parsed or refused under them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aiogateway.config.model import Config
from aiogateway.config.parse import parse_config
from aiogateway.errors import ConfigError
from aiogateway.types import Option, Origin

OPTIONS = {
    "openai": {"openai_organization": Option(), "openai_project": Option()},
    "mock": {"mock_delay": Option(kind=int)},
    "azure-openai": {"resource_name": Option(host=True), "azure_ad_token": Option(secret=True)},
}


def parse(config: Any, **changes: Any) -> Config:
    """`config` is JSON text, or what becomes it."""
    text = config if isinstance(config, str) else json.dumps(config)
    return parse_config(text, **{"origin": Origin.REQUEST, "source": "x-portkey-config", "options": OPTIONS, **changes})


def refuse(config: Any, **changes: Any) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        parse(config, **changes)
    return caught.value


def list_mistakes(config: Any, **changes: Any) -> dict[str, str]:
    """What is wrong, by path."""
    error = refuse(config, **changes)
    errors = error.errors or (error,)
    assert len({one.path for one in errors}) == len(errors)
    return {one.path: one.reason for one in errors}
