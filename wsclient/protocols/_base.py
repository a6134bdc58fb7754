"""The seam between the client and a message protocol.

A protocol object serves one client. The client asks it for ids, payloads and the meaning of what came in; it never does
I/O, never waits and never calls the client.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .. import _codec
from .._frames import Opcode
from .._outgoing import Draft, encoded
from .._pending import OLDEST

if TYPE_CHECKING:
    from .._session import Session

__all__ = ["OLDEST", "Control", "Draft", "Event", "Failure", "Incoming", "Protocol", "Reply"]


@dataclass(slots=True)  # not frozen: one is made for each message, and freezing doubles the cost
class Reply:
    """The answer to the request with this id; ``value`` is what ``request()`` returns."""

    id: Any
    value: Any


@dataclass(slots=True)
class Failure:
    """An error that answers the request with this id; ``error`` is what ``request()`` raises."""

    id: Any
    error: BaseException


@dataclass(slots=True)
class Event:
    """A message that answers nothing; streams and ``on_message`` get ``message``."""

    message: Any


@dataclass(slots=True)
class Control:
    """A message of the protocol's own, which nobody sees; ``answer`` goes out at once, before what is queued."""

    answer: str | bytes | None = None


Incoming = Reply | Failure | Event | Control


class Protocol:
    """How messages are encoded, and how a reply finds its request.

    Which thread calls what: ``new_id`` is called by one thread at a time; ``decode`` and ``reset`` run on the I/O
    thread; ``encode``, ``encode_request`` and ``id_of`` run on any thread, several at once.

    Attributes:
        subprotocols: offered to the server where the client names none of its own (RFC 6455 §1.9).
        fatal_codes: close codes after which connecting again is pointless.
        max_in_flight: requests that may be unanswered at once; None for any number.
        json: the client's codec, an object with ``dumps`` and ``loads``, or None; the client sets it.
    """

    subprotocols: Sequence[str] = ()
    fatal_codes: frozenset[int] = frozenset()
    max_in_flight: int | None = None
    json: Any = _codec.JSON

    _by_order = False  # whether replies are told apart by their order alone
    _sample_id: Any = None  # for trial encodings; never goes over the wire

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

    def on_session(self, session: Session) -> None:
        """Set up a connection before the user's ``on_session`` and before anything else is sent; I/O thread."""

    def _serve(self, codec: Any) -> None:
        """A client has been made for this protocol. One thread at a time asks for ids, this one before all others."""
        self.json = codec
        if self._encodes_by_id():
            with contextlib.suppress(NotImplementedError):  # it has no requests
                self._sample_id = self.new_id()

    def _passed(self, id: Any) -> None:
        """A request with an id of the caller's own goes out; called in turn with ``new_id``."""

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
