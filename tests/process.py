"""A gateway in a process of its own, as `aiogateway serve` starts it: for signals, exit statuses, logs and memory."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import orjson

from tests.stage import Client

LISTENING = re.compile(r"listening on http://127\.0\.0\.1:(\d+)")
PATIENCE = 20.0  # seconds until a process must have started or ended


class Served:
    """The process. `lines` is what it said on standard error so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.port = 0
        self.lines: list[str] = []
        self._said = asyncio.Event()
        self._clients: list[Client] = []

    async def connect(self, *, limit: int = 1 << 16) -> Client:
        """A client, which leaves at the end. `limit`: bytes that it takes although the test does not read them."""
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port, limit=limit))
        self._clients.append(client)
        return client

    def close_clients(self) -> None:
        for client in self._clients:
            client.leave()

    async def listen(self) -> None:
        """Reads standard error to its end."""
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.lines.append(line.decode())
            self._said.set()

    async def says(self, text: str) -> None:
        """Waits for a line that holds `text`; fails if the process ends without it."""
        async with asyncio.timeout(PATIENCE):
            while not any(text in line for line in self.lines):
                assert self.process.returncode is None, self.lines
                self._said.clear()
                await self._said.wait()

    async def ended(self) -> int:
        async with asyncio.timeout(PATIENCE):
            return await self.process.wait()

    def memory(self, field: str = "VmRSS") -> int:
        """Bytes, by the kernel's count: `VmRSS` now, `VmHWM` at most so far."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition(f"{field}:")[2].split()[0]) * 1024


@contextlib.asynccontextmanager
async def serve(
    tmp: Path, *flags: str, environ: Mapping[str, str] | None = None, **settings: Any
) -> AsyncIterator[Served]:
    """Starts a gateway with `settings` on a free port and waits until it listens. It is killed at the end."""
    file = tmp / "served.json"
    file.write_bytes(orjson.dumps({"port": 0, **settings}))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "aiogateway", "serve", "--config", str(file), *flags,
        env={**_environ(tmp), **(environ or {})}, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    served = Served(process)
    listening = asyncio.create_task(served.listen())
    try:
        await served.says("listening on")
        found = next(match for line in served.lines if (match := LISTENING.search(line)))
        served.port = int(found[1])
        yield served
    finally:
        served.close_clients()
        if process.returncode is None:
            process.kill()
        await process.wait()
        await listening


async def start_and_fail(tmp: Path, *, environ: Mapping[str, str] | None = None, **settings: Any) -> tuple[int, str]:
    """The exit status and standard error of a gateway that must not start."""
    file = tmp / "served.json"
    file.write_bytes(orjson.dumps({"port": 0, **settings}))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "aiogateway", "serve", "--config", str(file),
        env={**_environ(tmp), **(environ or {})}, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(PATIENCE):
            _, said = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, said.decode()


async def until(true: Callable[[], bool], limit: float = 5.0) -> None:
    """Waits for what nobody tells us: looks every few milliseconds, TimeoutError after `limit` seconds."""
    async with asyncio.timeout(limit):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def _environ(tmp: Path) -> dict[str, str]:
    """The process's own environment less what settings and proxies are read from."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("AIOGATEWAY_") and name.lower() not in ("https_proxy", "no_proxy", "ssl_cert_file")
    }
    return {**kept, "HOME": str(tmp)}
