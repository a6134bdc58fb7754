"""Answers to the server's calls; each is sent only on the connection on which the call was received.

Guarantees:
    * Answers do not count for the limits of the user's send queue, and no message is dropped because of them. While too
      many bytes of answers wait to be sent, reading pauses (``Writer.is_flooded_by_answers``), and handlers wait before
      their answer is queued.
    * The answer of a handler is sent after the messages that the handler sent before it returned, unless these wait
      behind a request that ``max_in_flight`` holds back.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING
from weakref import WeakSet

from .._errors import ProtocolError, RemoteError, WebSocketClientError, text_of
from .._sending.message import Answer, Outgoing
from ..protocols._encoding import encoded
from ..protocols._incoming import ABSENT

if TYPE_CHECKING:
    from .._sending.sender import Sender
    from .._sending.writer import Writer
    from .._threads.log import ClientLog
    from ..protocols import Call, Protocol
    from .handlers import Handler

__all__ = ["ServerCalls", "UnansweredCall"]


class UnansweredCall:
    """A call of the server, from its arrival until its handler has ended.

    Only the job in the queue of the handler's thread refers to it. If the queue is full and drops the job, the object
    is freed, and so it is removed from ``ServerCalls.unanswered``.
    """

    __slots__ = ("__weakref__", "call", "handler", "number")

    def __init__(self, handler: Handler, call: Call, number: int) -> None:
        """
        Args:
            handler: the handler of the call's method.
            call: the call.
            number: the number of the connection on which it was received.
        """
        self.handler = handler
        self.call = call
        self.number = number


class ServerCalls:
    """Answers the server's calls on one connection.

    Attributes:
        unanswered: the calls whose handlers have not ended, without those that a full queue has dropped. Any thread may
            change it.
    """

    __slots__ = ("_log", "_protocol", "_sender", "unanswered")

    def __init__(self, protocol: Protocol, sender: Sender, log: ClientLog) -> None:
        """
        Args:
            protocol: encodes the answers.
            sender: queues and writes them.
            log: the client's log.
        """
        self._protocol = protocol
        self._sender = sender
        self._log = log
        self.unanswered: WeakSet[UnansweredCall] = WeakSet()

    def answer(self, unanswered: UnansweredCall) -> None:
        """Run the handler and send what it returns or raises. On the handler's thread.

        Args:
            unanswered: the call, a member of the attribute ``unanswered``.

        Raises:
            BaseException: raised by the handler, except a ``RemoteError``, which is a normal answer. The error answer
                is already queued, or stored for its batch; the caller logs the error and reports it to ``on_error``.
            ProtocolError: no answer can be encoded, not even an error answer. The caller logs and reports this error
                too.
        """
        try:
            self._answer(unanswered.handler, unanswered.call, unanswered.number)
        finally:
            self.unanswered.discard(unanswered)

    def _answer(self, handler: Handler, call: Call, number: int) -> None:
        failure: BaseException | None = None
        try:
            payload = _checked(self._protocol.encode_result(call.id, handler.fn(call.params)))
        except BaseException as error:  # SystemExit too: the server, and the other calls of a batch, need an answer
            failure = error
            payload = self._encode_error(call, error)
            if payload is None:
                failure = _not_answered(call, error)
        payload = self._protocol._answered(call, payload)
        if payload is not None:  # else it is sent later, with the other answers of its batch
            self._queue(payload, number)
        if failure is not None and not isinstance(failure, RemoteError):
            raise failure

    def refuse(self, call: Call, writer: Writer) -> None:
        """Answer a call whose method has no handler, if the protocol defines such an answer. I/O thread only.

        The answer is sent before the queue, like the answers of the protocol itself.

        Args:
            call: the call.
            writer: the writer of the connection on which it was received.

        Raises:
            ProtocolError: the answer can't be encoded; the caller reports it.
        """
        payload = failure = None
        try:
            payload = _checked(self._protocol._refusal(call.id, call.method))
        except Exception as error:
            failure = _not_answered(call, error)
        self._send_first(call, payload, writer)
        if failure is not None:
            raise failure

    def leave_out(self, call: Call, writer: Writer) -> None:
        """Send no answer to a message that was taken for a call but is an echo; the other calls of its batch are
        answered. I/O thread only.

        Args:
            call: what was taken for a call.
            writer: the writer of the connection on which it was received.
        """
        self._send_first(call, None, writer)

    def _send_first(self, call: Call, payload: str | bytes | None, writer: Writer) -> None:
        payload = self._protocol._answered(call, payload)
        if payload is not None:  # else it is sent later, with the other answers of its batch, or not at all
            opcode, data = encoded(payload)
            writer.send_first(Outgoing(opcode, data, len(data), connection_number=writer.write_progress.number))

    def _encode_error(self, call: Call, error: BaseException) -> str | bytes | None:
        """Return the answer to a call that failed with an error; None if there is no answer that can be encoded."""
        try:
            return _checked(self._protocol.encode_error(call.id, error))
        except Exception:  # the error's data or its text can't be encoded
            code = error.code if isinstance(error, RemoteError) and isinstance(error.code, (int, str)) else None
        # Not str() of a RemoteError: it begins with "The server answered", which is false for this answer.
        cause = Exception(error.message) if isinstance(error, RemoteError) else error
        try:
            return _checked(self._protocol.encode_error(call.id, RemoteError(code, text_of(cause, 1000))))
        except Exception:  # the call's id can't be encoded
            return None

    def _queue(self, payload: str | bytes, number: int) -> None:
        """Queue an answer for a connection, unless that has ended."""
        opcode, data = encoded(payload)
        entry = Answer(opcode, data, len(data), connection_number=number)
        if self._sender.is_too_late(entry):
            return
        try:
            self._sender.queue.put_answer(entry)
        except WebSocketClientError as error:  # the client was closed meanwhile, or the answer is too large
            self._log.write(logging.WARNING, "the answer to a call was not sent: %s", error)
            return
        self._sender.write_queued()


def _checked(payload: str | bytes | None) -> str | bytes | None:
    """Return an answer that can be sent.

    Raises:
        ValueError, TypeError: as ``encoded``. It is raised here, since otherwise one wrong answer of a batch would
            prevent all other answers of the batch.
    """
    if payload is not None:
        encoded(payload)
    return payload


def _not_answered(call: Call, cause: BaseException) -> ProtocolError:
    error = ProtocolError(
        f"The server's call of {text_of(call.method)} was not answered, since no answer to it can be encoded "
        f"({type(cause).__name__}: {text_of(cause)}).",
        payload=call if call.message is ABSENT else call.message,
    )
    error.__cause__ = cause
    return error
