"""Answers to the server's calls; each goes to the connection that the call came from, and to no other."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from .._errors import RemoteError, WebSocketClientError
from .._sending.message import Outgoing
from .._threads.deadline import NEVER
from ..protocols._encoding import encoded

if TYPE_CHECKING:
    from ..protocols import Call
    from .context import ReceivingContext
    from .handlers import Handler

__all__ = ["answer", "refuse"]

_log = logging.getLogger("wsclient")


def answer(core: ReceivingContext, handler: Handler, call: Call, number: int) -> None:
    """Run the handler and send what it returns or raises. On the handler's thread.

    Raises:
        Exception: what the handler raised, except a ``RemoteError``, which is an answer like any other. The
            answer has been sent; the error is for the log and ``on_error``.
    """
    failure: BaseException | None = None
    try:
        payload = core.protocol.encode_result(call.id, handler.fn(call.params))
    except Exception as error:
        failure = error
        payload = _error(core, call, error)
    _send(core, core.protocol._answered(call, payload), number)
    if failure is not None and not isinstance(failure, RemoteError):
        raise failure


def refuse(core: ReceivingContext, call: Call, number: int) -> None:
    """Answer a call whose method has no handler, where the protocol has an answer for that. I/O thread only."""
    _send(core, core.protocol._answered(call, core.protocol._refusal(call.id, call.method)), number)


def _error(core: ReceivingContext, call: Call, error: Exception) -> str | bytes:
    try:
        return core.protocol.encode_error(call.id, error)
    except Exception:  # its data can't be encoded; its text can
        code = error.code if isinstance(error, RemoteError) and isinstance(error.code, (int, str)) else None
        return core.protocol.encode_error(call.id, RemoteError(code, str(error)))


def _send(core: ReceivingContext, payload: str | bytes | None, number: int) -> None:
    if payload is None:  # it waits for the other answers of its batch
        return
    opcode, data = encoded(payload)
    entry = Outgoing(opcode, data, len(data), connection_number=number)
    try:
        core.requests.queue(entry, NEVER)
    except WebSocketClientError as error:  # the client was closed meanwhile, or its queue is full
        _log.warning("%s: the answer to a call was not sent: %s", core.settings.name, error)
        return
    core.sender.write_queued()
