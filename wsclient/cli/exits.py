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

__all__ = ["CommandError", "ExitCode", "exit_code_of", "in_shell_words", "sentence_of"]

_LONGEST: Final = 2000
"""Characters after which the sentence of an error is cut."""

_SHELL_WORDS: Final = (
    (" as ssl_ca= or load it into ssl_context=", " with --ca"),
    ("load one into ssl_context= (load_cert_chain)", "pass one with --cert and --key"),
    (", or in ssl_context=", ""),
    ("those that ssl_context= allows", "those that OpenSSL allows"),
    (", the timeout of start():", ":"),
    ("give it more time with timeout=", "give it more time with --wait"),
    (", wait longer with timeout=, or give send_queue= more room", ""),
    ("reconnect= is None, or sock= is a socket", "--retry is 0"),
    ("the headers function has", "the command of --token-cmd has"),
    ("longer than open_timeout=", "longer than --timeout "),
    ("within open_timeout whether", "within --timeout whether"),
    ("proxy=None", "--proxy none"),
    ("max_message_size=", "--max-size"),
    ("subprotocols=", "--subprotocol"),
    ("compression=", "--compression"),
)
"""The words of the library for its options, and the words for the options of the command line. Phrases precede the
single words, and a phrase about an option that the command line does not have is removed."""


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
    (OSError, ExitCode.USAGE),  # the error of a file: network errors are above
    (ValueError, ExitCode.USAGE),  # the client can't use an option
    (TypeError, ExitCode.USAGE),
)
"""The exit code for each class of errors. The first row with a class of the error determines its code."""


def exit_code_of(error: BaseException) -> ExitCode | None:
    """Return the exit code for an error. None means that the error is a defect of a command."""
    if isinstance(error, CommandError):
        return error.code
    for cause in _causes(error):
        # A client that failed raises ClientClosed for every call; the cause is the error that ended the client.
        if isinstance(cause, ConnectError):
            return ExitCode.NOT_CONNECTED
    return next((code for kind, code in _CODES if isinstance(error, kind)), None)


def sentence_of(error: BaseException, longest: int = _LONGEST) -> str:
    """Return the text of an error as one line that can be printed on a terminal.

    Args:
        error: the error.
        longest: characters after which the text is cut.
    """
    if isinstance(error, OSError) and not isinstance(error, WebSocketClientError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}."
    sentence = text_of(error, longest)
    # Texts of commands and of the server are returned unchanged: only the texts of the library name its options.
    if isinstance(error, (CommandError, RemoteError)):
        return sentence
    cause = error.__cause__
    if isinstance(error, (ConnectionLost, ClientClosed)) and cause is not None:
        reason = text_of(cause, longest)
        if reason not in sentence:
            sentence = f"{sentence} {reason}"
    return in_shell_words(sentence)


def in_shell_words(sentence: str) -> str:
    """Return a sentence of the library with the options of the command line instead of those of ``Client``."""
    for words, shell_words in _SHELL_WORDS:
        sentence = sentence.replace(words, shell_words)
    return sentence


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause = error.__cause__ if isinstance(error, ClientClosed) else None
    while cause is not None:
        yield cause
        cause = cause.__cause__
