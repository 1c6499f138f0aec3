from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version


def test_the_package_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "aiogateway", "--version"], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout == f"aiogateway, version {version('aiogateway')}\n"
