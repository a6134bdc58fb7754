"""Replays one recorded connection: determines the server's next steps, and checks the client's messages. Pure.

The code neither waits nor sends: the caller passes the time and the client's messages, and performs the returned steps.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from ..._recording.format import RECEIVED, SENT, Entry, RecordedConnection
from .matching import Ids, Matcher, Message, recorded

__all__ = ["CLOSE", "CUT", "PING", "SEND", "LenientPlayer", "Player", "Step", "StrictPlayer"]

SEND: Final = "send"
PING: Final = "ping"
CLOSE: Final = "close"
CUT: Final = "cut"
"""Steps of the server: send a message, send a ping, send a close frame, end the connection without a close frame."""

EXPECT: Final = "expect"
CLIENT_CLOSE: Final = "client_close"
"""Steps of the client: it sends a message, or ends the connection."""

_REFUSAL: Final = "the recording has another message here"
_POLICY: Final = 1008  # policy violation (RFC 6455 §7.4.1); after this code a client does not reconnect


class Step(NamedTuple):
    """An action of the server.

    Attributes:
        what: ``SEND``, ``PING``, ``CLOSE`` or ``CUT``.
        payload: the payload of the message or ping; the reason of a close frame.
        code: the code of a close frame.
    """

    what: str
    payload: str | bytes = ""
    code: int | None = None


class RecordedStep(NamedTuple):
    """A recorded step of the server or the client.

    Attributes:
        what: one of the six kinds of steps.
        at: seconds since the recording began.
        line: the number of its line in the file.
        message: the message.
        code: the code of a close frame.
    """

    what: str
    at: float
    line: int
    message: Message
    code: int | None = None


class Player:
    """The base of the strict and the lenient player.

    Attributes:
        differences: one sentence for each difference between the recording and what the client did.
        unexpected: payloads that correspond to no recorded message.
        subprotocol: the recorded subprotocol, or None.
        headers: the headers of the recorded response.
    """

    def __init__(self, connection: RecordedConnection, matcher: Matcher, speed: float | None) -> None:
        """
        Args:
            connection: the recorded connection.
            matcher: compares messages.
            speed: 1.0 for the recorded speed, 2.0 for twice the speed; None for as fast as possible.
        """
        self.differences: list[str] = []
        self.unexpected: list[str | bytes] = []
        self.subprotocol = connection.subprotocol
        self.headers = connection.headers
        self._number = connection.number
        self._matcher = matcher
        self._speed = speed
        self._ids: Ids = {}
        self._heartbeat_answers: list[Step] = []  # not returned by `steps` yet

    def begin(self, now: float) -> None:
        """Called when the client has connected."""
        raise NotImplementedError

    def take(self, payload: str | bytes, now: float) -> None:
        """Called when the client has sent a message."""
        raise NotImplementedError

    def client_closed(self, code: int) -> None:
        """Called when the client has closed the connection."""

    def steps(self, now: float) -> list[Step]:
        """The steps that the server must perform now."""
        raise NotImplementedError

    def next_at(self) -> float | None:
        """When to call ``steps`` again even if the client sends nothing; None if no step is due by time."""
        raise NotImplementedError

    def missing(self) -> list[str]:
        """One sentence for each recorded message that the client had to send and did not send. A lenient player has
        none, since its client may leave messages out.
        """
        return []

    def _is_heartbeat(self, message: Message) -> bool:
        """Whether a message equals a recorded heartbeat. If the recorded one was answered, queue the same answer."""
        for beat, answer in self._matcher.heartbeats:
            if self._matcher.same_but_ids(beat, message):
                if answer is not None:
                    ids: Ids = {}
                    self._matcher.learn(beat.value, message.value, ids)
                    self._heartbeat_answers.append(Step(SEND, self._matcher.relabelled(answer, ids)))
                return True
        return False

    def _take_heartbeat_answers(self) -> list[Step]:
        """Remove and return the answers to heartbeats."""
        answers, self._heartbeat_answers = self._heartbeat_answers, []
        return answers

    def differ(self, what: str) -> None:
        """Note a difference between the client and the recording. A lenient player ignores it."""

    def _gap(self, earlier: float, later: float) -> float:
        return 0.0 if self._speed is None else max(0.0, later - earlier) / self._speed


class StrictPlayer(Player):
    """The client must send the recorded messages in their order; the server's messages follow in the recorded order."""

    def __init__(self, connection: RecordedConnection, matcher: Matcher, speed: float | None) -> None:
        super().__init__(connection, matcher, speed)
        self._recorded_steps = recorded_steps(connection, matcher)
        self._position = 0
        self._inbox: deque[Message] = deque()
        self._done_at = 0.0
        self._recorded_at = connection.at
        self._opened_on = connection.line
        self._has_differed = False
        self._refused = False

    def begin(self, now: float) -> None:
        self._done_at = now

    def take(self, payload: str | bytes, now: float) -> None:
        message = self._matcher.read(payload)
        left = self._recorded_steps[self._position :] if self._matcher.heartbeats else []
        expected = any(one.what is EXPECT and self._matcher.same_but_ids(one.message, message) for one in left)
        if expected or not self._is_heartbeat(message):
            self._inbox.append(message)

    def client_closed(self, code: int) -> None:
        step = self._recorded_step()
        if step is not None and step.what is CLIENT_CLOSE and step.code not in (None, code):
            self._add_difference(step.line, f"the client should close with {step.code}, but closed with {code}")

    def steps(self, now: float) -> list[Step]:
        found = self._take_heartbeat_answers()
        while (step := self._recorded_step()) is not None:
            if step.what is EXPECT:
                if not self._inbox:
                    break
                message = self._inbox.popleft()
                if not self._is_same(step.message, message):
                    self._add_difference(step.line, f"expected {step.message}, got {message}")
                    break
            elif step.what is CLIENT_CLOSE or now < self._due(step):
                break
            else:
                found.append(_step(step, self._matcher.relabelled(step.message, self._ids)))
            self._done_at, self._recorded_at = now, step.at
            self._position += 1
        if self._inbox and (step is None or step.what is CLIENT_CLOSE) and not self._has_ended():
            self._add_difference(step.line if step else None, f"expected nothing more, got {self._inbox.popleft()}")
        if self._has_differed and not self._refused:
            self._refused = True
            found.append(Step(CLOSE, _REFUSAL, _POLICY))
        return found

    def next_at(self) -> float | None:
        step = self._recorded_step()
        return None if step is None or step.what in (EXPECT, CLIENT_CLOSE) else self._due(step)

    def differ(self, what: str) -> None:
        self._add_difference(self._opened_on, what)

    def missing(self) -> list[str]:
        if self._has_differed:
            return []  # everything after the first difference differs too
        return [
            f"connection {self._number}, line {step.line}: never sent: {step.message}."
            for step in self._recorded_steps[self._position :]
            if step.what is EXPECT
        ]

    def _is_same(self, wanted: Message, got: Message) -> bool:
        """Whether the client's message is the recorded one; with heartbeats, its id may differ."""
        if not self._matcher.heartbeats:
            return self._matcher.same(wanted, got)
        if not self._matcher.same_but_ids(wanted, got):
            return False
        self._matcher.learn(wanted.value, got.value, self._ids)
        return True

    def _recorded_step(self) -> RecordedStep | None:
        return (
            None
            if self._refused or self._position == len(self._recorded_steps)
            else self._recorded_steps[self._position]
        )

    def _due(self, step: RecordedStep) -> float:
        return self._done_at + self._gap(self._recorded_at, step.at)

    def _has_ended(self) -> bool:
        """Whether the server has ended the connection, so that it reads no more messages."""
        return self._refused or (self._position > 0 and self._recorded_steps[self._position - 1].what in (CLOSE, CUT))

    def _add_difference(self, line: int | None, what: str) -> None:
        self._has_differed = True
        where = "after its last line" if line is None else f"line {line}"
        self.differences.append(f"connection {self._number}, {where}: {what}.")


