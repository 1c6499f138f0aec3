"""What `aiogateway check --explain` says about a config: ``configs/<name>.json`` is outlined as ``configs/<name>.txt``.

After a change of words or of rules, write them anew and read the difference::

    REGENERATE=1 python -m pytest tests/golden/test_configs.py
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from aiogateway import cli
from aiogateway.contracts import Provider
from aiogateway.registry import Registry
from aiogateway.settings import ProviderSettings, Settings
from aiogateway.types import Deadlines, Option, Secret

HERE = Path(__file__).parent / "configs"
NAMES = sorted(path.stem for path in HERE.glob("*.json"))


class Named(msgspec.Struct, frozen=True):
    """The part of a provider that an outline looks at."""

    base_url: str
    options: Mapping[str, Option] = {}


PROVIDERS: dict[str, Any] = {
    "openai": Named("https://openai.example/v1", {"openai_organization": Option(), "openai_project": Option()}),
    "azure-openai": Named(
        "https://azure.example",
        {"resource_name": Option(host=True), "azure_ad_token": Option(secret=True), "api_version": Option()},
    ),
    "mock": Named("local:mock", {"mock_delay": Option(kind=int)}),
    **{name: Named(f"https://{name}.example") for name in ("anthropic", "google", "groq", "mistral-ai", "ollama")},
}
REGISTRY = Registry(
    providers=cast(Mapping[str, Provider], PROVIDERS), retry_policies=cast(Any, {"exponential": object()})
)
SETTINGS = Settings(
    deadlines=Deadlines(idle=90.0),
    providers={
        "groq": ProviderSettings(api_key=Secret("canary-settings"), base_url="http://10.0.0.1/v1"),
        "azure-openai": ProviderSettings(options={"api_version": "2024-06-01", "azure_ad_token": "canary-settings"}),
    },
)


@pytest.mark.parametrize("name", NAMES)
def test_a_config_is_outlined(name: str) -> None:
    text = (HERE / f"{name}.json").read_text(encoding="utf-8")
    told = "".join(f"{line}\n" for line in cli._examine(text, SETTINGS, REGISTRY, explain=True))
    expected = HERE / f"{name}.txt"
    if os.environ.get("REGENERATE"):
        expected.write_text(told, encoding="utf-8")
    assert told == expected.read_text(encoding="utf-8")
    assert "canary" not in told
    assert "YOUR_" not in told
    assert told.isascii()


def test_there_are_enough_of_them_and_each_has_its_outline() -> None:
    assert len(NAMES) >= 50
    assert sorted(path.stem for path in HERE.glob("*.txt")) == NAMES
