"""Answers to the server's calls; each is sent only on the connection on which the call was received."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from .._errors import RemoteError, WebSocketClientError
from .._sending.message import Outgoing
from .._threads.deadline import NEVER
from ..protocols._encoding import encoded

if TYPE_CHECKING:
    from .._requests.requests import Requests
    from .._sending.sender import Sender
    from ..protocols import Call, Protocol
    from .handlers import Handler

__all__ = ["ServerCalls"]

_log = logging.getLogger("wsclient")


class ServerCalls:
    """Answers the server's calls."""

    __slots__ = ("_name", "_protocol", "_requests", "_sender")

    def __init__(self, protocol: Protocol, requests: Requests, sender: Sender, name: str) -> None:
        """
        Args:
            protocol: encodes the answers.
            requests: queues them.
            sender: writes them.
            name: the client's name, for the log.
        """
        self._protocol = protocol
        self._requests = requests
        self._sender = sender
        self._name = name

    def answer(self, handler: Handler, call: Call, number: int) -> None:
        """Run the handler and send what it returns or raises. On the handler's thread.

        Args:
            handler: the handler of the call's method.
            call: the call.
            number: the number of the connection on which it was received.

        Raises:
            Exception: raised by the handler, except a ``RemoteError``, which is a normal answer. The answer has
                been sent; the caller logs the error and reports it to ``on_error``.
        """
        failure: BaseException | None = None
        try:
            payload = self._protocol.encode_result(call.id, handler.fn(call.params))
        except Exception as error:
            failure = error
            payload = self._encode_error(call, error)
        self._send(self._protocol._answered(call, payload), number)
        if failure is not None and not isinstance(failure, RemoteError):
            raise failure

    def refuse(self, call: Call, number: int) -> None:
        """Answer a call whose method has no handler, if the protocol defines such an answer. I/O thread only.

        Args:
            call: the call.
            number: the number of the connection on which it was received.
        """
        self._send(self._protocol._answered(call, self._protocol._refusal(call.id, call.method)), number)

    def _encode_error(self, call: Call, error: Exception) -> str | bytes:
        try:
            return self._protocol.encode_error(call.id, error)
        except Exception:  # the error's data can't be encoded; its text can
            code = error.code if isinstance(error, RemoteError) and isinstance(error.code, (int, str)) else None
            return self._protocol.encode_error(call.id, RemoteError(code, str(error)))

    def _send(self, payload: str | bytes | None, number: int) -> None:
        if payload is None:  # it is sent later, with the other answers of its batch
            return
        opcode, data = encoded(payload)
        entry = Outgoing(opcode, data, len(data), connection_number=number)
        try:
            self._requests.queue(entry, NEVER)
        except WebSocketClientError as error:  # the client was closed meanwhile, or its queue is full
            _log.warning("%s: the answer to a call was not sent: %s", self._name, error)
            return
        self._sender.write_queued()
