"""What a wrong config is told: ``bad_configs/<name>.json`` is refused with the lines of ``bad_configs/<name>.txt``.

After a change of words, write them anew and read the difference as somebody would who has to mend the config::

    REGENERATE=1 python -m pytest tests/golden/test_bad_configs.py
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from aiogateway.config.parse import parse_config
from aiogateway.errors import ConfigError
from aiogateway.types import Option, Origin

HERE = Path(__file__).parent / "bad_configs"
NAMES = sorted(path.stem for path in HERE.glob("*.json"))
OPTIONS = {
    "openai": {"openai_organization": Option(), "openai_project": Option()},
    "azure-openai": {"resource_name": Option(host=True), "azure_ad_token": Option(secret=True)},
    "mock": {"mock_delay": Option(kind=int)},
    "ollama": {},
}


def list_mistakes(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, origin=Origin.REQUEST, source="x-portkey-config", options=OPTIONS)
    return [str(error) for error in caught.value.errors or (caught.value,)]


@pytest.mark.parametrize("name", NAMES)
def test_a_bad_config_is_told_what_is_wrong(name: str) -> None:
    told = "".join(f"{line}\n" for line in list_mistakes((HERE / f"{name}.json").read_text(encoding="utf-8")))
    expected = HERE / f"{name}.txt"
    if os.environ.get("REGENERATE"):
        expected.write_text(told, encoding="utf-8")
    assert told == expected.read_text(encoding="utf-8")
    assert "canary" not in told


def test_there_are_enough_of_them_and_each_has_its_lines() -> None:
    assert len(NAMES) >= 90
    assert sorted(path.stem for path in HERE.glob("*.txt")) == NAMES
