"""One recorded connection, played back: what the server does next, and what it makes of what the client does. Pure.

Nothing waits here and nothing is sent: the caller passes the time, performs the steps it is given, and tells what came.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from ..._recording.format import RECEIVED, SENT, Entry, RecordedConnection
from .matching import Ids, Matcher, Message, recorded

__all__ = ["CLOSE", "CUT", "PING", "SAY", "LenientPlayer", "Player", "Step", "StrictPlayer"]

SAY: Final = "say"
PING: Final = "ping"
CLOSE: Final = "close"
CUT: Final = "cut"
"""What a server can do."""

EXPECT: Final = "expect"
GOODBYE: Final = "goodbye"
"""What a client does: it sends a message, or ends the connection."""

_REFUSAL: Final = "the recording has another message here"
_POLICY: Final = 1008  # RFC 6455 §7.4.1; a client takes it for final, as it should here


class Step(NamedTuple):
    """Something that the server does.

    Attributes:
        what: ``SAY``, ``PING``, ``CLOSE`` or ``CUT``.
        payload: what is said; a close frame's reason.
        code: a close frame's code.
    """

    what: str
    payload: str | bytes = ""
    code: int | None = None


class Scene(NamedTuple):
    """A step of the recording, the server's or the client's.

    Attributes:
        what: see there.
        at: seconds since the recording began.
        line: where it stands.
        message: what is said.
        code: a close frame's code.
    """

    what: str
    at: float
    line: int
    message: Message
    code: int | None = None


class Player:
    """What both ways of playing share.

    Attributes:
        differences: readable sentences on what was sent and should not, or should have been.
        unexpected: payloads that nothing in the recording is like.
        subprotocol: the one that was agreed on, or None.
        headers: those of the server's response.
    """

    def __init__(self, connection: RecordedConnection, matcher: Matcher, speed: float | None) -> None:
        """
        Args:
            connection: what is played.
            matcher: compares messages.
            speed: 1.0 as it was recorded, 2.0 twice as fast; None as fast as possible.
        """
        self.differences: list[str] = []
        self.unexpected: list[str | bytes] = []
        self.subprotocol = connection.subprotocol
        self.headers = connection.headers
        self._number = connection.number
        self._matcher = matcher
        self._speed = speed

    def begin(self, now: float) -> None:
        """The client has connected."""
        raise NotImplementedError

    def take(self, payload: str | bytes, now: float) -> None:
        """The client has sent a message."""
        raise NotImplementedError

    def leave(self, code: int) -> None:
        """The client has closed the connection."""

    def steps(self, now: float) -> list[Step]:
        """What the server does now."""
        raise NotImplementedError

    def next_at(self) -> float | None:
        """When to ask again, whatever the client does; None if there is nothing to wait for."""
        raise NotImplementedError

    def missing(self) -> list[str]:
        """Sentences on what the client should have sent and did not."""
        return []

    def differ(self, what: str) -> None:
        """The client has done something otherwise than it was recorded."""

    def _gap(self, earlier: float, later: float) -> float:
        return 0.0 if self._speed is None else max(0.0, later - earlier) / self._speed


class StrictPlayer(Player):
    """The client must send what was recorded, in that order; the server's messages come where they stand between."""

    def __init__(self, connection: RecordedConnection, matcher: Matcher, speed: float | None) -> None:
        super().__init__(connection, matcher, speed)
        self._scenes = scenes(connection)
        self._place = 0
        self._inbox: deque[Message] = deque()
        self._done_at = 0.0
        self._recorded_at = connection.at
        self._opened_on = connection.line
        self._has_differed = False
        self._refused = False

    def begin(self, now: float) -> None:
        self._done_at = now

    def take(self, payload: str | bytes, now: float) -> None:
        self._inbox.append(self._matcher.read(payload))

    def leave(self, code: int) -> None:
        scene = self._scene()
        if scene is not None and scene.what is GOODBYE and scene.code not in (None, code):
            self._differ(scene.line, f"the client should close with {scene.code}, and closed with {code}")

    def steps(self, now: float) -> list[Step]:
        found: list[Step] = []
        while (scene := self._scene()) is not None:
            if scene.what is EXPECT:
                if not self._inbox:
                    break
                message = self._inbox.popleft()
                if not self._matcher.same(scene.message, message):
                    self._differ(scene.line, f"expected {scene.message}, got {message}")
                    break
            elif scene.what is GOODBYE or now < self._due(scene):
                break
            else:
                found.append(_step(scene, scene.message.payload))
            self._done_at, self._recorded_at = now, scene.at
            self._place += 1
        if self._inbox and (scene is None or scene.what is GOODBYE) and not self._has_ended():
            self._differ(scene.line if scene else None, f"expected nothing more, got {self._inbox.popleft()}")
        if self._has_differed and not self._refused:
            self._refused = True
            found.append(Step(CLOSE, _REFUSAL, _POLICY))
        return found

    def next_at(self) -> float | None:
        scene = self._scene()
        return None if scene is None or scene.what in (EXPECT, GOODBYE) else self._due(scene)

    def differ(self, what: str) -> None:
        self._differ(self._opened_on, what)

    def missing(self) -> list[str]:
        if self._has_differed:
            return []  # all that follows the first difference differs as well
        return [
            f"connection {self._number}, line {scene.line}: never sent: {scene.message}."
            for scene in self._scenes[self._place :]
            if scene.what is EXPECT
        ]

    def _scene(self) -> Scene | None:
        return None if self._refused or self._place == len(self._scenes) else self._scenes[self._place]

    def _due(self, scene: Scene) -> float:
        return self._done_at + self._gap(self._recorded_at, scene.at)

    def _has_ended(self) -> bool:
        """Whether the server has left, which reads no more then."""
        return self._refused or (self._place > 0 and self._scenes[self._place - 1].what in (CLOSE, CUT))

    def _differ(self, line: int | None, what: str) -> None:
        self._has_differed = True
        where = "after its last line" if line is None else f"line {line}"
        self.differences.append(f"connection {self._number}, {where}: {what}.")


