"""plugins/README.md: its package is built as written, and passes the battery as written."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[3]
UNARY = """# Harbor's API reference, "Chat"
endpoint: chat/completions
request: {"model": "pilot", "messages": [{"role": "user", "content": "Ahoy?"}]}
text: "Ahoy!"
finish: stop
usage: 4 2

{"id":"h2","object":"chat.completion","created":1793697247,"model":"pilot","choices":[{"index":0,"message":\
{"role":"assistant","content":"Ahoy!"},"finish_reason":"stop"}],\
"usage":{"prompt_tokens":4,"completion_tokens":2,"total_tokens":6}}"""
ERROR = """# Harbor's API reference, "Errors"
endpoint: chat/completions
request: {"model": "raft", "messages": []}
status: 404
error: 404 no such model

{"error":{"message":"no such model","type":"not_found"}}"""


def read_blocks() -> tuple[str, str, str, str]:
    project, package, test, recording = re.findall(
        r"^```\w*\n(.*?)^```$", (ROOT / "plugins/README.md").read_text(), re.DOTALL | re.MULTILINE
    )
    return project, package, test, recording


def test_the_minimal_provider_passes_the_battery(tmp_path: Path) -> None:
    project, package, test, recording = read_blocks()
    (tmp_path / "aiogateway_plugin_harbor").mkdir()
    (tmp_path / "aiogateway_plugin_harbor/__init__.py").write_text(package)
    (tmp_path / "test_conformance.py").write_text(test)
    (tmp_path / "recordings").mkdir()
    for name, text in (("stream", recording), ("unary", UNARY), ("error", ERROR)):
        (tmp_path / f"recordings/{name}.rec").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    entry = tomllib.loads(project)["project"]["entry-points"]["aiogateway"]
    assert entry == {"harbor": "aiogateway_plugin_harbor"}


def test_the_minimal_provider_is_loaded_by_its_entry_point(tmp_path: Path) -> None:
    """As pip would lay it out: a module, and a dist-info beside it."""
    project, package, _, _ = read_blocks()
    meta = tomllib.loads(project)["project"]
    (tmp_path / "aiogateway_plugin_harbor.py").write_text(package)
    info = tmp_path / f"aiogateway_plugin_harbor-{meta['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {meta['name']}\nVersion: {meta['version']}\n")
    points = "\n".join(f"{name} = {value}" for name, value in meta["entry-points"]["aiogateway"].items())
    (info / "entry_points.txt").write_text(f"[aiogateway]\n{points}\n")
    done = subprocess.run(
        [sys.executable, "-m", "aiogateway", "plugins"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(tmp_path), str(ROOT)))},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"harbor.*aiogateway-plugin-harbor.*0\.1\.0.*register_providers", done.stdout)
