"""The seam between the client and a message protocol.

A protocol object serves one client. The client asks it for ids, payloads and the meaning of what came in; it never does
I/O, never waits and never calls the client.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from .._rfc6455.frames import Opcode
from . import _codec
from ._encoding import Draft, encoded
from ._incoming import Call, Event, Incoming, Request

if TYPE_CHECKING:
    from typing_extensions import Self

    from ._session import Session

__all__ = ["Draft", "Protocol"]


class Protocol:
    """How messages are encoded, what comes in means, and how a reply finds its request. Make a subclass for your own.

    One object serves one client, so two protocols are equal only if they are the same object. One that serves no client
    yet can be pickled where its options can, and serves a client of the process that reads it; one that serves a client
    can't be pickled. Which thread calls what: ``new_id`` is called by one thread at a time; ``decode``,
    ``final``, ``stream_of``, ``reset`` and ``on_session`` run on the I/O thread; all others on any thread, several at
    once. None of them may wait.

    Attributes:
        subprotocols: offered to the server where the client names none of its own (RFC 6455 §1.9).
        fatal_codes: close codes after which connecting again is pointless.
        max_in_flight: requests that may be unanswered at once; None for any number. The rest waits in the send queue.
            A subscription counts until its first answer; not at all where none is awaited.
        replies_in_order: whether each reply answers the oldest request (``Reply(OLDEST, value)``). Then one that was
            given up after it was written costs the connection, since later replies could no longer be told apart. It is
            also set by the first such reply.
        heartbeat: seconds between two heartbeats of the protocol's own, and a function that makes one. Made a
            ``Request``, it gets an id, and a missing answer ends the connection.
        json: the client's codec, an object with ``dumps`` and ``loads``, or None; the client sets it.
    """

    subprotocols: Sequence[str] = ()
    fatal_codes: frozenset[int] = frozenset()
    max_in_flight: int | None = None
    replies_in_order: bool = False
    heartbeat: tuple[float, Callable[[], Any | Request]] | None = None
    json: Any = _codec.JSON

    _batches = False  # whether a list of requests may go out as one message
    _is_judge = False  # whether ``final`` has anything to say; known once a client has been made for it
    _sample_id: Any = None  # for trial encodings; never goes over the wire

    def __getstate__(self) -> dict[str, Any]:
        if "json" in vars(self):
            raise TypeError(
                f"This {type(self).__name__} serves a client, so it can't be pickled; pickle it before a client is "
                "made with it, or make another one."
            )
        return vars(self).copy()

    def __copy__(self) -> Self:
        twin = type(self).__new__(type(self))  # a copy may serve the same client, as a pickled one may not
        twin.__dict__.update(vars(self))
        return twin

    def reset(self) -> None:
        """A connection is about to begin: forget half a message of the last one."""

    def new_id(self) -> Any:
        """An id that was never used before in this client's life; asked again while its answer is in flight."""
        raise NotImplementedError

    def id_of(self, message: Any) -> Any | None:
        """The id the caller gave the message; None if the client is to give it one."""
        return None

    def encode(self, message: Any) -> str | bytes:
        """The payload of a message that wants no answer: ``str`` for text, ``bytes`` for binary."""
        return _codec.encode(message, self.json)

    def encode_request(self, message: Any, id: Any) -> str | bytes:
        """The payload of a request with this id; the message itself must not be changed."""
        raise NotImplementedError

    def decode(self, payload: str | bytes) -> Incoming | Iterable[Incoming] | None:
        """What a message means: nothing, one thing, or several in their order."""
        return Event(_codec.decode(payload, self.json))

    def final(self, request: Any, value: Any) -> bool:
        """Whether a reply is the answer; False for a mere acknowledgement, behind which the answer is yet to come.

        Args:
            request: a copy of the request's message.
            value: the reply's value.
        """
        return True

    def build(self, method: str, params: Any, notify: bool) -> Any:
        """The message of ``client.call(method, params)``, or of ``client.notify``, which wants no answer."""
        raise TypeError(f"{type(self).__name__} has no methods to call; use request() or send() with a whole message.")

    def encode_result(self, id: Any, value: Any) -> str | bytes:
        """The payload that answers a call of the server's."""
        raise TypeError(f"{type(self).__name__} can't answer calls of the server's: it has no encode_result().")

    def encode_error(self, id: Any, error: BaseException) -> str | bytes:
        """The payload that answers a call of the server's with an error."""
        raise TypeError(f"{type(self).__name__} can't answer calls of the server's: it has no encode_error().")

    def on_session(self, session: Session) -> None:
        """Set up a connection before the user's ``on_session`` and before anything else is sent; I/O thread."""

    def stream_of(self, request: Any, id: Any, reply: Any = None) -> Any | None:
        """The name under which what follows a subscription comes in (``Event.stream``, or the id of ``Item``).

        Args:
            request: a copy of the subscription's message.
            id: the id it went out with.
            reply: what the server answered. Asked first without it, before the message is sent: a name then means that
                no reply is awaited.

        Returns:
            The name; None if there is none (yet): then ``match=`` says what belongs to it.
        """
        return None

    def unsubscribe(self, request: Any, id: Any, reply: Any) -> Any | Request | None:
        """The message that ends a subscription; None if there is none. A ``Request`` gets an id of its own."""
        return None

    def _serve(self, codec: Any) -> None:
        """A client has been made for this protocol. One thread at a time asks for ids, this one before all others."""
        self.json = codec
        self._is_judge = self._judges()
        if self._encodes_by_id():
            with contextlib.suppress(NotImplementedError):  # it has no requests
                self._sample_id = self.new_id()

    def _refusal(self, id: Any, method: str) -> str | bytes | None:
        """What answers a call of the server's that nobody handles; None where silence is the custom."""
        return None

    def _answered(self, call: Call, payload: str | bytes | None) -> str | bytes | None:
        """What goes out now that a call has its answer; None if it waits for others."""
        return payload

    def _judges(self) -> bool:
        """Whether ``final`` has anything to say, so that requests keep a copy of their message for it."""
        return type(self).final is not Protocol.final

    def _passed(self, id: Any) -> None:
        """A message with an id of the caller's own goes out, so ``new_id`` must not give it. Any thread."""

    def _ids_in(self, message: Any) -> tuple[Any, ...]:
        """The ids under which the server may answer a message that is sent without waiting."""
        if type(self).id_of is Protocol.id_of:
            return ()
        try:
            id = self.id_of(message)
        except (TypeError, ValueError, LookupError, AttributeError):  # it is no request
            return ()
        return () if id is None else (id,)

    @property
    def _by_order(self) -> bool:
        return self.replies_in_order

    def _encodes_by_id(self) -> bool:
        """Whether a request can be encoded only once its id is known."""
        return True

    def _draft(self, message: Any) -> Draft:
        """Encode a request as far as its id allows, before the call returns.

        The id is given when the message is taken to the line, so that ids rise on the wire; it may be given again on
        the next connection. A protocol of the user's own keeps a copy of the message until then, and encodes once for
        nothing, so that a message that can't be encoded is refused at once.
        """
        return _Kept(self, copy.deepcopy(message))


class _Kept(Draft):
    """The draft of a protocol that can't splice ids: the message itself."""

    __slots__ = ("_message", "_protocol")

    def __init__(self, protocol: Protocol, message: Any) -> None:
        self._protocol = protocol
        self._message = message
        self.size = len(self(protocol._sample_id)[1])

    def __call__(self, id: Any) -> tuple[Opcode, bytes]:
        return encoded(self._protocol.encode_request(self._message, id))
