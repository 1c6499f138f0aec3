"""One window of load, in a process of its own: `python -m load_tests.generator PLAN` prints one Report.

The window opens when every client has had its first byte, and ends before the clients stop: what is measured is the
steady state, and every stream begun is still read to its end and checked.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
import time
from urllib.parse import urlsplit

import uvloop

from load_tests.answers import Answer
from load_tests.clients import CLIENTS, Client, Tally, write_head
from load_tests.meter import cpu_seconds
from load_tests.plan import Plan, Report
from load_tests.processes import raise_file_limit

DIALLED = 25
"""Connections opened at the same time."""
RAMP = 20.0
SETTLE = 0.3
DRAIN = 10.0
REDIAL = 0.05
LATENCIES = {"p50_ms": 0.5, "p99_ms": 0.99}


def find_percentile(ordered: list[int], share: float) -> float:
    """The value below which `share` of `ordered` (ascending, not empty) lies, by nearest rank."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Load:
    """Holds `plan.connections` clients at work until told to stop."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.tally = Tally()
        self._answer = Answer(plan.kind, plan.chunks, plan.rate, plan.usage)
        self._head = write_head(plan)
        self._running = True
        self._working: set[Client] = set()
        self._met = 0
        self._turns: dict[Client, int] = {}
        self._ready = asyncio.Event()
        self._idle = asyncio.Event()
        self._dialling: set[asyncio.Task[None]] = set()
        self._tls = ssl.create_default_context(cafile=plan.ca_file) if plan.url.startswith("https:") else None

    # clients.Owner

    def next_answer(self, client: Client) -> Answer | None:
        if not self._running:
            return None
        answer = self._answer
        if answer.kind == "paced" and client not in self._turns:
            # First streams of all lengths, so that later ones don't all end and begin together.
            share = (len(self._turns) % 20 + 1) / 20
            answer = Answer(answer.kind, max(1, round(answer.chunks * share)), answer.rate, answer.usage)
            self._turns[client] = 1
        self._working.add(client)
        return answer

    def started(self, client: Client) -> None:
        self._met += 1
        if self._met >= self.plan.connections:
            self._ready.set()

    def stopped(self, client: Client) -> None:
        self._working.discard(client)
        if self._running:
            self._dial(REDIAL)
        elif not self._working:
            self._idle.set()

    # the window

    async def run(self) -> Report:
        """Ramp up, measure, drain."""
        for at in range(0, self.plan.connections, DIALLED):
            for _ in range(min(DIALLED, self.plan.connections - at)):
                self._dial(0)
            await asyncio.wait(self._dialling, timeout=RAMP)
        try:
            await asyncio.wait_for(self._ready.wait(), RAMP)
            await asyncio.sleep(SETTLE)
        except TimeoutError:
            self.tally.errors["a client without its first byte"] += self.plan.connections - self._met
        values = await self._measure()
        await self._drain()
        return Report(values, dict(self.tally.errors))

    async def _measure(self) -> dict[str, float]:
        plan, tally = self.plan, self.tally
        tally.measuring = True
        operations, answers, load = tally.operations, tally.answers, self._load_seconds()
        cpu, begun = cpu_seconds(plan.proxy), time.monotonic()
        await asyncio.sleep(plan.seconds)
        cpu, elapsed = cpu_seconds(plan.proxy) - cpu, time.monotonic() - begun
        operations, answers, load = tally.operations - operations, tally.answers - answers, self._load_seconds() - load
        tally.measuring = False
        values = {
            "seconds": elapsed,
            "operations_per_s": operations / elapsed,
            "answers_per_s": answers / elapsed,
            "load_busy": load / elapsed,
        }
        if plan.proxy:
            values["proxy_busy"] = cpu / elapsed
            if operations:
                values["cpu_us"] = cpu / operations * 1e6
        ordered = sorted(tally.latencies)
        if ordered:
            values |= {name: find_percentile(ordered, share) / 1e6 for name, share in LATENCIES.items()}
        return values

    async def _drain(self) -> None:
        self._running = False
        for task in self._dialling:
            task.cancel()
        if self._working:
            try:
                await asyncio.wait_for(self._idle.wait(), DRAIN)
            except TimeoutError:
                self.tally.errors["a client not done at the end"] += len(self._working)

    def _load_seconds(self) -> float:
        return time.process_time() + cpu_seconds(self.plan.upstream)

    def _dial(self, delay: float) -> None:
        task = asyncio.get_running_loop().create_task(self._connect(delay))
        self._dialling.add(task)
        task.add_done_callback(self._dialling.discard)

    async def _connect(self, delay: float) -> None:
        await asyncio.sleep(delay)
        parts = urlsplit(self.plan.url)
        host, port = parts.hostname or "", parts.port or 0
        make = CLIENTS[self.plan.kind]
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: make(self, self._head), host, port, ssl=self._tls)
        except OSError as error:
            self.tally.errors[f"connect: {error.strerror or error}"] += 1
            if self._running:
                self._dial(REDIAL)


async def run(plan: Plan) -> Report:
    """One window."""
    return await Load(plan).run()


if __name__ == "__main__":
    raise_file_limit()
    print(uvloop.run(run(Plan.load(sys.argv[1]))).dump().decode())
