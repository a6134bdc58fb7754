"""Options that are objects: limits on peer input, limits of queues, heartbeats, quiet connections, renewal, and
``DEFAULT``.

They are frozen, so clients and threads may share them. They can be pickled if the functions that they contain can be
pickled. Two of them are equal if they have the same class and equal values.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Literal

from ._validation import (
    check_bool,
    check_callable,
    check_choice,
    check_count,
    check_fraction,
    check_rate,
    check_seconds,
)

__all__ = [
    "DEFAULT",
    "DEFAULT_LIMITS",
    "MAX_QUEUED_BYTES",
    "MAX_QUEUED_MESSAGES",
    "Expiring",
    "Heartbeat",
    "Limits",
    "Overflow",
    "Queue",
    "Quiet",
    "ReceiveQueue",
    "Renew",
    "SendQueue",
]

MAX_FRAGMENTS: Final = 2**17
"""Largest number of fragments of a message. Autobahn's test 9.3.1 sends 65 536; no known peer sends more."""

MAX_BATCH: Final = 100_000
"""Largest number of messages in one payload, such as a JSON-RPC array. Known servers accept arrays of at most some
thousand calls (Geth 1000, Nethermind 1024). An array of 16 MiB may have 8 million elements, which would take the I/O
thread 14 s."""

MAX_INFLATED_BYTES: Final = 2**20
"""How many bytes are inflated at once: as many as the largest read of uncompressed data. Without this limit, a read of
1 MiB could inflate to 1 GiB before the first message is delivered."""

MAX_HEAD_BYTES: Final = 64 * 1024
"""Limit of the status line and headers, in bytes; ``http.client`` allows as much for a single line."""

MAX_HEADERS: Final = 128
"""Largest number of header lines; ``http.client`` allows 100, ``websockets`` 128."""

MAX_BODY_BYTES: Final = 64 * 1024
"""How many bytes of an error response's body are kept. ``websockets`` keeps 1 MiB, more than an error page needs."""

MAX_REDIRECTS: Final = 5
"""Largest number of redirects for one connection; urllib3 allows 3, ``websockets`` 10, browsers none."""

ATTEMPT_DELAY: Final = 0.25
"""Seconds between the attempts for two addresses of a host (RFC 8305 §5, "Connection Attempt Delay")."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits on what a peer may send, and the delay before the next address of a host is tried. Programs rarely change
    them.

    Args:
        max_fragments: largest number of frames of a message; a message with more frames closes the connection with
            1009.
        max_batch: largest number of messages in one payload (a JSON-RPC array); a payload with more closes the
            connection with 1009.
        max_inflated_bytes: when inflating messages has produced this many bytes, the queues' limits, commands and
            timers are checked before the next message is inflated.
        max_head_bytes: limit of the status line and headers of a server's or proxy's response, in bytes.
        max_headers: largest number of header lines of such a response.
        max_body_bytes: how many bytes of an error response's body are kept (``HandshakeError.body``).
        max_redirects: largest number of redirects for one connection; with 0 no redirect is followed.
        attempt_delay: seconds after which the next address of a host is tried too, if the previous one has not
            answered.
    """

    max_fragments: int = MAX_FRAGMENTS
    max_batch: int = MAX_BATCH
    max_inflated_bytes: int = MAX_INFLATED_BYTES
    max_head_bytes: int = MAX_HEAD_BYTES
    max_headers: int = MAX_HEADERS
    max_body_bytes: int = MAX_BODY_BYTES
    max_redirects: int = MAX_REDIRECTS
    attempt_delay: float = ATTEMPT_DELAY

    def __post_init__(self) -> None:
        check_count("max_fragments", self.max_fragments)
        check_count("max_batch", self.max_batch)
        check_count("max_inflated_bytes", self.max_inflated_bytes)
        check_count("max_head_bytes", self.max_head_bytes)
        check_count("max_headers", self.max_headers)
        check_count("max_body_bytes", self.max_body_bytes, zero=True)
        check_count("max_redirects", self.max_redirects, zero=True)
        object.__setattr__(self, "attempt_delay", check_seconds("attempt_delay", self.attempt_delay))


DEFAULT_LIMITS: Final = Limits()

Overflow = Literal["block", "raise", "drop_oldest", "drop_newest", "latest"]

MAX_QUEUED_MESSAGES: Final = 10_000
MAX_QUEUED_BYTES: Final = 64 * 2**20
"""Default limits of both queues; nats.go's pending limits are 524 288 messages and 64 MiB."""

OVERFLOWS: Final = ("block", "raise", "drop_oldest", "drop_newest", "latest")

SEND_OVERFLOWS: Final = OVERFLOWS[:4]


class _Default:
    """The type of ``DEFAULT``."""

    def __repr__(self) -> str:
        return "..."

    def __reduce__(self) -> str:
        return "DEFAULT"


