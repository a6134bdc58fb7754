"""The classes of the errors that this package raises.

Guarantees:
    * Each text says what happened. Most texts also name the object, and what the caller can do.
    * ``pickle`` and ``copy.copy`` keep the public attributes of each error.
    * An error that replaces an error of other code is raised ``from`` it, so its ``__cause__`` is that error. It is
      raised ``from None`` if the text of that error may contain a secret, or adds nothing.

Some classes also derive from a built-in class that callers may already catch: ``ConnectionError`` for errors of a
connection, ``TimeoutError`` for deadlines that passed.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any

from ._models import Disconnect, Phase

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
    """The base class of the public errors of this package. Wrong arguments raise ``TypeError`` or ``ValueError``.

    Each of these public errors can be pickled, as a process pool requires. If the value of an attribute can't be
    pickled, the copy contains the value's text instead or, for an exception, a ``WebSocketClientError`` with that text.

    Attributes:
        results: if a request of a batch failed: the results of all its requests, in order, with an error in the place
            of each failed request. None for other errors.
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
        attempts: how many attempts were made.
        last: the error of the last attempt (``OSError``, ``TimeoutError``, another ``ConnectError`` ...).
        retry: whether another attempt may succeed. If it is False for every server of ``url``, the client does not
            connect again, unless ``Reconnect.should_retry`` returns True or ``Reconnect.grace`` applies. Its state
            becomes ``State.FAILED``, or ``State.CLOSED`` if it was the first attempt and ``retry_first`` is False.
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
    """The server did not answer the request for the WebSocket upgrade with a valid 101 response (RFC 6455 §4.1).

    Attributes:
        status: the HTTP status code.
        headers: the response's headers; names are not case-sensitive.
        body: the first bytes of the response's body, at most ``Limits.max_body_bytes`` (by default 64 KiB).
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
    """TLS failed; the text says why.

    Two reasons are fatal (``retry`` is False): the client refused the server's certificate, or the two sides have no
    TLS version in common. After other reasons another attempt is made: the server does not use TLS, there is no cipher
    in common, or the server requires a certificate of the client.
    """


class ProxyError(ConnectError):
    """The proxy could not be reached, refused the tunnel, or sent an invalid answer."""


class SessionError(ConnectError):
    """The set-up of a connection failed. ``on_session`` may raise it to reject a connection.

    Args:
        message: the text of the error, for the log and for waiting callers.
        retry: False makes the error fatal: the client does not connect again, see ``ConnectError.retry``.
    """

    def __init__(self, message: str, *, retry: bool = True) -> None:
        super().__init__(message, retry=retry)


class ConnectionLost(WebSocketClientError, ConnectionError):
    """The connection ended before the reply, or the pong that ``flush()`` or ``ping()`` waited for, was received.

    Attributes:
        sent: True if the operating system had accepted the whole message, so that the server may have processed it;
            False if the message did not arrive; None if this is unknown, or if the error is about no single message.
        disconnect: how the connection ended.
    """

    sent: bool | None
    disconnect: Disconnect | None

    def __init__(self, message: str, *, sent: bool | None = None, disconnect: Disconnect | None = None) -> None:
        super().__init__(message)
        self.sent = sent
        self.disconnect = disconnect


class RequestTimeout(WebSocketClientError, TimeoutError):
    """No reply was received before the deadline.

    Attributes:
        phase: ``"queued"`` if the message was not sent (and will not be sent), ``"waiting"`` if it was sent but no
            reply was received; see ``Phase``.
    """

    phase: Phase

    def __init__(self, message: str, *, phase: str = Phase.WAITING) -> None:
        super().__init__(message)
        self.phase = Phase(phase)


class FlushTimeout(RequestTimeout):
    """``flush()`` did not finish within its timeout: messages are still queued, or are not confirmed yet."""


class RemoteError(WebSocketClientError):
    """The server answered the request with an error.

    In its text, ``message`` is cut after 1000 characters, and characters that are not printable are escaped.

    Attributes:
        code: the server's error code, of any type; None if the server sent none.
        message: the server's text.
        data: further data of the error; None if there is none.
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
        code = "" if self.code is None else f" {_peer_text(self.code, 100)}"
        text = f": {_peer_text(self.message, 1000)}" if self.message else "."
        return f"The server answered with error{code}{text}"


class SendQueueFull(WebSocketClientError):
    """The send queue was full; send less, wait longer (``timeout=``), or raise the limits of ``send_queue=``."""