class LenientPlayer(Player):
    """The client may send messages in any order, leave some out and add others.

    A message of the client is assigned to the first recorded message that corresponds to it. A message of the server
    *answers by an id* if it has the id of a message of the client and is not a call. Three rules determine when the
    server's messages are sent:

    * Messages that precede the client's first message in the recording are sent at once.
    * If no message of the server on this connection answers by an id, each of them is sent after the client's message
      that precedes it in the recording.
    * If some messages answer by an id, each of these is sent after the message that it answers. The others are called
      *pushes*. A push is sent after the client's message that precedes it in the recording, or after a later one if
      that is received first. Pushes keep their recorded order. Exception: with ``speed=``, a push may overtake an
      earlier one if the client sends its messages faster than it did in the recording.
    """

    def __init__(self, connection: RecordedConnection, matcher: Matcher, speed: float | None) -> None:
        super().__init__(connection, matcher, speed)
        self._unplayed: dict[int, RecordedStep] = {}
        self._answers: dict[int, list[RecordedStep]] = {-1: []}
        self._pushes: deque[tuple[int, RecordedStep]] = deque()
        self._end: RecordedStep | None = None
        self._waiting: list[tuple[float, int, RecordedStep]] = []
        self._opened_at = connection.at
        self._last_at = (0.0, connection.at)  # when the last step was made: on the clock, and in the recording
        self._plan(recorded_steps(connection, matcher))

    def begin(self, now: float) -> None:
        self._last_at = now, self._opened_at
        self._play(-1, self._opened_at, now)

    def take(self, payload: str | bytes, now: float) -> None:
        message = self._matcher.read(payload)
        number = self._find(message)
        if number is None and self._is_heartbeat(message):
            return
        if number is None:
            self.unexpected.append(payload)
            return
        step = self._unplayed.pop(number)
        self._matcher.learn(step.message.value, message.value, self._ids)
        self._play(number, step.at, now)

    def steps(self, now: float) -> list[Step]:
        found = self._take_heartbeat_answers()
        while self._waiting and self._waiting[0][0] <= now:
            _, _, step = heapq.heappop(self._waiting)
            self._last_at = now, step.at
            found.append(_step(step, self._matcher.relabelled(step.message, self._ids)))
        end_at = self._end_at()
        if self._end is not None and end_at is not None and end_at <= now:
            found.append(_step(self._end, self._end.message.payload))
            self._end = None
        return found

    def next_at(self) -> float | None:
        return self._waiting[0][0] if self._waiting else self._end_at()

    def _plan(self, steps: Sequence[RecordedStep]) -> None:
        """Assign each message of the server to the client's message that it follows."""
        # For each message of the server: the number of the client's message that precedes it, and the number of the
        # client's message that it answers.
        said: list[tuple[RecordedStep, int, int | None]] = []
        asked: dict[tuple[bool, Any], int] = {}  # for each id, the client's last message that has it
        for step in steps:
            if step.what is EXPECT:
                number = len(self._unplayed)
                self._unplayed[number], self._answers[number] = step, []
                asked.update(dict.fromkeys(self._matcher.ids_of(step.message.value), number))
            elif step.what in (SEND, PING):
                said.append((step, len(self._unplayed) - 1, self._answered(step, asked)))
        by_ids = any(answered is not None for _, _, answered in said)
        for step, before, answered in said:
            if answered is None and by_ids:
                self._pushes.append((before, step))
            else:
                self._answers[before if answered is None else answered].append(step)
        last = steps[-1] if steps else None
        self._end = last if last is not None and last.what in (CLOSE, CUT) else None

    def _answered(self, step: RecordedStep, asked: Mapping[tuple[bool, Any], int]) -> int | None:
        """The number of the client's message that a message of the server answers by its id; None if there is none."""
        if step.what is not SEND or self._matcher.is_call(step.message.value):
            return None
        return max((asked[id] for id in self._matcher.ids_of(step.message.value) if id in asked), default=None)

    def _find(self, message: Message) -> int | None:
        for test in (self._matcher.same_but_ids, self._matcher.alike):
            for number, step in self._unplayed.items():
                if test(step.message, message):
                    return number
        return None

    def _play(self, number: int, recorded_at: float, now: float) -> None:
        self._last_at = now, recorded_at
        due = self._answers[number]
        while self._pushes and self._pushes[0][0] <= number:
            due = [*due, self._pushes.popleft()[1]]
        for step in due:
            heapq.heappush(self._waiting, (now + self._gap(recorded_at, step.at), step.line, step))

    def _end_at(self) -> float | None:
        """When the server ends the connection; None while another step is left, or if the server does not end it."""
        if self._end is None or self._unplayed or self._waiting or self._pushes:
            return None
        now, recorded_at = self._last_at
        return now + self._gap(recorded_at, self._end.at)


