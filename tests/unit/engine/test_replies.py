from __future__ import annotations

import orjson
import pytest

from aiogateway.dialects.openai_chat import OpenAIChat
from aiogateway.engine import replies
from aiogateway.engine.route import Note
from aiogateway.errors import ConnectFailed, RequestError, StreamBroken, UpstreamError, UpstreamStatus
from aiogateway.neutral import Event, Failure, Text, UsageReport
from aiogateway.types import Attempt, Outcome, Trace, Usage
from tests.unit.engine.fakes import make_call

CHAT = OpenAIChat()
ATTEMPT = Attempt(target="config.targets[1]", provider="openai", model="m", start=0.25)
THEIRS = [
    (b"content-type", b"text/event-stream"),
    (b"content-length", b"7"),
    (b"content-encoding", b"gzip"),
    (b"transfer-encoding", b"chunked"),
    (b"connection", b"keep-alive, X-Hop"),
    (b"connection", b"x-other"),
    (b"x-hop", b"1"),
    (b"x-other", b"1"),
    (b"keep-alive", b"timeout=5"),
    (b"set-cookie", b"a=b"),
    (b"alt-svc", b"h3"),
    (b"strict-transport-security", b"max-age=1"),
    (b"cache-control", b"max-age=60"),
    (b"x-accel-buffering", b"yes"),
    (b"x-portkey-trace-id", b"theirs"),
    (b"x-aiogateway-anything", b"theirs"),
    (b"x-request-id", b"r1"),
    (b"x-ratelimit-remaining-requests", b"9"),
    (b"retry-after", b"3"),
    (b"openai-processing-ms", b"12"),
    (b"server", b"acme"),
]
USEFUL = {b"x-request-id", b"x-ratelimit-remaining-requests", b"retry-after", b"openai-processing-ms"}


def test_our_headers_say_who_answered() -> None:
    call = make_call(trace=Trace(id="t-1"))
    assert replies.own_headers(call) == [(b"x-portkey-trace-id", b"t-1")]
    call.attempts += [Attempt(target="config", provider="azure", model="m", start=0), ATTEMPT]
    call.dropped_params = ("seed", "logit_bias")
    assert dict(replies.own_headers(call)) == {
        b"x-portkey-trace-id": b"t-1",
        b"x-portkey-provider": b"openai",
        b"x-portkey-last-used-option-index": b"config.targets[1]",
        b"x-portkey-retry-attempt-count": b"0",
        b"x-portkey-cache-status": b"DISABLED",
        b"x-aiogateway-dropped-params": b"seed,logit_bias",
    }


def test_a_trace_id_goes_back_in_the_bytes_it_came_in() -> None:
    call = make_call(trace=Trace(id="naïve ☃"))
    assert replies.own_headers(call) == [(b"x-portkey-trace-id", "naïve ☃".encode())]


def test_what_no_header_can_carry_is_replaced() -> None:
    call = make_call(trace=Trace(id="half \ud800"))
    assert replies.own_headers(call) == [(b"x-portkey-trace-id", b"half ?")]


def test_hop_by_hop_headers_and_ours_dont_pass() -> None:
    kept = dict(replies.pass_headers(THEIRS))
    assert set(kept) == USEFUL | {
        b"content-type", b"content-length", b"content-encoding", b"cache-control", b"x-accel-buffering", b"server"
    }  # fmt: skip


def test_what_connection_names_is_dropped_even_if_it_comes_first() -> None:
    headers = [(b"x-hop", b"1"), (b"connection", b" X-Hop ,close"), (b"x-kept", b"2")]
    assert replies.pass_headers(headers) == [(b"x-kept", b"2")]


def test_repeated_headers_stay_repeated_and_in_order() -> None:
    headers = [(b"x-b", b"1"), (b"x-a", b"2"), (b"x-b", b"3")]
    assert replies.pass_headers(headers) == headers
    assert replies.pass_headers(headers, frozenset((b"x-b",))) == [(b"x-a", b"2")]


