"""Options that are objects of their own: limits on peer input, bounds of queues, and ``DEFAULT``.

All of them are frozen, so clients and threads may share them; they can be pickled, and are equal if their values are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal

from ._validation import check_choice, check_count, check_seconds

__all__ = [
    "DEFAULT",
    "DEFAULT_LIMITS",
    "MAX_QUEUED_BYTES",
    "MAX_QUEUED_MESSAGES",
    "Limits",
    "Overflow",
    "Queue",
    "ReceiveQueue",
    "SendQueue",
]

MAX_FRAGMENTS: Final = 2**17
"""Fragments one message may come in. Autobahn's 9.3.1 sends 65 536 of them; nobody known sends more."""

MAX_HEAD_BYTES: Final = 64 * 1024
"""Bytes of status line and headers; ``http.client`` allows as much for one line alone."""

MAX_HEADERS: Final = 128
"""Header lines; ``http.client`` allows 100, ``websockets`` 128."""

MAX_BODY_BYTES: Final = 64 * 1024
"""Bytes of an error's body that are kept; ``websockets`` keeps 1 MiB, nobody reads that much of an error page."""

MAX_REDIRECTS: Final = 5
"""Redirects followed for one connection; urllib3 allows 3, ``websockets`` 10, browsers none."""

ATTEMPT_DELAY: Final = 0.25
"""Seconds an address has for itself before the next is tried beside it (RFC 8305 §5, "Connection Attempt Delay")."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits on peer input that rarely need a change.

    Args:
        max_fragments: frames one message may come in; more close the connection with 1009.
        max_head_bytes: bytes of the status line and headers with which a server or proxy answers.
        max_headers: header lines of such an answer.
        max_body_bytes: bytes kept of the body that comes with a refusal (``HandshakeError.body``).
        max_redirects: redirects followed for one connection; 0 follows none.
        attempt_delay: seconds after which the next address of a host is tried beside the one that has not answered.
    """

    max_fragments: int = MAX_FRAGMENTS
    max_head_bytes: int = MAX_HEAD_BYTES
    max_headers: int = MAX_HEADERS
    max_body_bytes: int = MAX_BODY_BYTES
    max_redirects: int = MAX_REDIRECTS
    attempt_delay: float = ATTEMPT_DELAY

    def __post_init__(self) -> None:
        check_count("max_fragments", self.max_fragments)
        check_count("max_head_bytes", self.max_head_bytes)
        check_count("max_headers", self.max_headers)
        check_count("max_body_bytes", self.max_body_bytes, zero=True)
        check_count("max_redirects", self.max_redirects, zero=True)
        object.__setattr__(self, "attempt_delay", check_seconds("attempt_delay", self.attempt_delay))


DEFAULT_LIMITS: Final = Limits()

Overflow = Literal["block", "raise", "drop_oldest", "drop_newest", "latest"]

MAX_QUEUED_MESSAGES: Final = 10_000
MAX_QUEUED_BYTES: Final = 64 * 2**20
"""Bounds of both queues; nats.go's pending limits are 524 288 messages and 64 MiB."""

OVERFLOWS: Final = ("block", "raise", "drop_oldest", "drop_newest", "latest")

SEND_OVERFLOWS: Final = OVERFLOWS[:4]


class _Default:
    """The type of ``DEFAULT``."""

    def __repr__(self) -> str:
        return "..."

    def __reduce__(self) -> str:
        return "DEFAULT"


DEFAULT: Final[Any] = _Default()
"""As a time-out: take the one the client was made with."""


@dataclass(frozen=True, kw_only=True)
class Queue:
    """Bounds of a queue of messages, and what to do with a message that finds no room.

    Args:
        max_messages: messages it may hold.
        max_bytes: payload bytes it may hold.
        overflow: ``"block"`` waits for room, ``"raise"`` refuses, ``"drop_oldest"`` and ``"drop_newest"`` drop a
            message, ``"latest"`` (incoming only) keeps the newest: of all that waits for ``on_message``, of what waits
            for each function given to ``on()``, and of each key of a stream. Calls of the server do not take each
            other's place.
    """

    max_messages: int = MAX_QUEUED_MESSAGES
    max_bytes: int = MAX_QUEUED_BYTES
    overflow: Overflow = "block"

    _CHOICES: ClassVar[tuple[str, ...]] = OVERFLOWS

    def __post_init__(self) -> None:
        check_count("max_messages", self.max_messages)
        check_count("max_bytes", self.max_bytes)
        check_choice("overflow", self.overflow, self._CHOICES)


class SendQueue(Queue):
    """What waits to be sent: 10 000 messages, 64 MiB; ``send()`` blocks when it is full."""

    _CHOICES = SEND_OVERFLOWS


class ReceiveQueue(Queue):
    """What waits for hooks and streams: 10 000 messages, 64 MiB; reading pauses when it is full."""