def heartbeats(connections: Iterable[RecordedConnection], matcher: Matcher) -> list[tuple[Message, Message | None]]:
    """The client's heartbeats, each with the message that answers it by its id, or None."""
    found: list[tuple[Message, Message | None]] = []
    for connection in connections:
        asked: dict[tuple[bool, Any], int] = {}
        for entry in connection.entries:
            if entry.kind != "message":
                continue
            message = recorded(entry.payload)
            if entry.is_heartbeat:
                asked.update(dict.fromkeys(matcher.ids_of(message.value), len(found)))
                found.append((message, None))
            elif entry.direction == RECEIVED and not matcher.is_call(message.value):
                for id in matcher.ids_of(message.value):
                    if id in asked:
                        found[asked[id]] = found[asked[id]][0], message
    return found


def recorded_steps(connection: RecordedConnection, matcher: Matcher) -> list[RecordedStep]:
    """The steps of a recorded connection, up to its end. Left out are pongs, the client's pings, the client's
    heartbeats, and the answers to these heartbeats.
    """
    found = []
    beats: set[tuple[bool, Any]] = set()
    for entry in connection.entries:
        if entry.is_heartbeat:
            beats.update(matcher.ids_of(recorded(entry.payload).value))
            continue
        if beats and entry.kind == "message" and entry.direction == RECEIVED:
            value = recorded(entry.payload).value
            if not matcher.is_call(value) and beats.intersection(matcher.ids_of(value)):
                continue
        what = _WHAT.get((entry.kind, entry.direction))
        if what is not None:
            found.append(_recorded_step(what, entry))
        if what in (CLOSE, CLIENT_CLOSE):
            return found
    if connection.lost is not None:
        initiator, code = connection.lost
        what = CUT if initiator in ("network", "keepalive") else CLIENT_CLOSE
        found.append(RecordedStep(what, connection.lost_at, connection.line, Message("", None), code))
    return found


_WHAT: Final = {
    ("message", SENT): EXPECT,
    ("message", RECEIVED): SEND,
    ("ping", RECEIVED): PING,
    ("close", SENT): CLIENT_CLOSE,
    ("close", RECEIVED): CLOSE,
}


def _recorded_step(what: str, entry: Entry) -> RecordedStep:
    message: Any = recorded(entry.payload) if entry.kind == "message" else Message(entry.payload, None)
    return RecordedStep(what, entry.at, entry.line, message, entry.code)


def _step(step: RecordedStep, payload: str | bytes) -> Step:
    return Step(step.what, payload, step.code)
