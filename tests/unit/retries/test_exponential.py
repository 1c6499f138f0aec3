from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiogateway.contracts import RetryPolicy
from aiogateway.errors import (
    ClientStalled,
    ConnectFailed,
    ConnectTimeout,
    FirstTokenTimeout,
    GatewayError,
    IdleTimeout,
    Overloaded,
    PluginError,
    RequestError,
    RequestTimeout,
    StreamBroken,
    TotalTimeout,
    UpstreamError,
    UpstreamStatus,
    UpstreamTLS,
)
from aiogateway.retries.exponential import MAX_WAIT, Exponential, register_retry_policies
from aiogateway.settings import Settings
from aiogateway.types import Retry, Target

NOW = 784_111_777.0
DEFAULT = Retry(attempts=2)
ALL = Retry(attempts=2, on_status_codes=tuple(range(200, 600)))
NONE = Retry(attempts=2, on_status_codes=())


def status(code: int, *headers: tuple[str, str], body: bytes = b"") -> UpstreamStatus:
    return UpstreamStatus("no", status=code, headers=headers, body=body)


def wait(
    error: GatewayError, *, made: int = 0, retry: Retry = DEFAULT, first: float = 1.0, draw: float = 0.0
) -> float | None:
    policy = Exponential(first, clock=lambda: NOW)
    return policy.wait(error, made, Target(path="config", provider="openai", retry=retry), lambda: draw)


def test_it_is_registered_under_its_name_with_the_settings_first_wait() -> None:
    registered: list[RetryPolicy] = []
    register_retry_policies(registered.append, Settings(retry_wait=4.0))
    (policy,) = registered
    assert policy.name == "exponential" == Retry().policy
    target = Target(path="config", provider="openai")
    assert policy.wait(status(500), 0, target, lambda: 0.0) == 2.0


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503, 504])
def test_the_statuses_that_are_tried_again(code: int) -> None:
    assert wait(status(code)) is not None
    assert wait(status(code), retry=NONE) is None


@pytest.mark.parametrize("code", [400, 401, 403, 404, 409, 413, 422, 424, 501, 520, 524, 529])
def test_the_statuses_that_are_not_unless_they_are_listed(code: int) -> None:
    assert wait(status(code)) is None
    assert wait(status(code), retry=Retry(attempts=1, on_status_codes=(code,))) is not None


@pytest.mark.parametrize("error", [ConnectFailed("no"), ConnectTimeout("no"), StreamBroken("cut")])
def test_no_answer_at_all_is_tried_again_whatever_is_listed(error: GatewayError) -> None:
    assert wait(error, retry=NONE) is not None


def test_an_error_of_no_kind_goes_by_its_status() -> None:
    assert wait(UpstreamError("no")) is not None
    assert wait(UpstreamError("no"), retry=Retry(on_status_codes=(429,))) is None


@pytest.mark.parametrize(
    "error",
    [
        UpstreamTLS("expired"),
        FirstTokenTimeout("silence"),
        IdleTimeout("silence"),
        TotalTimeout("too long"),
        RequestError("bad"),
        RequestTimeout("slow"),
        PluginError("broken", plugin="acme"),
        Overloaded("full"),
        ClientStalled("stuck"),
        GatewayError("bug"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_another_try_would_not_mend(error: GatewayError) -> None:
    assert wait(error, retry=ALL) is None


def test_the_wait_doubles_and_half_of_it_is_random() -> None:
    assert [wait(status(500), made=made) for made in range(5)] == [0.5, 1.0, 2.0, 4.0, 8.0]
    assert [wait(status(500), made=made, draw=0.5) for made in range(3)] == [0.75, 1.5, 3.0]
    assert [wait(ConnectFailed("no"), made=made, first=0.25) for made in range(3)] == [0.125, 0.25, 0.5]


@pytest.mark.parametrize(
    ("error", "asked"),
    [
        (status(429, ("retry-after", "2")), 2.0),
        (status(503, ("retry-after", "2")), 2.0),
        (status(429, ("retry-after-ms", "300")), 0.3),
        (status(429, ("retry-after", "Sun, 06 Nov 1994 08:49:47 GMT")), 10.0),
        (
            status(429, body=b'{"error":{"details":[{"@type":"google.rpc.RetryInfo","retryDelay":"3.5s"}]}}'),
            3.5,
        ),
    ],
)
def test_a_wait_that_is_asked_for_is_kept_whatever_was_made(error: UpstreamStatus, asked: float) -> None:
    assert wait(error, made=3) == asked
    assert wait(error, made=3, draw=0.5) == pytest.approx(asked * 1.05)


def test_a_wait_that_is_asked_for_can_be_left_out_of_account() -> None:
    retry = Retry(attempts=2, use_retry_after=False)
    assert wait(status(429, ("retry-after", "20")), retry=retry) == 0.5


@pytest.mark.parametrize("asked", ["0", "-3", "soon", "Sun, 06 Nov 1994 08:49:27 GMT"])
def test_a_wait_of_nothing_backs_off_all_the_same(asked: str) -> None:
    assert wait(status(429, ("retry-after", asked)), made=1) == 1.0


def test_an_unlisted_status_is_not_tried_again_although_it_names_a_wait() -> None:
    assert wait(status(401, ("retry-after", "2"))) is None


def test_jitter_takes_no_wait_over_the_limit_but_a_longer_one_stays_longer() -> None:
    assert wait(status(429, ("retry-after", "60")), draw=0.9) == MAX_WAIT
    assert wait(status(429, ("retry-after", "59")), draw=0.9) == MAX_WAIT
    assert wait(status(429, ("retry-after", "61")), draw=0.9) == 61.0


@given(
    made=st.integers(0, 100),
    first=st.floats(0.001, 3600),
    draw=st.floats(0, 1, exclude_max=True),
    asked=st.none() | st.floats(0.001, 86_400),
)
def test_a_wait_is_within_its_bounds(made: int, first: float, draw: float, asked: float | None) -> None:
    headers = () if asked is None else (("retry-after", f"{asked:.6f}"),)
    seconds = wait(status(429, *headers), made=made, first=first, draw=draw)
    assert seconds is not None
    if asked is None:
        assert first * 2.0**made / 2 <= seconds <= first * 2.0**made
    else:
        assert asked - 1e-6 <= seconds <= asked * 1.1 + 1e-6


def test_a_crowd_comes_back_spread_out() -> None:
    draws = [index / 1000 for index in range(1000)]
    waits = [wait(status(503), draw=draw) or 0.0 for draw in draws]
    assert max(waits) - min(waits) > 0.49
    assert len(set(waits)) == 1000
