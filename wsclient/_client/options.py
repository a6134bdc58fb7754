"""The options of a client: their types, and one table of their defaults and checks.

An option is declared in four places: its type in ``ClientOptions``, its row in ``OPTIONS``, its line in the docstring
of ``Client.__init__``, and the part of the client that uses it. The signatures that ``help()`` shows are made from the
first two; ``tests/client/test_options.py`` checks that all of them agree.
"""

from __future__ import annotations

import inspect
import os
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, TypedDict

from .. import _settings
from .._connection.reconnect import Reconnect, check_reconnect
from .._models import Attempt
from .._options import DEFAULT_LIMITS, Heartbeat, Limits, Queue, Quiet, ReceiveQueue, Renew, SendQueue
from .._receiving.hooks import HOOKS
from .._recording.options import Recording
from .._rfc6455.deflate import Deflate
from .._threads.imports import import_lock
from .._validation import check_bool, check_callable, check_count, check_seconds
from ..protocols import Protocol
from ..protocols._codec import JSON
from ..protocols._session import Session

__all__ = ["OPTIONS", "ClientOptions", "checked_options", "signature"]


class ClientOptions(TypedDict, total=False):
    """Every option of ``Client`` except ``url``, with its type; for type checkers.

    A function that passes options on can declare them: ``def feed(**options: Unpack[wsclient.ClientOptions])``
    (``typing.Unpack``, PEP 692). ``help(wsclient.Client)`` explains each option.
    """

    protocol: Protocol | None
    json: Any
    headers: Mapping[str, str] | Callable[[], Mapping[str, str]] | None
    subprotocols: Sequence[str]
    origin: str | None
    compression: Literal["deflate"] | Deflate | None
    open_timeout: float
    session_timeout: float
    ping_interval: float | None
    ping_timeout: float | None
    ssl_context: ssl.SSLContext | Callable[[], ssl.SSLContext] | None
    ssl_ca: str | None
    proxy: str | bool | None
    source_address: Any
    sock: socket.socket | Callable[[], socket.socket] | None
    reconnect: Reconnect | None
    retry_first: bool
    request_timeout: float | None
    send_queue: Queue
    receive_queue: Queue
    max_message_size: int
    limits: Limits
    on_open: Callable[[Any], object] | None
    on_reconnect: Callable[[Any], object] | None
    on_message: Callable[[Any, Any], object] | None
    on_close: Callable[[Any, int | None, str | None], object] | None
    on_error: Callable[[Any, BaseException], object] | None
    on_ping: Callable[[Any, bytes], object] | None
    on_pong: Callable[[Any, bytes], object] | None
    on_session: Callable[[Any, Session], object] | None
    on_connect_error: Callable[[Any, Attempt], object] | None
    handlers: Mapping[str, Callable[[Any], Any]] | None
    name: str | None
    record: str | os.PathLike[str] | Callable[[bytes], object] | Recording | None
    server_hostname: str | None
    quiet: float | Quiet | None
    renew: Renew | None
    heartbeat: Heartbeat | None
    on_quiet: Callable[[Any, float], object] | None
    on_renew: Callable[[Any, str], object] | None


class Option(NamedTuple):
    """One row of the table.

    Attributes:
        default: the value of an option that was not given.
        check: receives the option's name and value, and returns the value that the client uses.
    """

    default: Any
    check: Callable[[str, Any], Any]


OPTIONS: Final[Mapping[str, Option]] = {
    "protocol": Option(None, _settings.check_protocol),
    "json": Option(JSON, _settings.check_json),
    "headers": Option(None, _settings.check_headers),
    "subprotocols": Option((), _settings.check_subprotocols),
    "origin": Option(None, _settings.check_origin),
    "compression": Option("deflate", _settings.check_compression),
    "open_timeout": Option(_settings.OPEN_TIMEOUT, check_seconds),
    "session_timeout": Option(_settings.SESSION_TIMEOUT, check_seconds),
    "ping_interval": Option(_settings.PING_INTERVAL, _settings.check_optional_seconds),
    "ping_timeout": Option(_settings.PING_TIMEOUT, _settings.check_optional_seconds),
    "ssl_context": Option(None, _settings.check_ssl_context),
    "ssl_ca": Option(None, _settings.check_ssl_ca),
    "proxy": Option("env", _settings.check_proxy),
    "source_address": Option(None, _settings.check_source_address),
    "sock": Option(None, _settings.check_sock),
    "reconnect": Option(Reconnect(), check_reconnect),
    "retry_first": Option(False, check_bool),
    "request_timeout": Option(_settings.REQUEST_TIMEOUT, _settings.check_optional_seconds),
    "send_queue": Option(SendQueue(), _settings.check_send_queue),
    "receive_queue": Option(ReceiveQueue(), _settings.check_receive_queue),
    "max_message_size": Option(_settings.MAX_MESSAGE_SIZE, check_count),
    "limits": Option(DEFAULT_LIMITS, _settings.check_limits),
    **dict.fromkeys(HOOKS[: HOOKS.index("on_quiet")], Option(None, check_callable)),
    "handlers": Option(None, _settings.check_handlers),
    "name": Option(None, _settings.check_name),
    "record": Option(None, _settings.check_record),
    "server_hostname": Option(None, _settings.check_server_hostname),
    "quiet": Option(None, _settings.check_quiet),
    "renew": Option(None, _settings.check_renew),
    "heartbeat": Option(None, _settings.check_heartbeat),
    "on_quiet": Option(None, check_callable),
    "on_renew": Option(None, check_callable),
}
"""Each option except ``url``, in the order of the signature."""


def checked_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return every option, checked, with its default if it was not given.

    Args:
        options: the options that the caller gave.

    Raises:
        TypeError: there is no such option, or one has the wrong type; the message names it.
        ValueError: an option has a value that can't work, or two exclude each other.
    """
    for name in options:
        if name not in OPTIONS:
            raise _unknown(name)
    values = {name: option.check(name, options.get(name, option.default)) for name, option in OPTIONS.items()}
    _settings.check_combinations(values)
    return values


def signature(*leading: str, returns: str) -> inspect.Signature:
    """Return the signature of a function that takes a URL and the options, as ``help()`` and ``inspect`` show it.

    Args:
        leading: names of the parameters before ``url``.
        returns: the annotation of what it returns.
    """
    kinds = inspect.Parameter
    parameters = [kinds(name, kinds.POSITIONAL_OR_KEYWORD) for name in leading]
    parameters.append(kinds("url", kinds.POSITIONAL_OR_KEYWORD, annotation="str | Sequence[str] | Callable[[], str]"))
    for name, hint in ClientOptions.__annotations__.items():
        annotation = getattr(hint, "__forward_arg__", hint)
        parameters.append(kinds(name, kinds.KEYWORD_ONLY, default=OPTIONS[name].default, annotation=annotation))
    return inspect.Signature(parameters, return_annotation=returns)


def _unknown(name: str) -> TypeError:
    with import_lock:
        import difflib  # takes 2 ms, and is needed only for a mistake

    nearest = difflib.get_close_matches(name, OPTIONS, n=1)
    hint = f"the nearest is {nearest[0]!r}" if nearest else "help(wsclient.Client) lists all"
    return TypeError(f"{name!r} is not an option of wsclient.Client or wsclient.connect; {hint}.")