class LenientPlayer(Player):
    """The client may send in any order, leave out and add; each message finds the first recorded one that is alike.

    What the server said goes with the client's message that it answers by its id, else with the one before it. Where
    replies are told by ids, what has none is a push: it comes in the recorded order, as soon as the message before it,
    or a later one, was played. What was said before the client's first message comes at once.
    """

    def __init__(self, connection: RecordedConnection, matcher: Matcher, speed: float | None) -> None:
        super().__init__(connection, matcher, speed)
        self._unplayed: dict[int, Scene] = {}
        self._answers: dict[int, list[Scene]] = {-1: []}
        self._pushes: deque[tuple[int, Scene]] = deque()
        self._end: Scene | None = None
        self._ids: Ids = {}
        self._waiting: list[tuple[float, int, Scene]] = []
        self._opened_at = connection.at
        self._last_at = (0.0, connection.at)  # when something was last done, now and in the recording
        self._plan(scenes(connection))

    def begin(self, now: float) -> None:
        self._last_at = now, self._opened_at
        self._play(-1, self._opened_at, now)

    def take(self, payload: str | bytes, now: float) -> None:
        message = self._matcher.read(payload)
        number = self._find(message)
        if number is None:
            self.unexpected.append(payload)
            return
        scene = self._unplayed.pop(number)
        self._matcher.learn(scene.message.value, message.value, self._ids)
        self._play(number, scene.at, now)

    def steps(self, now: float) -> list[Step]:
        found: list[Step] = []
        while self._waiting and self._waiting[0][0] <= now:
            _, _, scene = heapq.heappop(self._waiting)
            self._last_at = now, scene.at
            found.append(_step(scene, self._matcher.relabelled(scene.message, self._ids)))
        end_at = self._end_at()
        if self._end is not None and end_at is not None and end_at <= now:
            found.append(_step(self._end, self._end.message.payload))
            self._end = None
        return found

    def next_at(self) -> float | None:
        return self._waiting[0][0] if self._waiting else self._end_at()

    def _plan(self, scenes: Sequence[Scene]) -> None:
        """Sort what the server said by what it goes with."""
        said: list[tuple[Scene, int, int | None]] = []  # with the message before it, and the one it answers
        asked: dict[tuple[bool, Any], int] = {}  # by id, the last message that bore it
        for scene in scenes:
            if scene.what is EXPECT:
                number = len(self._unplayed)
                self._unplayed[number], self._answers[number] = scene, []
                asked.update(dict.fromkeys(self._matcher.ids_of(scene.message.value), number))
            elif scene.what in (SAY, PING):
                said.append((scene, len(self._unplayed) - 1, self._answered(scene, asked)))
        by_ids = any(answered is not None for _, _, answered in said)
        for scene, before, answered in said:
            if answered is None and by_ids:
                self._pushes.append((before, scene))
            else:
                self._answers[before if answered is None else answered].append(scene)
        last = scenes[-1] if scenes else None
        self._end = last if last is not None and last.what in (CLOSE, CUT) else None

    def _answered(self, scene: Scene, asked: Mapping[tuple[bool, Any], int]) -> int | None:
        """The message that it answers; None for a push."""
        if scene.what is not SAY or self._matcher.is_call(scene.message.value):
            return None
        return max((asked[id] for id in self._matcher.ids_of(scene.message.value) if id in asked), default=None)

    def _find(self, message: Message) -> int | None:
        for test in (self._matcher.same_but_ids, self._matcher.alike):
            for number, scene in self._unplayed.items():
                if test(scene.message, message):
                    return number
        return None

    def _play(self, number: int, recorded_at: float, now: float) -> None:
        self._last_at = now, recorded_at
        due = self._answers[number]
        while self._pushes and self._pushes[0][0] <= number:
            due = [*due, self._pushes.popleft()[1]]
        for scene in due:
            heapq.heappush(self._waiting, (now + self._gap(recorded_at, scene.at), scene.line, scene))

    def _end_at(self) -> float | None:
        """When the server leaves: after everything else. None while something is to come, or if it never does."""
        if self._end is None or self._unplayed or self._waiting or self._pushes:
            return None
        now, recorded_at = self._last_at
        return now + self._gap(recorded_at, self._end.at)


def scenes(connection: RecordedConnection) -> list[Scene]:
    """The steps of a recorded connection, up to the one that ends it. Pings of the client's and pongs are no part."""
    found = []
    for entry in connection.entries:
        what = _WHAT.get((entry.kind, entry.direction))
        if what is not None:
            found.append(_scene(what, entry))
        if what in (CLOSE, GOODBYE):
            return found
    if connection.lost is not None:
        initiator, code = connection.lost
        what = CUT if initiator in ("network", "keepalive") else GOODBYE
        found.append(Scene(what, connection.lost_at, connection.line, Message("", None), code))
    return found


_WHAT: Final = {
    ("message", SENT): EXPECT,
    ("message", RECEIVED): SAY,
    ("ping", RECEIVED): PING,
    ("close", SENT): GOODBYE,
    ("close", RECEIVED): CLOSE,
}


def _scene(what: str, entry: Entry) -> Scene:
    message: Any = recorded(entry.payload) if entry.kind == "message" else Message(entry.payload, None)
    return Scene(what, entry.at, entry.line, message, entry.code)


def _step(scene: Scene, payload: str | bytes) -> Step:
    return Step(scene.what, payload, scene.code)
