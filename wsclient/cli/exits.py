"""The exit codes of the commands, and the sentence that each error prints."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import Final

from .._errors import (
    ClientClosed,
    ConnectError,
    ConnectionLost,
    MessageTooBig,
    ProtocolError,
    RemoteError,
    RequestTimeout,
    SendQueueFull,
    SlowConsumer,
    WebSocketClientError,
    text_of,
)

__all__ = ["CommandError", "ExitCode", "exit_code_of", "sentence_of"]

_LONGEST: Final = 2000
"""Characters after which the sentence of an error is cut."""


class ExitCode(enum.IntEnum):
    """What a command returns to the shell; 130 is 128 + SIGINT, as in shells (POSIX, 2.8.2)."""

    OK = 0
    SERVER_ERROR = 1
    USAGE = 2
    NOT_CONNECTED = 3
    TIMEOUT = 4
    CONNECTION_LOST = 5
    INTERRUPTED = 130


class CommandError(Exception):
    """Ends a command.

    Args:
        sentence: what is wrong and what to do; printed on stderr.
        code: the exit code.
    """

    def __init__(self, sentence: str, code: ExitCode = ExitCode.USAGE) -> None:
        super().__init__(sentence)
        self.code = code


_CODES: Final[tuple[tuple[type[BaseException], ExitCode], ...]] = (
    (KeyboardInterrupt, ExitCode.INTERRUPTED),
    (RemoteError, ExitCode.SERVER_ERROR),
    (ConnectError, ExitCode.NOT_CONNECTED),
    (RequestTimeout, ExitCode.TIMEOUT),
    (ConnectionLost, ExitCode.CONNECTION_LOST),
    (MessageTooBig, ExitCode.USAGE),
    (ProtocolError, ExitCode.SERVER_ERROR),
    (SendQueueFull, ExitCode.TIMEOUT),
    (SlowConsumer, ExitCode.CONNECTION_LOST),
    (ClientClosed, ExitCode.CONNECTION_LOST),
    (TimeoutError, ExitCode.TIMEOUT),
    (WebSocketClientError, ExitCode.CONNECTION_LOST),
    (ConnectionError, ExitCode.CONNECTION_LOST),
    (OSError, ExitCode.USAGE),  # a file
    (ValueError, ExitCode.USAGE),  # an option of the client
    (TypeError, ExitCode.USAGE),
)
"""The exit code for each class of errors; the first that fits counts."""


def exit_code_of(error: BaseException) -> ExitCode | None:
    """Return the exit code for an error; None if no code fits, since the error is a defect of a command."""
    if isinstance(error, CommandError):
        return error.code
    for attempt in _causes(error):
        # A client that failed raises ClientClosed for every call; the cause says why.
        if isinstance(attempt, ConnectError):
            return ExitCode.NOT_CONNECTED
    return next((code for kind, code in _CODES if isinstance(error, kind)), None)


def sentence_of(error: BaseException) -> str:
    """Return the text of an error as one line that can be printed on a terminal."""
    if isinstance(error, OSError) and not isinstance(error, WebSocketClientError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}."
    sentence = text_of(error, _LONGEST)
    cause = error.__cause__
    if isinstance(error, (ConnectionLost, ClientClosed)) and cause is not None:
        reason = text_of(cause, _LONGEST)
        if reason not in sentence:
            return f"{sentence} {reason}"
    return sentence


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause = error.__cause__ if isinstance(error, ClientClosed) else None
    while cause is not None:
        yield cause
        cause = cause.__cause__
