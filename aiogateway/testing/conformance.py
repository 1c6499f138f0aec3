"""What every provider has to hold to, as a test class that a plugin inherits.

::

    class TestOllama(ProviderConformance):
        provider = Ollama()
        recordings = Path(__file__).parent / "recordings"
        skips = {"prefill": "chat templates close an assistant's turn"}

Each rule is one test, run for each recording it applies to (`aiogateway.testing.recordings` has the file format).
"""

from __future__ import annotations

import asyncio
import copy
import json

from ..contracts import Dialect
from ..errors import UpstreamStatus
from ..neutral import Finish, Reasoning, Text, ToolCall, UsageReport, Vectors
from ..types import Capability, Endpoint, Host, Origin
from .case import Case
from .leaving import leave
from .proofs import PROOFS
from .recordings import Recording
from .replay import TAIL, comparable, decode, read_events, split_frames, translates
from .splits import split_points

WAIVABLE = frozenset({"credential", "custom_host", "errors", "unary"})
"""What `skips` may name besides capabilities."""

UNKNOWN = {"x_conformance": "unheard-of-7391"}
HOST = "http://127.0.0.1:9/conformance"
REASONS = frozenset({"stop", "length", "tool_calls", "content_filter"})
ODD_BODIES = (b"", b"<html>Bad</html>", b"\xff\xfe\x00", b"null", b"[]", b'"no"', b'{"error":7}', b'{"error":{}}')