DEFAULT: Final[Any] = _Default()
"""Passed as a ``timeout=``, it means: use the client's option, such as ``request_timeout``."""


@dataclass(frozen=True, kw_only=True)
class Queue:
    """The limits of a queue of messages, and the policy for messages beyond them.

    Args:
        max_messages: largest number of messages.
        max_bytes: largest number of payload bytes.
        overflow: the policy. ``"block"`` waits for room, ``"raise"`` raises an error, ``"drop_oldest"`` and
            ``"drop_newest"`` drop a message. ``"latest"`` (incoming messages only): a newer message replaces the queued
            one, separately for ``on_message``, for each function registered with ``on()``, and for each key of a stream
            (its option ``key=`` defines the keys). Calls of the server are not replaced by later ones. Replaced
            messages are counted as dropped, but not reported; messages dropped because of the two limits are reported.
    """

    max_messages: int = MAX_QUEUED_MESSAGES
    max_bytes: int = MAX_QUEUED_BYTES
    overflow: Overflow = "block"

    _CHOICES: ClassVar[tuple[str, ...]] = OVERFLOWS

    def __post_init__(self) -> None:
        check_count("max_messages", self.max_messages)
        check_count("max_bytes", self.max_bytes)
        check_choice("overflow", self.overflow, self._CHOICES)


@dataclass(frozen=True, kw_only=True)
class SendQueue(Queue):
    """The queue of messages to send: by default 10 000 messages and 64 MiB; ``send()`` blocks if it is full.

    Args:
        rate: messages per second that are sent on a connection; further ones wait in the queue. None for no limit. All
            text and binary messages count, those of ``on_session`` and of subscriptions too; pings, pongs and close
            frames do not. A batch is one message.
        burst: messages that may be sent at once, before ``rate`` limits them. In each span of t seconds, at most
            ``burst + rate * t`` messages are sent. Each connection begins with the full burst.
    """

    rate: float | None = None
    burst: int = 1

    _CHOICES: ClassVar[tuple[str, ...]] = SEND_OVERFLOWS

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "rate", check_rate("rate", self.rate))
        check_count("burst", self.burst)


class ReceiveQueue(Queue):
    """The queues for hooks and streams: by default 10 000 messages and 64 MiB; reading pauses if one is full."""


@dataclass(frozen=True)
class Heartbeat:
    """A message that the client sends at an interval while it is open, instead of the heartbeat of its protocol.

    Args:
        message: the message, which is copied; or a function that returns it. The function is called for each heartbeat,
            on the I/O thread, so it must return soon. A ``wsclient.Request`` gets an id, and the connection ends if its
            answer does not come within ``ping_timeout`` (if ``ping_timeout`` is None: within one interval); the answer
            reaches no stream and no hook. The answer to any other message is an ordinary message. While a heartbeat
            waits for its turn (``rate`` of ``SendQueue``), no further one is made.
        every: seconds between two heartbeats, and from the opening of a connection to its first one.
            ``session.heartbeat()`` changes the interval of one connection.
        only_if_idle: send it only if the client has sent no other message for about ``every`` seconds; control frames
            are not messages. The client checks four times per interval whether messages were sent. So the heartbeat is
            sent between three quarters of ``every`` and ``every`` seconds after the last message. What the server sends
            makes no difference: a server that drops idle clients counts what it receives, as in MQTT 3.1.1 §3.1.2.10.
    """

    message: Any = field(hash=False)
    every: float
    only_if_idle: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        message = self.message
        if callable(message):
            check_callable("message", message)
        else:
            # deepcopy() can't copy a memoryview, so it becomes bytes
            message = bytes(message) if isinstance(message, (bytearray, memoryview)) else copy.deepcopy(message)
            object.__setattr__(self, "message", message)
        object.__setattr__(self, "every", check_seconds("every", self.every))
        check_bool("only_if_idle", self.only_if_idle)


@dataclass(frozen=True)
class Quiet:
    """When a connection counts as quiet, although its peer answers pings, and what the client does then.

    A connection is quiet if no message that counts has come for ``after`` seconds while it was open and its messages
    were read: the time in which reading is paused does not count. The hook ``on_quiet`` is then called.

    Pings, pongs, answers to heartbeats that are a ``wsclient.Request``, and messages that only the protocol uses
    (``Control``) never count, nor do messages that can't be decoded. What comes during ``on_session`` does not count
    either, unless it is delivered to hooks or streams afterwards.

    If no message that counts is received on a connection, ``Reconnect`` treats this connection as a failed attempt when
    it computes the next delay, even if the connection was open for a long time.

    Args:
        after: seconds without a message that counts.
        counts: called with each message that is not excluded above (the whole message, decoded; replies too). Returns
            True if the message counts. It is called on the I/O thread, so it must be short. By default each of these
            messages counts.
        active: called when ``after`` seconds have passed, on the I/O thread. Returns whether messages are expected now;
            False, for example, while a market is closed. After a False, and after the first True that follows a False,
            the ``after`` seconds are counted again from 0, since messages may have been expected during only a part of
            the counted time. After any other True the connection is quiet.
        action: ``"reconnect"`` replaces the connection; ``"report"`` only calls ``on_quiet``, once until the next
            message that counts.

    If ``counts`` or ``active`` raises, its first error is logged and passed to ``on_error``, and the result is taken as
    true.
    """

    after: float
    counts: Callable[[Any], bool] | None = field(default=None, kw_only=True)
    active: Callable[[], bool] | None = field(default=None, kw_only=True)
    action: Literal["reconnect", "report"] = field(default="reconnect", kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "after", check_seconds("after", self.after))
        check_callable("counts", self.counts)
        check_callable("active", self.active)
        check_choice("action", self.action, ("reconnect", "report"))


