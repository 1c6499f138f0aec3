"""Runs scenarios: contestants start fresh for each and get their windows by turns, so that noise hits all alike."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson
import trustme

from load_tests.contestants import Contestant, Site
from load_tests.meter import find_tree, peak_megabytes, resident_megabytes
from load_tests.plan import Plan, Report
from load_tests.probes import probe_leave, probe_stall, wait_for_answer
from load_tests.processes import Crew, last_words
from load_tests.report import Sample
from load_tests.scenarios import Scenario

WINDOW_LIMIT = 60.0
"""Seconds a load generator has beyond its window, for ramp, settling and drain."""
STALL_SECONDS = 6.0
IDLE_AFTER = 0.5
WARM_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Stand:
    """A contestant at work."""

    contestant: Contestant
    site: Site
    process: subprocess.Popen[str] | None

    def plan(self, scenario: Scenario, seconds: float, upstream: list[int]) -> Plan:
        """The window of `scenario` for it."""
        return Plan(
            url=self.contestant.url(self.site),
            headers=self.contestant.headers(self.site),
            kind=scenario.kind,
            connections=scenario.connections,
            seconds=seconds,
            chunks=scenario.chunks,
            rate=scenario.rate,
            usage=scenario.usage,
            proxy=self.pids(),
            upstream=upstream,
            ca_file=str(self.site.ca_file),
        )

    def pids(self) -> list[int]:
        """Its processes."""
        return [] if self.process is None else find_tree(self.process.pid)

    def alive(self) -> bool:
        """Whether it can still answer."""
        return self.process is None or self.process.poll() is None


class StartError(Exception):
    """A contestant did not come up; the message says why."""


class Rig:
    """The mock upstream, the scratch folder and the cores of one run."""

    def __init__(self, crew: Crew, folder: Path, cores: tuple[int, int]) -> None:
        self._crew = crew
        self._folder = folder
        self._proxy_core, self._load_core = cores
        authority = trustme.CA()
        self._ca_file = folder / "ca.pem"
        authority.cert_pem.write_to_path(self._ca_file)
        certificate = folder / "upstream.pem"
        authority.issue_cert("localhost", "127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
        command = [sys.executable, "-m", "load_tests.mock", str(certificate)]
        self._mock = crew.start(command, self._load_core, self._make_folder(), piped=True)
        assert self._mock.stdout is not None
        ports = orjson.loads(self._mock.stdout.readline())
        self._upstream_port: int = ports["port"]
        self._upstream_tls_port: int = ports["tls_port"]

    def measure(
        self,
        scenario: Scenario,
        contestants: Sequence[Contestant],
        rounds: int,
        seconds: float,
        note: Callable[[str], None],
    ) -> Iterator[Sample]:
        """`rounds` samples of each contestant, by turns; a contestant that doesn't start is one sample that says so."""
        if scenario.family == "start":
            yield from self._measure_starts(scenario, contestants, rounds, note)
            return
        if scenario.family == "translation":
            yield from self._measure_translation(scenario, rounds, note)
            return
        with contextlib.ExitStack() as stack:
            stands = []
            for contestant in contestants:
                try:
                    stand = stack.enter_context(self._stand(contestant, scenario.tls))
                    self._warm(stand)
                    stands.append(stand)
                except StartError as error:
                    yield Sample(scenario.name, contestant.name, 0, {}, {str(error): 1})
            for number in range(1, rounds + 1):
                for stand in stands:
                    note(f"{scenario.name} · round {number}/{rounds} · {stand.contestant.name}")
                    report = self._probe(scenario, stand, seconds)
                    yield Sample(scenario.name, stand.contestant.name, number, report.values, report.errors)

    def _measure_starts(
        self, scenario: Scenario, contestants: Sequence[Contestant], rounds: int, note: Callable[[str], None]
    ) -> Iterator[Sample]:
        for number in range(1, rounds + 1):
            for contestant in contestants:
                note(f"{scenario.name} · round {number}/{rounds} · {contestant.name}")
                begun = time.monotonic()
                try:
                    with self._stand(contestant, tls=False) as stand:
                        if stand.process is None:
                            continue
                        values = {"first_answer_s": time.monotonic() - begun}
                        time.sleep(IDLE_AFTER)
                        values["idle_mb"] = resident_megabytes(stand.pids())
                        yield Sample(scenario.name, contestant.name, number, values, {})
                except StartError as error:
                    yield Sample(scenario.name, contestant.name, number, {}, {str(error): 1})

    def _measure_translation(self, scenario: Scenario, rounds: int, note: Callable[[str], None]) -> Iterator[Sample]:
        """No contestants: a process of ours, where proxies are, that translates from memory to memory."""
        for number in range(1, rounds + 1):
            note(f"{scenario.name} · round {number}/{rounds}")
            folder = self._make_folder()
            process = self._crew.start(
                [sys.executable, "-m", "load_tests.translation"], self._proxy_core, folder, piped=True
            )
            try:
                reports = orjson.loads(process.communicate(timeout=WINDOW_LIMIT)[0])
            except (subprocess.TimeoutExpired, orjson.JSONDecodeError):
                yield Sample(scenario.name, "aiogateway", number, {}, {f"it failed: {last_words(folder)}": 1})
                return
            finally:
                self._crew.stop(process)
            for pair, report in reports.items():
                yield Sample(scenario.name, pair, number, report["values"], report["errors"])

    @contextlib.contextmanager
    def _stand(self, contestant: Contestant, tls: bool) -> Iterator[Stand]:
        """The contestant, started and having answered once."""
        port = self._upstream_tls_port if tls else self._upstream_port
        site = Site(find_port(), port, tls, self._ca_file, self._make_folder(), self._proxy_core)
        process = contestant.start(self._crew, site)
        stand = Stand(contestant, site, process)
        try:
            if process is not None:
                problem = wait_for_answer(stand.plan(Scenario("", ""), 0, []), stand.alive)
                if problem is not None:
                    raise StartError(f"did not start: {problem}; stderr: {last_words(site.folder)}")
            yield stand
        finally:
            if process is not None:
                self._crew.stop(process)

    def _warm(self, stand: Stand) -> None:
        report = self._generate(stand.plan(Scenario("", "", connections=8), WARM_SECONDS, []))
        if report.errors:
            raise StartError(f"warming up failed: {next(iter(report.errors))}")

    def _probe(self, scenario: Scenario, stand: Stand, seconds: float) -> Report:
        plan = stand.plan(scenario, STALL_SECONDS if scenario.family == "stall" else seconds, [self._mock.pid])
        try:
            if scenario.family == "stall":
                return probe_stall(plan)
            if scenario.family == "leave":
                return probe_leave(plan, self._upstream_port)
        except OSError as error:
            return Report({}, {f"the probe failed: {error}": 1})
        report = self._generate(plan)
        if not plan.proxy:
            return report
        memory = {"resident_mb": resident_megabytes(plan.proxy), "peak_mb": peak_megabytes(plan.proxy)}
        return Report({**report.values, **memory}, report.errors)

    def _generate(self, plan: Plan) -> Report:
        folder = self._make_folder()
        command = [sys.executable, "-m", "load_tests.generator", plan.dump().decode()]
        process = self._crew.start(command, self._load_core, folder, piped=True)
        try:
            output = process.communicate(timeout=plan.seconds + WINDOW_LIMIT)[0]
            return Report.load(output)
        except subprocess.TimeoutExpired:
            return Report({}, {"the load generator did not end": 1})
        except orjson.JSONDecodeError:
            return Report({}, {f"the load generator failed: {last_words(folder)}": 1})
        finally:
            self._crew.stop(process)

    def _make_folder(self) -> Path:
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        folder.chmod(0o755)  # nginx's worker is another user when its master is root
        return folder


def find_port() -> int:
    """A loopback port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
