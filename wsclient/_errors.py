"""The error tree: everything this package raises on its own account.

Guarantees:
    * Each message reads as a sentence: what happened, to what, and what to do about it.
    * Each error survives ``pickle`` and ``copy.copy`` with its public attributes.
    * An error that stands for a foreign one is raised ``from`` it, and names it in ``__cause__``.

The classes double as the built-in error a caller may already catch: ``ConnectionError`` for what
happens to a line, ``TimeoutError`` for what took too long.
"""

from __future__ import annotations

import copy
import dataclasses
from typing import TYPE_CHECKING, Any

from ._models import Phase

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._models import Disconnect

__all__ = [
    "ClientClosed",
    "ClientNotStarted",
    "ConnectError",
    "ConnectionLost",
    "FlushTimeout",
    "ForkedClient",
    "HandshakeError",
    "MessageTooBig",
    "ProtocolError",
    "ProxyError",
    "RemoteError",
    "RequestTimeout",
    "SendQueueFull",
    "SessionError",
    "SlowConsumer",
    "TLSError",
    "WebSocketClientError",
    "WouldDeadlock",
]


class WebSocketClientError(Exception):
    """The root of every error of this package; catch it to catch them all.

    All of them can be pickled, as a process pool does. A foreign error within that can not is replaced by its words.

    Attributes:
        results: where one request of a batch failed, what became of all of them: results, and errors in their places.
            None otherwise.
    """

    results: list[Any] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        state = {name: _portable(value) for name, value in self.__dict__.items()}
        return type(self), tuple(map(_portable, self.args)), state

    def __copy__(self) -> WebSocketClientError:
        twin = type(self)(*self.args)
        twin.__dict__.update(self.__dict__)
        return twin


class ConnectError(WebSocketClientError, ConnectionError):
    """A connection could not be opened.

    Attributes:
        attempts: how many attempts were made before giving up.
        last: the error of the last attempt (``OSError``, ``TimeoutError``, another ``ConnectError`` ...).
        retry: whether another attempt may succeed; where False, the client goes to ``State.FAILED``.
    """

    attempts: int
    last: BaseException
    retry: bool

    def __init__(
        self, message: str, *, attempts: int = 1, last: BaseException | None = None, retry: bool = True
    ) -> None:
        super().__init__(message)
        self.attempts = attempts
        self.last = self if last is None else last
        self.retry = retry


