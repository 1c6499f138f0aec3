"""CPU time and memory of processes, from /proc. Linux only."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
MEGABYTE = 1_000_000


def parse_stat(line: str) -> tuple[int, int]:
    """Parent and clock ticks (own and of reaped children, user and system) of a /proc/PID/stat line; see proc(5).

    The name in parentheses may hold spaces and parentheses itself.
    """
    fields = line[line.rindex(")") + 2 :].split()
    return int(fields[1]), sum(int(field) for field in fields[11:15])


def parse_status(text: str, field: str) -> int:
    """Bytes of a `kB` field of /proc/PID/status; 0 if it isn't there (a process that is ending has no memory)."""
    for line in text.splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    return 0


def find_tree(root: int) -> list[int]:
    """`root` and everything below it, alive now."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            line = _read(folder / "stat")
            if line:
                parents[int(folder.name)] = parse_stat(line)[0]
    tree = [root]
    for pid in tree:
        tree.extend(child for child, parent in parents.items() if parent == pid)
    return tree


def cpu_seconds(pids: Iterable[int]) -> float:
    """CPU time of `pids` and of the children they have reaped, user and system."""
    lines = [_read(Path(f"/proc/{pid}/stat")) for pid in pids]
    return sum(parse_stat(line)[1] for line in lines if line) / TICKS


def resident_megabytes(pids: Iterable[int]) -> float:
    """Memory in RAM now, summed; shared pages count once per process."""
    return sum(_status(pid, "VmRSS") for pid in pids) / MEGABYTE


def peak_megabytes(pids: Iterable[int]) -> float:
    """Most memory each process ever had in RAM, summed."""
    return sum(_status(pid, "VmHWM") for pid in pids) / MEGABYTE


def _status(pid: int, field: str) -> int:
    return parse_status(_read(Path(f"/proc/{pid}/status")), field)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