def test_head_of_a_stream_in_the_same_dialect() -> None:
    headers = replies.stream_headers(make_call(), THEIRS, CHAT, verbatim=True)
    names = [name for name, _ in headers]
    assert len(names) == len(set(names))
    kept = dict(headers)
    assert kept[b"cache-control"] == b"no-cache"
    assert kept[b"x-accel-buffering"] == b"no"
    assert kept[b"content-type"] == b"text/event-stream"
    assert kept[b"x-portkey-trace-id"] == b"trace-1"
    assert kept[b"server"] == b"acme"
    assert b"content-encoding" not in kept
    assert b"content-length" not in kept


def test_head_of_a_translated_stream() -> None:
    kept = dict(replies.stream_headers(make_call(), THEIRS, CHAT, verbatim=False))
    assert set(kept) == USEFUL | {b"content-type", b"cache-control", b"x-accel-buffering", b"x-portkey-trace-id"}
    assert kept[b"content-type"] == b"text/event-stream"


def test_head_of_a_whole_answer() -> None:
    theirs = [*THEIRS[1:], (b"content-type", b"text/plain")]
    kept = dict(replies.unary_headers(make_call(), theirs, verbatim=True))
    assert (kept[b"content-type"], kept[b"server"]) == (b"text/plain", b"acme")
    assert not {b"content-length", b"content-encoding"} & set(kept)
    ours = dict(replies.unary_headers(make_call(), theirs, verbatim=False))
    assert ours[b"content-type"] == b"application/json"
    assert set(ours) == USEFUL | {b"content-type", b"x-portkey-trace-id"}


def test_a_providers_error_keeps_its_body_and_headers() -> None:
    error = UpstreamStatus(
        "no", status=429, body=b"<html>no</html>",
        headers=(("content-type", "text/html"), ("retry-after", "3"), ("connection", "close"), ("content-length", "9")),
    )  # fmt: skip
    body, headers = replies.write_error(make_call(), error, CHAT)
    assert body == b"<html>no</html>"
    assert dict(headers) == {b"content-type": b"text/html", b"retry-after": b"3", b"x-portkey-trace-id": b"trace-1"}


def test_an_error_without_a_body_of_its_own_gets_ours() -> None:
    error = UpstreamStatus("no", status=429, headers=(("retry-after", "3"), ("content-type", "text/html")))
    body, headers = replies.write_error(make_call(), error, CHAT)
    assert orjson.loads(body)["error"]["message"] == "no"
    assert dict(headers) == {
        b"content-type": b"application/json",
        b"retry-after": b"3",
        b"x-portkey-trace-id": b"trace-1",
    }


@pytest.mark.parametrize("dialect", [CHAT, None], ids=["known endpoint", "no endpoint"])
def test_our_errors_have_both_shapes(dialect: OpenAIChat | None) -> None:
    body, _ = replies.write_error(make_call(), RequestError("bad model", param="model"), dialect)
    assert orjson.loads(body) == {
        "error": {
            "message": "bad model", "type": "invalid_request_error", "param": "model", "code": "invalid_request"
        },
        "status": "failure",
        "message": "bad model",
    }  # fmt: skip


class Answering(OpenAIChat):
    def __init__(self, events: Exception | list[Event]) -> None:
        super().__init__()
        self.events = events

    def read_answer(self, body: bytes) -> list[Event]:
        if isinstance(self.events, Exception):
            raise self.events
        return self.events


def test_an_answer_that_makes_no_sense() -> None:
    with pytest.raises(StreamBroken, match="can't be understood"):
        replies.read_events(Answering(ValueError("no")), b"{}")
    with pytest.raises(UpstreamError, match="plugin failed"):
        replies.read_events(Answering(KeyError("no")), b"{}")


def test_an_answer_that_holds_an_error() -> None:
    error = ConnectFailed("inside")
    with pytest.raises(ConnectFailed) as caught:
        replies.read_events(Answering([Text("a"), Failure(error)]), b"{}")
    assert caught.value is error
    assert replies.read_events(Answering([Text("a")]), b"{}") == [Text("a")]


def test_the_last_usage_counts() -> None:
    events: list[Event] = [UsageReport(Usage(input=1)), Text("a"), UsageReport(Usage(input=2)), Text("b")]
    assert replies.find_usage(events) == Usage(input=2)
    assert replies.find_usage([Text("a")]) is None


