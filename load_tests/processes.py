"""Child processes that don't outlive us: each on its core, each in its own group, all stopped on the way out."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 3.0
"""Seconds a process has between SIGTERM and SIGKILL."""
_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def raise_file_limit() -> int:
    """Raise the soft limit of open files to the hard one; 1,000 streams need 2,000 in a proxy."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def choose_cores() -> tuple[int, int]:
    """The core of the proxy and the core of everything else; the same one where there is only one."""
    cores = sorted(os.sched_getaffinity(0))
    return cores[0], cores[1 % len(cores)]


def make_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Our environment without what would change a contestant: proxies, CA files, settings of the gateway."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.lower().endswith("_proxy") and not name.startswith(("AIOGATEWAY_", "SSL_CERT_", "PYTHON"))
    }
    return {**kept, "PYTHONPATH": str(ROOT), **extra}


class Crew:
    """The running children. Use as a context manager; leaving it stops them all."""

    def __init__(self) -> None:
        self._running: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in list(self._running):
            self.stop(process)

    def start(
        self,
        command: list[str],
        core: int,
        folder: Path,
        environment: Mapping[str, str] | None = None,
        *,
        piped: bool = False,
    ) -> subprocess.Popen[str]:
        """Start `command` in `folder` on `core`. stderr is a file in `folder`, and so is stdout unless `piped`."""

        def settle() -> None:
            os.sched_setaffinity(0, {core})
            # Should we be killed outright, the kernel ends the child.
            _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

        with (folder / "stderr").open("w") as errors:
            process = subprocess.Popen(
                command,
                cwd=folder,
                env=make_environment(environment or {}),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if piped else errors,
                stderr=errors,
                text=True,
                start_new_session=True,
                preexec_fn=settle,  # noqa: PLW1509 - this program has one thread
            )
        self._running.append(process)
        return process

    def stop(self, process: subprocess.Popen[str]) -> None:
        """SIGTERM to the process, a short wait, then SIGKILL to what is left of its group."""
        self._running.remove(process)
        if process.poll() is None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def last_words(folder: Path) -> str:
    """The end of the last line a child of `folder` wrote to stderr, for an error message."""
    try:
        lines = (folder / "stderr").read_text().strip().splitlines()
    except OSError:
        lines = []
    return lines[-1][-300:] if lines else "it wrote nothing"
