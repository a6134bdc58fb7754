"""What ``wsclient record`` prints of a recording: its messages, and its requests with their replies."""

from __future__ import annotations

import base64
import json
from array import array
from typing import TYPE_CHECKING, Any, Final

from .._recording.format import RECEIVED, SENT
from .pairs import Pair, Pairs

if TYPE_CHECKING:
    from .output import Output

__all__ = ["NOTHING", "RecordingView", "counted", "message_of"]

_ARROWS: Final = {SENT: ">", RECEIVED: "<"}


class RecordingView:
    """Prints the lines of a recording on stdout, as lines of text on a terminal and as JSON otherwise.

    A message is printed as ``{"direction", "at", "message"}`` (a binary message has ``base64`` instead of ``message``),
    a request as ``{"direction", "at", "seconds", "request", "reply"}``, when its reply has come. Without a reply,
    ``seconds`` and ``reply`` are null; this is printed when the connection has ended.

    Args:
        output: prints.
        show: whether to print messages.
        pairs: whether to print requests with their replies.
        protocol: the value of ``--protocol``, see ``Pairs``.

    Attributes:
        sent: the number of messages sent, without heartbeats.
        received: the number of messages received.
        connections: the number of connections.
        has_message_without_id: whether a message was sent whose reply can't be recognized.
    """

    def __init__(self, output: Output, *, show: bool, pairs: bool, protocol: str | None) -> None:
        self._output = output
        self._show = show
        self._show_pairs = pairs
        self._pairs = Pairs(protocol)
        self._times = array("d")
        self._unanswered = 0
        self.sent = 0
        self.received = 0
        self.connections = 0
        self.has_message_without_id = False

    @property
    def waiting(self) -> int:
        """How many requests of the client have no reply yet."""
        return self._pairs.waiting

    def add(self, entry: dict[str, Any]) -> Any:
        """Print a line of the recording.

        Args:
            entry: the decoded line, see ``_recording.format``.

        Returns:
            The message if the line has one that was received, else ``NOTHING``.
        """
        kind = entry.get("kind")
        if kind == "open":
            self.connections += 1
        elif kind == "lost":
            self._print_pairs(self._pairs.lost(entry["connection"]))
        if kind != "message":
            return NOTHING
        message, direction, at = message_of(entry), entry["direction"], entry["at"]
        if self._show:
            self._print_message(direction, at, message)
        if not entry.get("heartbeat"):
            self._print_pairs(self._pairs.add(entry["connection"], direction, at, message))
            self.has_message_without_id |= direction == SENT and not self._pairs.has_id(message)
        if direction == SENT:
            self.sent += not entry.get("heartbeat")
            return NOTHING
        self.received += 1
        return message

    def finish(self) -> None:
        """Print the requests that have no reply."""
        self._print_pairs(self._pairs.finish())

    def summary(self) -> str:
        """Return the numbers of connections, messages and replies, as a phrase."""
        parts = [f"{counted(self.connections, 'connection')}, {self.sent} sent, {self.received} received"]
        if self._times:
            times = sorted(self._times)
            middle, longest = times[len(times) // 2], times[-1]
            parts.append(
                f"{counted(len(times), 'reply', 'replies')} (median {_duration(middle)}, longest {_duration(longest)})"
            )
        if self._unanswered:
            parts.append(f"{counted(self._unanswered, 'request')} without a reply")
        return "; ".join(parts)

    def _print_message(self, direction: str, at: float, message: Any) -> None:
        if self._output.is_terminal:
            self._output.text(f"{at:9.3f} {_ARROWS[direction]} {self._output.shown(message)}")
        else:
            self._output.message({"direction": direction, "at": at, **_member("message", message)})

    def _print_pairs(self, pairs: list[Pair]) -> None:
        for pair in pairs:
            if pair.seconds is None:
                self._unanswered += 1
            else:
                self._times.append(pair.seconds)
            if self._show_pairs:
                self._print_pair(pair)

    def _print_pair(self, pair: Pair) -> None:
        if self._output.is_terminal:
            request = f"{_ARROWS[pair.direction]} {self._output.shown(pair.request)}"
            took = "  no reply" if pair.seconds is None else f"{_duration(pair.seconds):>10}"
            answer = "" if pair.seconds is None else f"\n{'':20} = {self._output.shown(pair.reply)}"
            self._output.text(f"{pair.at:9.3f} {took} {request}{answer}")
            return
        reply = {"reply": None} if pair.seconds is None else _member("reply", pair.reply)
        seconds = None if pair.seconds is None else round(pair.seconds, 6)
        first = {"direction": pair.direction, "at": pair.at, "seconds": seconds}
        self._output.message({**first, **_member("request", pair.request), **reply})


NOTHING: Final[Any] = object()
"""What ``RecordingView.add`` returns for a line without a received message."""


def message_of(entry: dict[str, Any]) -> Any:
    """Return the message of a line of a recording: decoded JSON, another text, or bytes."""
    text = entry.get("text")
    if text is None:
        return base64.b64decode(entry["base64"])
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _member(name: str, message: Any) -> dict[str, Any]:
    if isinstance(message, bytes):
        return {"base64" if name == "message" else f"{name}_base64": base64.b64encode(message).decode()}
    return {name: message}


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


def counted(number: int, one: str, many: str | None = None) -> str:
    """Return a number with its noun."""
    return f"{number} {one if number == 1 else many or f'{one}s'}"