class HandshakeError(ConnectError):
    """The server answered the WebSocket upgrade with something else than a good ``101`` (RFC 6455 §4.1).

    Attributes:
        status: the HTTP status code.
        headers: the response's headers; look-up is not case-sensitive.
        body: the first bytes of the response's body, at most 64 KiB.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    def __init__(
        self,
        message: str,
        *,
        status: int = 0,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        retry: bool = True,
    ) -> None:
        super().__init__(message, retry=retry)
        self.status = status
        self.headers = {} if headers is None else headers
        self.body = body


class TLSError(ConnectError):
    """TLS failed; the sentence says how.

    That the server's certificate was refused, or that there is no TLS version in common, is fatal (``retry`` is False).
    No TLS at all, no common cipher and a certificate the server wants of us may pass, and are retried.
    """


class ProxyError(ConnectError):
    """The proxy could not be reached, refused the tunnel, or spoke nonsense."""


class SessionError(ConnectError):
    """The set-up of a connection (``on_session``) failed; raise it there yourself to refuse a connection.

    Args:
        message: a sentence for the log and for whoever waits.
        retry: False makes it fatal: the client goes to ``State.FAILED`` instead of trying again.
    """

    def __init__(self, message: str, *, retry: bool = True) -> None:
        super().__init__(message, retry=retry)


class ConnectionLost(WebSocketClientError, ConnectionError):
    """The connection ended before the answer came.

    Attributes:
        sent: True when the whole message had been handed to the operating system (the server may have acted
            on it), False when it certainly never arrived, None when that is unknown.
        disconnect: how the connection ended.
    """

    sent: bool | None
    disconnect: Disconnect | None

    def __init__(self, message: str, *, sent: bool | None = None, disconnect: Disconnect | None = None) -> None:
        super().__init__(message)
        self.sent = sent
        self.disconnect = disconnect


class RequestTimeout(WebSocketClientError, TimeoutError):
    """No answer within the deadline.

    Attributes:
        phase: ``"queued"`` when the message never left this process (it will not be sent any more),
            ``"waiting"`` when it was sent and the answer did not come; see ``Phase``.
    """

    phase: Phase

    def __init__(self, message: str, *, phase: str = Phase.WAITING) -> None:
        super().__init__(message)
        self.phase = Phase(phase)


class FlushTimeout(RequestTimeout):
    """``flush()`` did not finish within its timeout: messages are still queued, or not yet proven to have arrived."""


class RemoteError(WebSocketClientError):
    """The server answered the request with an error.

    Attributes:
        code: the server's error code, of whatever type it sent; None if it sent none.
        message: the server's text.
        data: whatever else the server attached.
    """

    code: Any
    message: str
    data: Any

    def __init__(self, code: Any, message: str = "", data: Any = None) -> None:
        super().__init__(code, message, data)
        self.code = code
        self.message = message
        self.data = data

    def __str__(self) -> str:
        code = "" if self.code is None else f" {self.code}"
        text = f": {self.message}" if self.message else "."
        return f"The server answered with error{code}{text}"


class SendQueueFull(WebSocketClientError):
    """The send queue had no room; send less, wait longer (``timeout=``), or give ``send_queue=`` more room."""


class SlowConsumer(WebSocketClientError):
    """Messages came faster than they were taken, beyond the bound of ``receive_queue=`` or ``maxsize=``."""


class MessageTooBig(WebSocketClientError):
    """A message is larger than the limit that was set for it (``max_message_size=``, ``send_queue=``)."""


class ProtocolError(WebSocketClientError):
    """The peer broke the protocol, or a message could not be decoded.

    Attributes:
        payload: the offending message where there is one, else None.
    """

    payload: Any

    def __init__(self, message: str, *, payload: Any = None) -> None:
        super().__init__(message)
        self.payload = payload


class ClientClosed(WebSocketClientError):
    """The client is not running: closed, failed (the reason is ``__cause__``), draining, or not started yet."""


class ClientNotStarted(ClientClosed):
    """A call that needs a running client came before ``start()``."""


class ForkedClient(WebSocketClientError):
    """This process is a fork of the one the client belongs to; make a new client here."""


class WouldDeadlock(WebSocketClientError):
    """A call that waits was made on the thread it would wait for; the message says what to call instead."""


def _portable(value: Any) -> Any:
    """The value, if it can be pickled and read again; else words in its place."""
    if isinstance(value, (str, int, float, bytes)) or value is None or type(value).__module__ == __name__:
        return value  # an error of ours minds what is in it by itself
    if dataclasses.is_dataclass(value) and not isinstance(value, type) and hasattr(value, "error"):
        return dataclasses.replace(value, error=_portable(value.error))  # a Disconnect
    import pickle  # whoever asks has loaded it: spares everybody else 2 ms

    try:
        pickle.loads(pickle.dumps(value))  # noqa: S301 - what was written here a moment ago
    except Exception:
        words = f"{type(value).__name__}: {value}"
        return WebSocketClientError(words) if isinstance(value, BaseException) else words
    return value


def copy_exception(error: BaseException) -> BaseException:
    """A fresh instance of the same error, for one more waiter.

    One exception object must not be raised in two threads: each ``raise`` writes its traceback into it.

    Args:
        error: any exception.

    Returns:
        A copy with the same class and attributes, its cause kept; the error itself where it can't be copied.
    """
    try:
        twin = copy.copy(error)
    except Exception:  # a foreign class whose constructor can't be replayed
        return error
    if type(twin) is not type(error):
        return error
    twin.__cause__ = error.__cause__
    twin.__suppress_context__ = error.__suppress_context__
    return twin