def test_a_record_of_a_call_that_went_well() -> None:
    call = make_call(clock=100.0, status=200, outcome=Outcome.OK, committed=0.5, sent=9, malformed=1)
    call.attempts.append(ATTEMPT)
    record = replies.make_record(call, 102.0)
    assert (record.status, record.outcome, record.duration, record.overhead) == (200, Outcome.OK, 2.0, 0.25)
    assert (record.first_token, record.sent, record.malformed, record.attempts) == (0.5, 9, 1, (ATTEMPT,))
    assert (record.id, record.trace, record.route) == ("call-1", call.trace, call.route)


@pytest.mark.parametrize("outcome", [Outcome.CLIENT_LEFT, Outcome.CLIENT_STALLED, None])
def test_the_client_that_left_is_a_499_whatever_it_had(outcome: Outcome | None) -> None:
    record = replies.make_record(make_call(status=200, outcome=outcome), 1.0)
    assert record.status == 499
    assert record.outcome is (outcome or Outcome.CLIENT_LEFT)


def test_a_call_that_never_got_a_status() -> None:
    record = replies.make_record(make_call(clock=1.0, outcome=Outcome.FAILED), 3.0)
    assert (record.status, record.overhead, record.duration) == (500, 2.0, 2.0)


# --- retries and reasons ---


@pytest.mark.parametrize(("retries", "shown"), [(0, b"0"), (1, b"1"), (5, b"5"), (-1, b"-1")])
def test_the_retries_at_the_last_target_are_told(retries: int, shown: bytes) -> None:
    call = make_call(retries=retries)
    call.attempts.append(ATTEMPT)
    assert dict(replies.own_headers(call))[b"x-portkey-retry-attempt-count"] == shown


ASKED_AGAIN = (("content-type", "application/json"), ("x-should-retry", "true"))


@pytest.mark.parametrize("body", [b'{"error":{"message":"no"}}', b""], ids=["their body", "our body"])
@pytest.mark.parametrize(
    ("attempts", "retries", "shown"),
    [(0, 0, None), (1, 0, None), (1, -1, b"false"), (2, 0, b"false"), (2, 1, b"false"), (2, -1, b"false")],
)
def test_a_client_is_told_not_to_multiply_our_tries(
    body: bytes, attempts: int, retries: int, shown: bytes | None
) -> None:
    call = make_call(retries=retries)
    call.attempts += [ATTEMPT] * attempts
    error = UpstreamStatus("no", status=503, body=body, headers=ASKED_AGAIN)
    _, headers = replies.write_error(call, error, CHAT)
    said = [value for name, value in headers if name == b"x-should-retry"]
    assert said == ([shown] if shown else [b"true"] if body else [])  # theirs only where we have nothing to say
    _, headers = replies.write_error(call, ConnectFailed("no"), None)
    assert [value for name, value in headers if name == b"x-should-retry"] == ([shown] if shown else [])


def test_whoever_asks_is_told_why() -> None:
    call = make_call(explain=True)
    call.notes.append(Note("config.targets[0]", "skipped", "circuit open"))
    call.attempts.append(ATTEMPT)
    shown = dict(replies.own_headers(call))[b"x-aiogateway-explain"]
    assert shown == replies.explain(call).encode()
    assert b"config.targets[0] skipped: circuit open" in shown
    assert b"config.targets[1] tried" in shown
    for headers in (
        replies.stream_headers(call, [], CHAT, verbatim=True),
        replies.unary_headers(call, [], verbatim=False),
        replies.write_error(call, RequestError("no"), CHAT)[1],
    ):
        assert dict(headers)[b"x-aiogateway-explain"] == shown
    call.explain = False
    assert b"x-aiogateway-explain" not in dict(replies.own_headers(call))


def test_the_reason_fits_into_a_header_whatever_a_path_holds() -> None:
    call = make_call(explain=True)
    call.notes.append(Note("config\r\nx-evil: 1 ☃", "tried", "\x00"))
    shown = dict(replies.own_headers(call))[b"x-aiogateway-explain"]
    assert not {0, 10, 13} & set(shown)
    assert max(shown) < 127


def test_a_record_tells_of_retries_and_recovery() -> None:
    record = replies.make_record(make_call(retries=-1, recovery="recovered"), 1.0)
    assert (record.retries, record.recovery) == (-1, "recovered")
