"""How a stream's bytes become the client's: four lanes, sans-IO. Bytes in, bytes out, a verdict at the end.

The spliced lanes (verbatim, framed) parse nothing: they look for the end of the last whole event of a read, keep a
tail, and judge by that tail once the stream is over. A lane writes whole events only, so that a cut never leaves half
an event before the in-band error.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from ..contracts import Dialect, Encoder
from ..errors import GatewayError, StreamBroken, UpstreamError
from ..neutral import Event, Failure, Finish, UsageReport
from ..types import Usage
from .transcript import Transcript

GiveUp = Callable[[GatewayError], None]
"""Told of an in-band error that another target may mend: the provider's stream has to be ended."""

CARRY_LIMIT = 1 << 18  # an event larger than this passes in pieces
BLANK_LINE = 3  # bytes of the longest one
TAIL_PIECE = 4096  # of each of the last reads; a copy, never a reference to a read of 256 KiB
TAIL_PIECES = 6  # finish, usage and the terminator often come in a read each
UNFINISHED = "the provider's stream ended before it was finished"


class Verdict:
    """How a stream ended: `error` is None for a clean end. `unsaid`: the client has not been told, since another target
    may go on with the answer.
    """

    __slots__ = ("error", "malformed", "unsaid", "usage")

    def __init__(self) -> None:
        self.error: GatewayError | None = None
        self.usage: Usage | None = None
        self.malformed = 0
        self.unsaid = False


class SplicedLane:
    """Verbatim, and framed when `hide_usage`: the same bytes, less the usage event that only we asked for."""

    __slots__ = (
        "_carry",
        "_choices",
        "_dialect",
        "_event",
        "_finishes",
        "_hidden",
        "_marks",
        "_max_event",
        "_tail",
        "verdict",
    )

    def __init__(self, dialect: Dialect, *, max_event: int, hide_usage: bool = False, choices: int = 1) -> None:
        self.verdict = Verdict()
        self._dialect = dialect
        self._marks = dialect.usage_marks if hide_usage else ()
        self._choices = choices
        self._finishes = 0
        self._max_event = max_event
        self._event = 0  # bytes of the current event that have already gone out
        self._carry = b""
        self._hidden = b""
        self._tail: deque[bytes] = deque(maxlen=TAIL_PIECES)

    def feed(self, data: bytes) -> bytes:
        """The bytes that may go out now. Raises StreamBroken for an event over `max_event`."""
        seen = 0
        if self._carry:
            seen = max(len(self._carry) - BLANK_LINE, 0)
            data, self._carry = self._carry + data, b""
        if not data.endswith((b"\n\n", b"\n\r\n")):
            data = self._hold(data, seen)
            if not data:
                return data
        else:
            self._event = 0
        self._tail.append(data if len(data) <= TAIL_PIECE else data[-TAIL_PIECE:])
        if self._choices > 1:
            self._finishes += sum(data.count(mark) for mark in self._dialect.finish_marks)
        for mark in self._marks:
            if mark in data:
                return self._hide(data)
        return data

    def _hold(self, data: bytes, seen: int) -> bytes:
        """Keeps back what follows the last whole event. None ends before `seen`: an event that comes in a thousand
        pieces is not searched a thousand times.
        """
        cut = last_blank_line(data, start=seen)
        if cut:
            self._event = 0
        elif self._event + len(data) > self._max_event:
            raise StreamBroken(f"the provider sent an event over {self._max_event} bytes")
        if len(data) - cut > CARRY_LIMIT:
            self._event += len(data) - cut
            return data
        self._carry = data[cut:]
        return data[:cut]

    def _hide(self, data: bytes) -> bytes:
        """Only the event around a mark is looked at, and only it goes; a read may hold a thousand others."""
        dialect = self._dialect
        for mark in self._marks:
            position = data.find(mark)
            while position >= 0:
                start = last_blank_line(data, position)
                end = dialect.frame_end(data, start) or len(data)
                frame = data[start:end]
                if dialect.is_usage_only(frame):
                    self._hidden = frame
                    data = data[:start] + data[end:]
                    end = start
                position = data.find(mark, end)
        return data

    def settled(self) -> bool:
        """Whether the answer is complete although the provider keeps the stream open."""
        tail = b"".join(self._tail)
        return not self._carry and (_is_done(self._dialect, tail) or self._is_finished(tail))

    def end(self, error: GatewayError | None, *, hold: bool = False) -> bytes:
        """What closes the stream towards the client; fills `verdict`. `hold`: say nothing of a break; only whole events
        were fed.
        """
        dialect = self._dialect
        out = b""
        carry, self._carry = self._carry, b""
        if (hold or error is None) and carry.strip():  # it lacks its blank line, or half of that, but it is whole
            frame = carry.rstrip(b"\r\n") + b"\n\n"
            out = b"" if dialect.is_keepalive(frame) or dialect.is_malformed(frame) else self.feed(frame)
        tail = b"".join(self._tail)
        self.verdict.usage = dialect.read_usage(self._hidden or tail)
        failure = _find_failure(dialect, tail)
        if failure is not None:
            self.verdict.error = failure
            return out
        done = _is_done(dialect, tail)
        if done or (self._is_finished(tail) and not self._event):
            return out if done else out + dialect.done
        self.verdict.error = error or StreamBroken(UNFINISHED)
        if hold:
            self.verdict.unsaid = True
            return out
        closing = b"\n\n" if self._event else b""  # ends the piece of an event that has already gone out
        return out + closing + dialect.write_failure(self.verdict.error)

    def _is_finished(self, tail: bytes) -> bool:
        if self._choices > 1:
            return self._finishes >= self._choices
        return any(mark in tail for mark in self._dialect.finish_marks)


