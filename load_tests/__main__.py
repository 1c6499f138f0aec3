"""`python -m load_tests`: measures, prints the table, and leaves nothing running.

Exit status: 1 if anything went wrong, 130 after ^C or SIGTERM.
"""

from __future__ import annotations

import argparse
import platform
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from load_tests.contestants import CONTESTANTS, Contestant
from load_tests.processes import Crew, choose_cores, raise_file_limit
from load_tests.report import Sample, make_rows, write_json, write_markdown
from load_tests.rounds import Rig
from load_tests.scenarios import Scenario, choose_scenarios


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options; `scenarios` and `chosen` (contestants) are resolved, a bad name ends the program."""
    parser = argparse.ArgumentParser(prog="python -m load_tests", description="Measure proxies side by side.")
    parser.add_argument("--rounds", type=int, help="interleaved rounds per scenario (default 5)")
    parser.add_argument("--seconds", type=float, help="length of one window (default 4)")
    parser.add_argument("--only", default="", help="letters a-h or names of scenarios, with commas")
    parser.add_argument("--contestants", default="", help="names, with commas (default: all that are installed)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample there")
    parser.add_argument("--quick", action="store_true", help="one round of 1 s, small scenarios only: does it work?")
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (1 if options.quick else 5)
    options.seconds = options.seconds or (1.0 if options.quick else 4.0)
    try:
        options.scenarios = choose_scenarios(options.only, options.quick)
        options.chosen = choose_contestants(options.contestants)
    except ValueError as error:
        parser.error(str(error))
    return options


def choose_contestants(names: str) -> list[Contestant]:
    """The contestants named, or all; ValueError for a name nobody has."""
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    known = [contestant.name for contestant in CONTESTANTS]
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise ValueError(f"no contestant {unknown[0]!r}; there are {', '.join(known)}")
    return [contestant for contestant in CONTESTANTS if not wanted or contestant.name in wanted]


def gather_facts(options: argparse.Namespace, cores: tuple[int, int]) -> dict[str, Any]:
    """What a reader of the figures must know."""
    processor = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if "model name" in line
    ]
    return {
        "processor": processor[0] if processor else platform.machine(),
        "proxy on core": cores[0],
        "load and upstream on core": cores[1],
        "Python": platform.python_version(),
        "rounds": options.rounds,
        "seconds": options.seconds,
    }


def run(
    options: argparse.Namespace, contestants: Sequence[Contestant], cores: tuple[int, int], samples: list[Sample]
) -> None:
    """Fill `samples`, scenario by scenario."""
    scenarios: list[Scenario] = options.scenarios
    with tempfile.TemporaryDirectory(prefix="load-tests-") as scratch, Crew() as crew:
        folder = Path(scratch)
        folder.chmod(0o755)
        rig = Rig(crew, folder, cores)
        for scenario in scenarios:
            for sample in rig.measure(scenario, contestants, options.rounds, options.seconds, note):
                samples.append(sample)  # one by one: an interrupted scenario keeps what it has


def note(line: str) -> None:
    """Progress, beside the table."""
    print(line, file=sys.stderr, flush=True)


def stop(number: int, frame: FrameType | None) -> None:
    """Both signals end a run in order, even where a shell started us with SIGINT ignored."""
    raise KeyboardInterrupt


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status."""
    options = parse_arguments(arguments)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    raise_file_limit()
    cores = choose_cores()
    skipped = {contestant.name: reason for contestant in options.chosen if (reason := contestant.missing())}
    contestants = [contestant for contestant in options.chosen if contestant.name not in skipped]
    samples: list[Sample] = []
    interrupted = False
    try:
        run(options, contestants, cores, samples)
    except KeyboardInterrupt:
        interrupted = True
        note("interrupted; this is what there is")
    rows, facts = make_rows(samples), gather_facts(options, cores)
    print(write_markdown(rows, options.scenarios, skipped, facts))
    if options.json is not None:
        options.json.write_bytes(write_json(samples, rows, skipped, facts))
    if interrupted:
        return 130
    return 1 if any(row.errors for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
