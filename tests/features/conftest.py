"""Every feature test runs on uvloop, as production does, and on asyncio's own loop; noise on either fails it."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable, Iterator, Mapping

import pytest
import uvloop


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}


@pytest.fixture(autouse=True, scope="session")
def swept() -> None:
    """What was imported is never walked again: half the time of these tests was the collector's."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def quiet(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fails a test that leaves an error in the log; `@pytest.mark.noisy` says that one is expected."""
    with caplog.at_level(logging.DEBUG):
        yield
    gc.collect()
    if request.node.get_closest_marker("noisy") is None:
        loud = [record for record in caplog.get_records("call") if record.levelno >= logging.ERROR]
        assert not loud, [record.getMessage() for record in loud]