class ProviderConformance(Case):
    """The rules. `Case` says what to set."""

    # --- what is promised ---

    def test_each_capability_is_listed_or_skipped(self) -> None:
        """A capability is in `provider.capabilities` or in `skips` with a reason, and not in both."""
        listed = {str(capability) for capability in self.provider.capabilities}
        known = {str(capability) for capability in Capability}
        silent = known - listed - set(self.skips)
        assert not silent, f"neither listed nor skipped: {sorted(silent)}"
        assert not listed & set(self.skips), f"listed and skipped at once: {sorted(listed & set(self.skips))}"
        strange = set(self.skips) - known - WAIVABLE
        assert not strange, f"skips names no capability or rule: {sorted(strange)}"
        unexplained = [name for name, reason in self.skips.items() if not reason.strip()]
        assert not unexplained, f"skipped without a reason: {unexplained}"

    def test_each_listed_capability_is_recorded(self) -> None:
        """A recording shows each capability that is listed."""
        shown: set[Capability] = set()
        for recording in self._load():
            if recording.ok and recording.error is None:
                dialect = self._ask(recording).dialect
                events = read_events(dialect, recording) if translates(dialect) else ()
                shown |= {capability for capability, proof in PROOFS.items() if proof(recording, events)}
        missing = sorted(self.provider.capabilities - shown)
        assert not missing, f"no recording shows {missing}"

    def test_some_error_is_recorded(self) -> None:
        """An answer of the provider's that is not 2xx is among the recordings."""
        recorded = any(not recording.ok for recording in self._load())
        assert recorded or "errors" in self.skips, "no recording holds an error status"

    # --- answers ---

    def test_events_are_the_same_at_every_split(self, stream: Recording) -> None:
        """However the bytes of a stream are cut, the same events come out."""
        dialect = self._ask(stream).dialect
        whole = split_frames(dialect, (stream.body,))
        expected = comparable(decode(dialect, whole)) if translates(dialect) else None
        known = {whole}
        for pieces in split_points(stream.body):
            frames = split_frames(dialect, pieces)
            if frames in known:
                continue
            where = f"{stream.name}, cut after {len(pieces[0])} of {len(stream.body)} bytes"
            assert expected is not None, f"{where}: other frames"
            try:
                events = comparable(decode(dialect, frames))
            except ValueError as error:
                raise AssertionError(f"{where}: other frames, which can't be decoded: {error}") from error
            assert events == expected, f"{where}: other events"
            known.add(frames)
        walked = _walk(dialect, stream.body)
        assert walked == whole[: len(walked)], f"{stream.name}: frame_end and splitter disagree"

    def test_each_choice_finishes_once(self, answer: Recording) -> None:
        """A chat has one Finish for each choice, and nothing of that choice after it."""
        events = self._events(answer)
        if events is None or answer.endpoint is not Endpoint.CHAT:
            return
        finished: dict[int, str] = {}
        for event in events:
            if not isinstance(event, Text | Reasoning | ToolCall | Finish):
                continue
            assert event.index not in finished, f"{answer.name}: choice {event.index} goes on after its finish"
            if isinstance(event, Finish):
                assert event.reason in REASONS, f"{answer.name}: {event.reason!r} is no neutral finish reason"
                finished[event.index] = event.reason
        started = {event.index for event in events if isinstance(event, Text | Reasoning | ToolCall)}
        assert finished, f"{answer.name}: no finish"
        assert started <= set(finished), f"{answer.name}: choices {sorted(started - set(finished))} never finish"
        reasons = tuple(reason for _, reason in sorted(finished.items()))
        assert answer.finish in (None, reasons), f"{answer.name}: finished with {reasons}, not {answer.finish}"

    def test_content_arrives(self, answer: Recording) -> None:
        """An answer holds text, thoughts, tool calls or vectors; the text is the recorded one where one is given."""
        events = self._events(answer)
        if events is None:
            return
        arrived = any(isinstance(event, Text | Reasoning | ToolCall | Vectors) for event in events)
        assert arrived, f"{answer.name}: empty"
        text = "".join(event.text for event in events if isinstance(event, Text) and event.index == 0)
        assert answer.text in (None, text), f"{answer.name}: text {text!r}, not {answer.text!r}"
        for event in events:
            if isinstance(event, Vectors):
                given = answer.request.get("input")
                count = len(given) if isinstance(given, list) else 1
                assert len(event.vectors) == count, f"{answer.name}: {len(event.vectors)} vectors for {count} inputs"

    def test_tool_calls_are_whole(self, answer: Recording) -> None:
        """A tool call has one id and one name, from its first piece on, and its arguments are JSON."""
        calls: dict[tuple[int, int], list[ToolCall]] = {}
        for event in self._events(answer) or ():
            if isinstance(event, ToolCall):
                calls.setdefault((event.index, event.call), []).append(event)
        for (_, call), (first, *later) in calls.items():
            where = f"{answer.name}: tool call {call}"
            assert all((first.id, first.name)), f"{where} begins without id or name"
            assert not any(piece.id or piece.name for piece in later), f"{where} has a second id or name"
            arguments = "".join(piece.arguments for piece in (first, *later))
            assert _is_object(arguments), f"{where} has arguments that are no JSON object: {arguments!r}"
        ids = [(index, pieces[0].id) for (index, _), pieces in calls.items()]
        assert len(ids) == len(set(ids)), f"{answer.name}: two tool calls share an id"

    def test_usage_is_there_or_marked_absent(self, answer: Recording) -> None:
        """Usage is reported, by events and by `read_usage` alike, or the recording says that there is none."""
        dialect = self._ask(answer).dialect
        read = dialect.read_usage(answer.body[-TAIL:] if answer.stream else answer.body)
        events = self._events(answer)
        reports = [event.usage for event in events or () if isinstance(event, UsageReport)]
        usage = reports[-1] if reports else None
        if events is not None:
            assert read == usage, f"{answer.name}: read_usage finds {read}, the events say {usage}"
        if answer.usage_absent:
            assert read is None, f"{answer.name}: marked as without usage, but there is {read}"
            return
        assert read is not None, f"{answer.name}: no usage, and not marked 'usage: absent'"
        if answer.usage is not None:
            counted, marked = (read.input, read.output), (answer.usage.input, answer.usage.output)
            assert counted == marked, f"{answer.name}: counted {counted}, recorded {marked}"

    def test_finish_mark_is_in_the_tail(self, stream: Recording) -> None:
        """A stream that ended well shows a finish mark or the closing event in its last bytes; its events are sound."""
        dialect = self._ask(stream).dialect
        broken = [frame for frame in split_frames(dialect, (stream.body,)) if dialect.is_malformed(frame)]
        assert not broken, f"{stream.name}: malformed by is_malformed: {broken[0]!r}"
        if stream.error is None:
            marks = (*dialect.finish_marks, *((dialect.done.strip(),) if dialect.done else ()))
            assert any(mark in stream.body[-TAIL:] for mark in marks), f"{stream.name}: none of {marks} in its tail"

    def test_damaged_frames_raise_only_value_error(self, stream: Recording) -> None:
        """Half a frame, or one that isn't text, is ignored or is a ValueError; nothing else comes out of a decoder."""
        dialect = self._ask(stream).dialect
        if not translates(dialect):
            return
        for frame in split_frames(dialect, (stream.body,)):
            half, third = frame[: len(frame) // 2], frame[: len(frame) // 3]
            for damaged in (half, third + b"\xff\n\n", frame.replace(b"{", b"[")):
                try:
                    decode(dialect, (damaged,))
                except ValueError:
                    continue
                except Exception as error:
                    raise AssertionError(f"{stream.name}: {error!r} for {damaged!r}") from error

    # --- errors ---

    def test_errors_keep_what_the_provider_said(self, failure: Recording) -> None:
        """An error has the recorded status and message; one that came as a status keeps its body and headers."""
        expected = failure.error
        assert expected is not None
        error = self._read_error(failure)
        assert isinstance(error, UpstreamStatus), f"{failure.name}: {error!r} is no UpstreamStatus"
        said = (error.status, error.message)
        assert said == (expected.status, expected.message), f"{failure.name}: {said}, not {expected}"
        for field, wanted, given in (
            ("type", expected.type, error.error_type),
            ("code", expected.code, error.error_code),
        ):
            assert wanted in (None, given), f"{failure.name}: error-{field} {given!r}, not {wanted!r}"
        if not failure.ok:
            kept = (error.body, error.headers) == (failure.body, failure.headers)
            assert kept, f"{failure.name}: body or headers are not as received"

    def test_odd_error_bodies_are_still_errors(self) -> None:
        """Whatever body comes with an error status, `read_error` makes an error of it that says something."""
        for body in ODD_BODIES:
            for status in (400, 429, 503):
                error = self.provider.read_error(status, (), body)
                assert isinstance(error, UpstreamStatus), f"{body!r}: {error!r} is no UpstreamStatus"
                assert error.status == status, f"{body!r}: status {error.status}, not {status}"
                assert error.message, f"{body!r}: no message"

    # --- requests ---

    def test_prepare_is_pure(self, recording: Recording) -> None:
        """`prepare` gives the same value twice and leaves its arguments alone; `route` answers the same twice."""
        request, target = self._ask(recording).request, self._target()
        before = copy.deepcopy(request.body), dict(target.options), dict(target.override_params)
        first, second = self.provider.prepare(request, target), self.provider.prepare(request, target)
        assert first == second, f"{recording.name}: prepare gave two values"
        after = request.body, target.options, target.override_params
        assert before == after, f"{recording.name}: prepare changed its arguments"
        routes = [self.provider.route(request.endpoint, request.dialect, request.model) for _ in range(2)]
        assert routes[0] == routes[1], f"{recording.name}: route gave two values"

    def test_unknown_fields_are_kept_or_dropped_by_name(self, recording: Recording) -> None:
        """A field nobody knows reaches the provider, or is named among the dropped ones."""
        ((name, value),) = UNKNOWN.items()
        asked = self._ask(recording, UNKNOWN)
        kept = value.encode() in self.provider.prepare(asked.request, self._target()).body
        assert kept or name in asked.dropped, f"{recording.name}: {name} was lost in silence"

    def test_custom_host_is_used(self, recording: Recording) -> None:
        """A target's host takes the place of the provider's own."""
        if "custom_host" in self.skips:
            return
        host = Host(HOST, Origin.OURS, "custom_host")
        url = self._prepare(recording, host=host).url
        assert url.startswith(f"{HOST}/"), f"{recording.name}: {url} is not below {HOST}"

    def test_passthrough_keeps_method_and_query(self) -> None:
        """A request we don't understand keeps its method and raw query; a provider may also refuse all of them."""
        for method, query in (("GET", "?limit=2&a=%2F%20b"), ("DELETE", ""), ("POST", "?")):
            upstream = self.provider.passthrough(method, f"/v1/files/f-1{query}", (), self._target())
            if upstream is not None:
                assert upstream.method == method, f"{method} became {upstream.method}"
                assert upstream.url.endswith(f"files/f-1{query}"), f"{upstream.url} lost {query!r}"
                self._assert_hidden(upstream)

    # --- credentials ---

    def test_credential_goes_in_by_authorize_only(self, recording: Recording) -> None:
        """`prepare` puts no credential in, `authorize` does, and changes nothing else than headers and query."""
        prepared = self._prepare(recording)
        sent = "\n".join((prepared.url, *(value for _, value in prepared.headers), prepared.body.decode("latin-1")))
        assert self.credential not in sent, f"{recording.name}: prepare put the credential in"
        first, second = (self._authorize(prepared, secret) for secret in (self.credential, self.other_credential))
        assert (first.method, first.body) == (prepared.method, prepared.body), f"{recording.name}: authorize changed it"
        if "credential" not in self.skips:
            assert first != prepared, f"{recording.name}: authorize put no credential in"
            assert first != second, f"{recording.name}: authorize takes no notice of which credential it gets"

    def test_credential_never_shows(self, recording: Recording) -> None:
        """No `repr` or message shows the credential: not the provider's, not a request's, not an error's."""
        prepared = self._prepare(recording)
        self._assert_hidden(self._target(), self.provider, prepared, self._authorize(prepared, self.credential))
        if recording.error is not None:
            error = self._read_error(recording)
            self._assert_hidden(error, *error.args)

    # --- behind a gateway ---

    def test_a_client_that_leaves_closes_the_upstream(self, stream: Recording) -> None:
        """In a gateway, a call whose client leaves in the middle of a stream leaves its upstream at once."""
        if "custom_host" in self.skips or stream.error is not None:
            return
        key = None if "credential" in self.skips else self.credential
        dialect = self._ask(stream).dialect
        asyncio.run(leave(self.provider, dialect, stream, self.dialects, {"api_key": key, **self.options}))


def _walk(dialect: Dialect, data: bytes) -> tuple[bytes, ...]:
    """The frames by `frame_end`."""
    frames: list[bytes] = []
    position = 0
    while end := dialect.frame_end(data, position):
        frames.append(data[position:end])
        position = end
    return tuple(frames)


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False