BEFORE_EXPIRY: Final = 60.0
"""Seconds before the expiry of a URL or of headers at which a connection is renewed: enough for the attempt and some
repetitions. gRPC's STS and Google's client libraries refresh a token 60 s to 5 min before its expiry."""

OVERLAP: Final = 10.0
"""Longest time in seconds for which the replaced connection is still served. Twitch EventSub closes the old connection
30 s after it announced the reconnect."""

JITTER: Final = 0.1
"""How much the time of a renewal varies, as a fraction."""

LATEST: Final = 60.0
"""Longest wait, in seconds, for ``when`` to return True, if nothing expires. After this wait the renewal begins in any
case."""


@dataclass(frozen=True, kw_only=True)
class Renew:
    """When to replace the connection by a new one without a gap, and how long both are served.

    The second connection is opened and set up while the first one is still used. Then the second one takes over between
    two messages, and the first one is closed when its requests are answered.

    A *trigger* is the event that makes a renewal due: the time of ``every`` or ``before_expiry`` has come, ``on`` has
    returned True or a URL, the connection is quiet (see ``Quiet``), or ``client.renew()`` was called.

    A ``Renew`` can be pickled if its functions can be pickled.

    Args:
        every: seconds after the opening of a connection at which it is renewed; None for never.
        before_expiry: seconds between the renewal and the expiry of the value that ``url`` or ``headers`` returned (see
            ``Expiring``). Half of ``expires_in`` is used instead if it is less.
        on: called with each message that answers no request. A message that a ``match=`` function accepts as a reply is
            passed to it too. ``on`` is for servers that announce that they will close the connection. If it returns
            True, the connection is renewed. If it returns a URL, the connection is renewed, and the first attempt uses
            this URL. It is called on the I/O thread, so it must be short.
        when: returns whether this is a good moment for a renewal. After a trigger it is called at most once a second;
            the renewal begins when it returns True, or after ``latest``. It is called on the I/O thread, so it must be
            short. If it raises, this is logged once, and counts as True.
        latest: longest wait for ``when`` to return True, in seconds from the trigger; after this wait the renewal
            begins in any case. With None, the wait ends at the expiry or, if nothing expires, after 60 s.
        overlap: longest time in seconds for which the replaced connection is still served. 0 is for servers that permit
            one connection only: the present connection is closed before the new one is opened. It is closed when its
            requests are answered, or ``latest`` seconds after the trigger if that is sooner. While these replies are
            awaited, and until the new connection is open, new messages wait in the queue.
        jitter: how much the time of a renewal varies, from 0 (not at all) to below 1: ``every`` becomes up to this
            fraction shorter or longer, the time until an expiry only shorter. So the clients of a server do not renew
            their connections at the same time.
    """

    every: float | None = None
    before_expiry: float = BEFORE_EXPIRY
    on: Callable[[Any], bool | str | None] | None = None
    when: Callable[[], bool] | None = None
    latest: float | None = None
    overlap: float = OVERLAP
    jitter: float = JITTER

    def __post_init__(self) -> None:
        values = {
            "every": None if self.every is None else check_seconds("every", self.every),
            "before_expiry": check_seconds("before_expiry", self.before_expiry, zero=True),
            "on": check_callable("on", self.on),
            "when": check_callable("when", self.when),
            "latest": None if self.latest is None else check_seconds("latest", self.latest, zero=True),
            "overlap": check_seconds("overlap", self.overlap, zero=True),
            "jitter": check_fraction("jitter", self.jitter),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)


@dataclass(frozen=True)
class Expiring:
    """A value that ``url`` or ``headers`` returns, and how long the server accepts it.

    With ``renew=`` the connection is renewed before that time; without it, only the value is used.

    Args:
        value: the URL, or the headers.
        expires_in: seconds from now.
    """

    value: Any = field(repr=False)  # it may contain a secret
    expires_in: float = field(kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "expires_in", check_seconds("expires_in", self.expires_in))
