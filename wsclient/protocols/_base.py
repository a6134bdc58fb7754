"""The interface between the client and a message protocol.

The client calls the protocol object for ids, payloads and the meaning of incoming messages. The protocol object does no
I/O, does not wait for messages and never calls the client. The only exception is ``on_session``, which may send and
wait for messages, through the session that is passed to it. Some methods hold a lock for a moment (``_batch``,
``_numbers``).
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from .._options import MAX_BATCH
from .._rfc6455.frames import Opcode
from .._typing import Self
from . import _codec
from ._encoding import Encoder, encoded
from ._incoming import Call, Event, Incoming, Request
from ._session import Session

__all__ = ["Encoder", "Protocol"]


class Protocol:
    """Encodes messages, decodes payloads into their meaning, and correlates replies with requests.

    To define another protocol, make a subclass. One object serves one client, so two protocols are equal only if they
    are the same object. A protocol can be pickled if its options can, but only before a client is made with it.

    Threads: one thread at a time calls ``new_id``. ``decode``, ``final``, ``reset``, ``goodbye`` and ``on_session`` run
    on the I/O thread. Any number of threads may call the other methods at the same time; ``stream_of`` runs on the
    caller's thread, the writer's thread and the I/O thread. Only ``on_session`` may wait.

    Attributes:
        subprotocols: offered to the server if the client was made without ``subprotocols=`` (RFC 6455 §1.9).
        fatal_codes: close codes of the server after which the client does not reconnect.
        max_in_flight: how many requests may be unanswered at the same time; None for any number. Further requests wait
            in the send queue. A subscription counts until its first answer, or not at all if no answer is awaited.
        replies_in_order: whether each reply answers the oldest request (``Reply(OLDEST, value)``). If so, a request
            that times out or is cancelled after it was written ends the connection, since later replies could no longer
            be assigned to their requests. The first reply with the id ``OLDEST`` sets it to True.
        heartbeat: seconds between two heartbeat messages of the protocol, and a function that makes such a message. If
            the function returns a ``Request``, the heartbeat gets an id, and a missing answer ends the connection.
        json: the client's codec, an object with ``dumps`` and ``loads``, or None; the client sets it.
    """

    subprotocols: Sequence[str] = ()
    fatal_codes: frozenset[int] = frozenset()
    max_in_flight: int | None = None
    replies_in_order: bool = False
    heartbeat: tuple[float, Callable[[], Any | Request]] | None = None
    json: Any = _codec.JSON

    _binary = False  # whether JSON in binary messages is decoded
    _has_secret = False  # whether ``on_session`` sends a secret, so that no redirect to another origin is followed
    _batches = False  # whether a list of requests may be sent as one message
    _max_batch = MAX_BATCH  # how many messages a payload may contain
    _decides_final = False  # whether ``final`` is overridden; set when a client is made for this object
    _sample_id: Any = None  # for trial encodings; it is never sent
    _present: _PresentProtocol | None = None  # set when a client is made for this object; its copies share it
    _is_replaced = False  # whether a renewal has replaced its connection; ``_present`` then encodes new messages

    def __getstate__(self) -> dict[str, Any]:
        if "json" in vars(self):
            raise TypeError(
                f"This {type(self).__name__} serves a client, so it can't be pickled; pickle it before a client is "
                "made with it, or make another one."
            )
        return vars(self).copy()

    def __copy__(self) -> Self:
        # Without this method `copy.copy` would call `__getstate__`, which raises for a protocol that serves a client.
        # Copying such a protocol is allowed; only pickling is not.
        twin = type(self).__new__(type(self))
        twin.__dict__.update(vars(self))
        return twin

    def reset(self) -> None:
        """Called on each new connection, before its first message; discards the state of the previous connection, such
        as a partly received message.
        """

    def new_id(self) -> Any:
        """A new id for a request.

        Returns:
            An id that this client has not used before. If a request with this id is still in flight, the client calls
            the method again.
        """
        raise NotImplementedError

    def id_of(self, message: Any) -> Any | None:
        """The id that a message has already.

        Args:
            message: the message, as the caller passed it.

        Returns:
            The id; None if the client must assign one.
        """
        return None

    def encode(self, message: Any) -> str | bytes:
        """Encode a message that expects no answer.

        Args:
            message: the message, as the caller passed it; it must not be changed.

        Returns:
            ``str`` for a text message, ``bytes`` for a binary one.
        """
        return _codec.encode(message, self.json)

    def encode_request(self, message: Any, id: Any) -> str | bytes:
        """Encode a request.

        Args:
            message: the message, as the caller passed it; it must not be changed.
            id: the request's id.

        Returns:
            ``str`` for a text message, ``bytes`` for a binary one.
        """
        raise NotImplementedError

    def decode(self, payload: str | bytes) -> Incoming | Iterable[Incoming] | None:
        """Decode the payload of an incoming message into its meaning.

        Args:
            payload: ``str`` of a text message, ``bytes`` of a binary one.

        Returns:
            One meaning, or several in their order; None if the message has no meaning for the client.

        Raises:
            ProtocolError: the connection can't be used any more; it is closed with 1002.
            MessageTooBig: the connection is closed with 1009.
            Exception: the message is skipped, and the error is reported to ``on_error``.
        """
        return Event(_codec.decode(payload, self.json))

    def final(self, request: Any, value: Any) -> bool:
        """Whether a reply is the answer to its request.

        Args:
            request: a copy of the request's message.
            value: the reply's value.

        Returns:
            False if the reply only acknowledges the request, and the answer follows later.
        """
        return True

    def build(self, method: str, params: Any, notify: bool) -> Any:
        """Build the message of ``client.call(method, params)`` or ``client.notify(method, params)``.

        Args:
            method: the method's name.
            params: its parameters; None for none.
            notify: whether the message expects no answer.

        Raises:
            TypeError: the protocol has no methods to call.
        """
        raise TypeError(f"{type(self).__name__} has no methods to call; use request() or send() with a whole message.")

    def encode_result(self, id: Any, value: Any) -> str | bytes:
        """Encode the result of a call that the server made.

        Args:
            id: the call's id.
            value: what the handler returned.

        Raises:
            TypeError: the protocol can't answer calls.
        """
        raise TypeError(f"{type(self).__name__} can't answer calls of the server: it has no encode_result().")

    def encode_error(self, id: Any, error: BaseException) -> str | bytes:
        """Encode the error answer to a call that the server made.

        Args:
            id: the call's id.
            error: what the handler raised.

        Raises:
            TypeError: the protocol can't answer calls.
        """
        raise TypeError(f"{type(self).__name__} can't answer calls of the server: it has no encode_error().")

    def on_session(self, session: Session) -> None:
        """Set up a connection, on the I/O thread, before the user's ``on_session`` and before other messages are sent.

        Args:
            session: the connection that is being set up.
        """

    def stream_of(self, request: Any, id: Any, reply: Any = None) -> Any | None:
        """The key that marks the messages of a subscription: ``Event.stream``, or the id of ``Item``.

        The client calls it up to three times for a message: on the thread that makes the request, with a sample of an
        id; on the thread that writes the message, with the message's own id; and on the I/O thread, with the reply. The
        thread that makes the request is the caller's thread; after a reconnect it is the I/O thread. If the first call
        returns a key, no reply is awaited.

        Args:
            request: a copy of the subscription's message.
            id: the id that the message is sent with; in the first call a sample, which is not sent.
            reply: the server's answer; None before it was received.

        Returns:
            The key; None if there is none or it is not known yet. Without a key, ``match=`` of ``subscribe()`` selects
            the subscription's messages.
        """
        return None

    def unsubscribe(self, request: Any, id: Any, reply: Any) -> Any | Request | None:
        """The message that ends a subscription.

        Args:
            request: a copy of the subscription's message.
            id: the id that the message was sent with.
            reply: the server's answer; None if there was none.

        Returns:
            The message; a ``Request`` is sent with an id of its own, and the answer to it is dropped. None to send no
            message.
        """
        return None

    def goodbye(self) -> Any | Request | None:
        """The last message on a connection, such as DISCONNECT of MQTT or ``session.end`` of WebDriver BiDi.

        It is called on the I/O thread when the client is closed (``close()``, ``drain()``, the end of a ``with`` block
        or of the program) while a connection is open. The message is sent after the queued messages, before the close
        frame, and within the time limit of ``close()``. It is not called before a reconnect, nor if the server ends the
        connection.

        Returns:
            The message; a ``Request`` gets an id, but its answer is not awaited. None to send no message.
        """
        return None

    def _serve(self, codec: Any, max_batch: int = MAX_BATCH) -> None:
        """Called when a client is made for this object, before any other thread calls ``new_id``."""
        self.json = codec
        self._present = _PresentProtocol(self)
        self._max_batch = max_batch
        self._decides_final = self._overrides_final()
        if self._encodes_by_id():
            with contextlib.suppress(NotImplementedError):  # the protocol has no requests
                self._sample_id = self.new_id()

    def _take_over(self, old: Protocol) -> None:
        """Called when a renewal replaces the connection of ``old``, of which this object is a copy, by one of its own:
        requests that are not written yet are encoded by this object from now on. I/O thread only.
        """
        present = self._present = old._present  # the same object, unless a subclass copies in another way
        assert present is not None
        present.protocol = self
        old._is_replaced = True  # after the assignment above: other threads read in the opposite order

    def _refusal(self, id: Any, method: str) -> str | bytes | None:
        """The payload that answers a call of the server for which there is no handler; None to send no answer."""
        return None

    def _answered(self, call: Call, payload: str | bytes | None) -> str | bytes | None:
        """The payload to send when a call has been answered; None while other calls of its batch have no answer."""
        return payload

    def _method_of(self, payload: bytes | None, encoder: Encoder | None) -> Any:
        """The method of a request, for the text of an error; None if it has no method, or is too long to be decoded
        again.

        Args:
            payload: the encoded request; None before its id is known.
            encoder: encodes it; None if the caller chose its id.
        """
        return None

    def _echoes(self, message: Any, payload: bytes | None, size: int) -> bool:
        """Whether a message that looks like a call of the server repeats a request, as an echo server does.

        Args:
            message: the server's message, decoded.
            payload: the request in flight under its id, as it was sent.
            size: the bytes of the server's message.
        """
        return False

    def _overrides_final(self) -> bool:
        """Whether ``final`` is overridden, so that requests must keep a copy of their message for it."""
        return type(self).final is not Protocol.final

    def _reserve_id(self, id: Any) -> None:
        """Called on any thread when a message is sent whose id the caller chose.

        ``new_id`` must never return this id.
        """

    def _ids_in(self, message: Any) -> tuple[Any, ...]:
        """The ids in a message passed to ``send()``. The server may answer with such an id, although no request waits
        for that answer.
        """
        if type(self).id_of is Protocol.id_of:
            return ()
        try:
            id = self.id_of(message)
        except (TypeError, ValueError, LookupError, AttributeError):  # the message is not a request
            return ()
        return () if id is None else (id,)

    def _encodes_by_id(self) -> bool:
        """Whether a request can't be encoded before its id is known."""
        return True

    def _id_and_encoder(self, message: Any) -> tuple[Any, Encoder | None]:
        """``(id, None)`` for a request that has an id; ``(None, encoder)`` for one without."""
        id = self.id_of(message)
        return (id, None) if id is not None else (None, self._encoder(message))

    def _encoder(self, message: Any) -> Encoder:
        """Encode a request except for its id, on the caller's thread.

        The id is assigned when the message is written, so that ids rise in the order of writing; on the next connection
        the request may get another id. For a protocol that defines ``encode_request`` itself, a copy of the message is
        kept until it is written. The message is also encoded once now, with a sample id, so that a message that can't
        be encoded raises its error on the caller's thread.
        """
        return _StoredRequest(self, copy.deepcopy(message))


class _PresentProtocol:
    """The protocol object of the connection that takes new messages. All protocol objects of a client share it; they do
    not refer to each other, so those of connections that have ended are freed.

    Attributes:
        protocol: the protocol object. The I/O thread assigns it, other threads read it.
    """

    __slots__ = ("protocol",)

    def __init__(self, protocol: Protocol) -> None:
        self.protocol = protocol


class _StoredRequest(Encoder):
    """A request that is stored as a message, for protocols that can encode it only together with its id.

    The request may still be queued when the new connection of a renewal takes over. Then the protocol object of the new
    connection encodes it, since the state of a protocol object (the requests whose answers it expects) belongs to one
    connection.
    """

    __slots__ = ("_message", "_protocol")

    def __init__(self, protocol: Protocol, message: Any) -> None:
        self._protocol = protocol
        self._message = message
        self.size = len(self.encode(protocol._sample_id)[1])

    def encode(self, id: Any) -> tuple[Opcode, bytes]:
        present = self._protocol._present
        if present is not None and self._protocol._is_replaced:
            self._protocol = present.protocol
        return encoded(self._protocol.encode_request(self._message, id))
