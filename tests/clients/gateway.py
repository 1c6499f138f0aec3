"""A real gateway process for the SDK suites, started the way a user starts it.

The interpreter that has aiogateway installed comes from ``AIOGATEWAY_PYTHON``; the SDK environments don't have it.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
START_LIMIT = 20.0
STOP_LIMIT = 10.0


@contextlib.contextmanager
def serving(folder: Path, *options: str) -> Iterator[str]:
    """A gateway on a free port of 127.0.0.1 while the block runs; yields ``http://127.0.0.1:PORT``.

    ``folder`` takes its data directory and its log. Ending the block sends SIGTERM and demands a clean exit.
    """
    port = _free_port()
    python = os.environ.get("AIOGATEWAY_PYTHON") or str(ROOT / ".venv" / "bin" / "python")
    command = [python, "-m", "aiogateway", "serve", "--host", "127.0.0.1", "--port", str(port)]
    log = folder / "gateway.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--data-dir", str(folder / "data"), "--drain", "2", *options],
            cwd=folder,
            env=_clean_environment(),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            _wait_until_ready(process, port, log)
            yield f"http://127.0.0.1:{port}"
            process.send_signal(signal.SIGTERM)
            code = process.wait(STOP_LIMIT)
            assert code == 0, f"the gateway exited with {code}:\n{log.read_text()}"
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _clean_environment() -> dict[str, str]:
    """This process's environment without what would steer the gateway or a provider."""
    steering = ("AIOGATEWAY_", "OPENAI_", "PORTKEY_", "PYTHON", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
    return {name: value for name, value in os.environ.items() if not name.upper().startswith(steering)}


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    limit = time.monotonic() + START_LIMIT
    while time.monotonic() < limit:
        if process.poll() is not None:
            raise RuntimeError(f"the gateway ended with {process.returncode}:\n{log.read_text()}")
        if _is_ready(port):
            return
        time.sleep(0.02)
    raise TimeoutError(f"no /readyz within {START_LIMIT} s:\n{log.read_text()}")


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