class SlowConsumer(WebSocketClientError):
    """The unprocessed incoming messages exceed the limit of ``receive_queue=`` or ``maxsize=``."""


class MessageTooBig(WebSocketClientError):
    """A message is larger than its limit (``max_message_size=``, ``send_queue=``), has too many fragments
    (``Limits.max_fragments``), or is an array of too many messages (``Limits.max_batch``).
    """


class ProtocolError(WebSocketClientError):
    """The peer violated the protocol, or a message could not be decoded.

    Attributes:
        payload: the message that caused the error; None if no message did.
    """

    payload: Any

    def __init__(self, message: str, *, payload: Any = None) -> None:
        super().__init__(message)
        self.payload = payload


class ClientClosed(WebSocketClientError):
    """The client does not accept the call: it is closed, failed (the reason is ``__cause__``), draining, or not started
    yet.
    """


class ClientNotStarted(ClientClosed):
    """A call that needs a running client was made before ``start()``."""


class ForkedClient(WebSocketClientError):
    """This process is a forked child of the client's process; make a new client in it."""


class WouldDeadlock(WebSocketClientError):
    """A call can't work on this thread. The text says what to do instead. There are three cases:

    * The call would wait for its own thread: it was made on the I/O thread, or by a function that interrupted the
      client on this thread (a finalizer, a signal handler).
    * A method of the client that does not work inside ``on_session`` was called there: one that waits, ``listen``,
      ``reconnect`` or ``renew``. ``send``, ``submit``, ``notify``, ``stream`` and ``close(wait=False)`` work there.
    * A method of a session was called on another thread than the one that runs ``on_session``.
    """


def _portable(value: Any) -> Any:
    """The value if it can be pickled and unpickled. Otherwise its text; for an exception, a ``WebSocketClientError``
    with the text.
    """
    if isinstance(value, (str, int, float, bytes)) or value is None or type(value).__module__ == __name__:
        return value  # the `__reduce__` of an error of this package replaces the values that can't be pickled
    if dataclasses.is_dataclass(value) and not isinstance(value, type) and hasattr(value, "error"):
        return dataclasses.replace(value, error=_portable(value.error))  # a Disconnect
    import pickle  # imported here: programs that never pickle an error save 2 ms

    try:
        pickle.loads(pickle.dumps(value))  # noqa: S301 - the data was written one call before
    except Exception:
        words = f"{type(value).__name__}: {value}"
        return WebSocketClientError(words) if isinstance(value, BaseException) else words
    return value


def _peer_text(value: object, most: int) -> str:
    return printable(value, most) if isinstance(value, str) else text_of(value, most)


def text_of(value: object, most: int = 200) -> str:
    """The text of an exception, or the ``repr`` of another value, for the text of an error.

    Characters that are not printable are escaped, see ``printable``.

    Args:
        value: any object. A peer's value may be nested too deeply for ``repr``, and the methods of other code may
            raise; then the text is the name of its class.
        most: the number of characters after which the text is cut.
    """
    try:
        text = str(value) if isinstance(value, BaseException) else repr(value)
    except Exception:
        return f"<{type(value).__name__}>"
    return printable(text, most)


def printable(text: str, most: int = 1000) -> str:
    """A text of a peer or of other code, for the text of an error or a log record: one line of printable characters.

    Without this, a peer could add false lines to a log, or control the terminal that shows the log. Characters that
    ``str.isprintable`` excludes (control characters, line separators, marks that change the direction of text, lone
    surrogates) are replaced by their Python escape sequence.

    Args:
        text: the text.
        most: the number of characters after which the text is cut.
    """
    cut = text if len(text) <= most else f"{text[:most]}…"
    if cut.isprintable():
        return cut
    return "".join([char if char.isprintable() else char.encode("unicode_escape").decode() for char in cut])


def copy_exception(error: BaseException) -> BaseException:
    """A copy of an error, to be raised in another thread.

    One exception object must not be raised in two threads, since each ``raise`` changes its traceback.

    Args:
        error: any exception.

    Returns:
        A copy with the same class, attributes and cause; the error itself if it can't be copied.
    """
    try:
        twin = copy.copy(error)
    except Exception:  # a class of other code whose constructor takes other arguments
        return error
    if type(twin) is not type(error):
        return error
    twin.__cause__ = error.__cause__
    twin.__suppress_context__ = error.__suppress_context__
    return twin
