from __future__ import annotations

import importlib.metadata
import subprocess
import sys

import pytest

import aiogateway
from aiogateway import contracts, errors, hookspecs, neutral, types


def test_all_is_sorted_and_complete() -> None:
    names = aiogateway.__all__
    assert len(names) == len(set(names))
    modules = {name for name, value in vars(aiogateway).items() if type(value) is type(sys)}
    public = {name for name in vars(aiogateway) if not name.startswith("_")} - modules - {"annotations"}
    assert public | {"__version__"} == set(names)


@pytest.mark.parametrize("name", sorted(set(aiogateway.__all__) - {"__version__"}))
def test_every_name_is_the_one_of_its_floor(name: str) -> None:
    homes = [module for module in (contracts, errors, hookspecs, neutral, types) if hasattr(module, name)]
    assert homes
    assert all(getattr(home, name) == getattr(aiogateway, name) for home in homes)


def test_all_errors_are_public() -> None:
    tree = {
        name for name, value in vars(errors).items() if isinstance(value, type) and value.__module__ == errors.__name__
    }
    assert tree <= set(aiogateway.__all__)


def test_all_that_dialects_speak_is_public() -> None:
    values = {
        name
        for name, value in vars(neutral).items()
        if isinstance(value, type) and value.__module__ == neutral.__name__ and name != "Value"
    }
    assert values <= set(aiogateway.__all__)


def test_version_is_the_distribution_s() -> None:
    assert aiogateway.__version__ == importlib.metadata.version("aiogateway")


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Providr'"):
        aiogateway.Providr  # noqa: B018


def test_importing_is_cheap() -> None:
    """A plugin, or `aiogateway --help`, pays for no server and no metadata."""
    code = "import sys, aiogateway; print(*sorted(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    loaded = set(run.stdout.split())
    assert "aiogateway.types" in loaded
    heavy = {"aiohttp", "yarl", "uvloop", "orjson", "prometheus_client", "yaml", "click", "ssl"}
    assert not loaded & heavy