class CheckedLane:
    """Same dialect, every event looked at: good ones keep their own bytes, malformed ones are dropped and counted.

    With a `transcript` a break can be held back for recovery; `give_up` is then told of an in-band error, at which
    the stream has to be ended.
    """

    __slots__ = ("_decoder", "_dialect", "_failure", "_give_up", "_spliced", "_splitter", "_transcript", "verdict")

    def __init__(
        self,
        dialect: Dialect,
        *,
        max_event: int,
        hide_usage: bool = False,
        choices: int = 1,
        transcript: Transcript | None = None,
        give_up: GiveUp | None = None,
    ) -> None:
        self._dialect = dialect
        self._splitter = dialect.splitter(max_event)
        self._spliced = SplicedLane(dialect, max_event=max_event, hide_usage=hide_usage, choices=choices)
        self._transcript = transcript
        self._decoder = dialect.decoder() if transcript is not None else None
        self._give_up = give_up
        self._failure: GatewayError | None = None
        self.verdict = self._spliced.verdict

    def feed(self, data: bytes) -> bytes:
        frames = self._splitter.feed(data)
        try:
            return self._pass(self._keep(frames))
        except Exception:
            _distrust(self._transcript)
            raise

    def _pass(self, frames: list[bytes]) -> bytes:
        return self._spliced.feed(b"".join(frames)) if frames else b""

    def _keep(self, frames: list[bytes]) -> list[bytes]:
        good = []
        for frame in frames:
            if self._dialect.is_malformed(frame):
                self.verdict.malformed += 1
            elif self._transcript is None or self._note(frame, self._transcript):
                good.append(frame)
        return good

    def _note(self, frame: bytes, transcript: Transcript) -> bool:
        """Whether the frame goes out: not an error that another target may mend, and nothing behind it."""
        if self._failure is not None:
            return False
        assert self._decoder is not None
        try:
            events = list(self._decoder.feed(frame))
        except ValueError:
            self.verdict.malformed += 1
            return False
        failure = next((event.error for event in events if isinstance(event, Failure)), None)
        if failure is not None and transcript.hindrance is None:  # what stands beside it goes out no more than it does
            self._failure = failure
            if self._give_up is not None:
                self._give_up(failure)
            return False
        for event in events:
            transcript.note(event)
        transcript.note_frame(frame)
        return True

    def settled(self) -> bool:
        return not self._splitter.rest() and self._spliced.settled()

    def end(self, error: GatewayError | None) -> bytes:
        out = b""
        rest = self._splitter.rest()
        if error is None and rest.strip():
            frame = rest.rstrip(b"\r\n") + b"\n\n"
            out = b"" if self._dialect.is_keepalive(frame) else self._pass(self._keep([frame]))
        hold = self._transcript is not None and self._transcript.hindrance is None
        return out + self._spliced.end(self._failure or error, hold=hold)


class TranslatedLane:
    """The provider speaks another dialect: frame, decode, neutral event, encode."""

    __slots__ = (
        "_choices",
        "_client",
        "_decoder",
        "_encoder",
        "_finished",
        "_give_up",
        "_splitter",
        "_transcript",
        "verdict",
    )

    def __init__(
        self,
        upstream: Dialect,
        client: Dialect,
        encoder: Encoder,
        *,
        max_event: int,
        choices: int = 1,
        transcript: Transcript | None = None,
        give_up: GiveUp | None = None,
    ) -> None:
        self.verdict = Verdict()
        self._client = client
        self._splitter = upstream.splitter(max_event)
        self._decoder = upstream.decoder()
        self._encoder = encoder
        self._choices = choices
        self._finished = 0
        self._transcript = transcript
        self._give_up = give_up

    def feed(self, data: bytes) -> bytes:
        frames = self._splitter.feed(data)
        try:
            return b"".join([self._translate(frame) for frame in frames])
        except Exception:
            _distrust(self._transcript)
            raise

    def _translate(self, frame: bytes) -> bytes:
        try:
            events = list(self._decoder.feed(frame))
        except ValueError:
            self.verdict.malformed += 1
            return b""
        return b"".join(self._encode(event) for event in events)

    def _encode(self, event: Event) -> bytes:
        if self.verdict.error is not None:  # nothing follows a failure
            return b""
        if isinstance(event, Failure):
            return self._break(event.error)
        if self._transcript is not None:
            self._transcript.note(event)
        if isinstance(event, Finish):
            self._finished += 1
        elif isinstance(event, UsageReport):
            self.verdict.usage = event.usage
        return self._encoder.feed(event)

    def _break(self, error: GatewayError) -> bytes:
        """The answer ends here: with an in-band error, or without a word when another target may go on with it."""
        if self._transcript is not None and self._finished >= self._choices:
            return b""  # it is whole: no other target could add to it
        self.verdict.error = error
        if self._transcript is None or self._transcript.hindrance is not None:
            return self._encoder.feed(Failure(error))
        self.verdict.unsaid = True
        if self._give_up is not None:
            self._give_up(error)
        return b""

    def settled(self) -> bool:
        return self._finished >= self._choices

    def end(self, error: GatewayError | None) -> bytes:
        out = b""
        rest = self._splitter.rest()
        if error is None and rest.strip():  # a last line without its newline
            out = self._translate(rest)
        if self.verdict.error is not None:
            return out
        if self._finished >= self._choices:
            return out + self._encoder.end()
        return out + self._break(error or StreamBroken(UNFINISHED))


Lane = SplicedLane | CheckedLane | TranslatedLane


def _distrust(transcript: Transcript | None) -> None:
    """A dialect failed in the middle of a read: of what was noted, the client may not have got all."""
    if transcript is not None:
        transcript.hindrance = transcript.hindrance or "unsupported"


def last_blank_line(data: bytes, end: int | None = None, *, start: int = 0) -> int:
    """The position after the last blank line between `start` and `end`, whatever the line ends are; 0 without one.

    rfind() is 30 times faster here than a regex; the rarer forms are looked for only behind the commoner ones.
    """
    cut = data.rfind(b"\n\n", start, end) + 2
    cut = cut if cut > 1 else 0
    for mark in (b"\n\r\n", b"\r\r", b"\n\r"):
        # a CR at the very end almost certainly is half of a CRLF, whose LF would begin the next event
        stop = len(data) - 1 if mark == b"\n\r" and end is None else end
        at = data.rfind(mark, max(cut - 1, start), stop)
        if at >= 0:
            cut = max(cut, at + len(mark))
    return cut


def _is_done(dialect: Dialect, tail: bytes) -> bool:
    """Whether the closing event came; a comment or a late usage event may follow it.

    The mark counts behind its field's name at the start of a line: inside a JSON string a line end is escaped.
    """
    field, _, mark = dialect.done.strip().rpartition(b" ")
    at = tail.rfind(mark) if mark else -1
    while at >= 0:
        before = tail[max(at - 64, 0) : at].rstrip(b" ")
        if before == field or before.endswith((b"\n" + field, b"\r" + field)):
            return True
        at = tail.rfind(mark, 0, at)
    return False


def _find_failure(dialect: Dialect, tail: bytes) -> UpstreamError | None:
    """The in-band error among the last events, which the client has already seen."""
    if b'"error"' not in tail and b".failed" not in tail:
        return None
    position = 0
    while end := dialect.frame_end(tail, position):
        failure = dialect.read_failure(tail[position:end])
        if failure is not None:
            return failure
        position = end
    return None
