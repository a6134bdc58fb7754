"""``wsclient listen``: messages as they arrive."""

from __future__ import annotations

import contextlib
import logging
import queue
import subprocess
import threading
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from .._errors import ClientClosed, ConnectionLost
from .._threads.locks import make_lock
from ..protocols import JsonId
from .exits import CommandError, ExitCode
from .options import CLOSE_TIMEOUT, FOREVER, ClientCommand, Connection
from .output import Output
from .protocols import UndecodedJson
from .tracing import OutageNotice
from .values import Condition, parse_json

if TYPE_CHECKING:
    from .._client.client import Client
    from .._receiving.streams import Stream

__all__ = ["command"]

_EPILOG = """\b
Examples:
  wsclient listen localhost:8765 --count 3
  wsclient listen localhost:8765 --send '{"op":"subscribe"}' --filter type=trade
  wsclient listen localhost:8765 --reply 'type=ping={"type":"pong"}' --timestamps
"""

_WAITING = 1000
"""Messages that the queue of the command holds until they are printed. Once it is full, messages wait in their stream;
once a stream is full too, the client pauses reading."""

_POLL = 0.1
"""Longest single wait in seconds. On Windows, Ctrl-C does not end a wait without a limit (python/cpython#74157)."""


class _Reply:
    """``--reply NAME=VALUE=JSON``: the JSON is sent for each message that fulfils the condition ``NAME=VALUE``.

    Args:
        text: the value of the option.

    Raises:
        CommandError: it has no JSON.
    """

    def __init__(self, text: str) -> None:
        name, _, rest = text.partition("=")
        value, mark, answer = rest.partition("=")
        if not mark:
            raise CommandError(f"--reply {text!r} has no answer; write NAME=VALUE=JSON.")
        self.accepts = Condition(f"{name}={value}")
        self.answer = parse_json(answer, "the answer of --reply")


@click.command(cls=ClientCommand, epilog=_EPILOG, help="Print messages as they arrive, one per line, until Ctrl-C.")
@click.argument("url", required=False)
@click.option("--send", "sent", multiple=True, metavar="JSON", help="Send this on every connection; repeatable.")
@click.option(
    "--subscribe", "subscribed", multiple=True, metavar="JSON", help="Subscribe with this request; repeatable."
)
@click.option("-C", "--count", type=click.IntRange(min=1), metavar="N", help="End after N messages.")
@click.option(
    "-W", "--wait", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", help="End after this time."
)
@click.option(
    "--quiet-after",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Connect again if no message comes for this time.",
)
@click.option("--until", type=Condition, metavar="NAME=VALUE", help="End after the first message with this value.")
@click.option(
    "--filter",
    "wanted",
    type=Condition,
    multiple=True,
    metavar="NAME=VALUE",
    help="Print only messages with this value; repeatable.",
)
@click.option("--timestamps", is_flag=True, help="Begin each line with the time at which it is printed.")
@click.option("--exec", "program", metavar="CMD", help="Run CMD for each message, with the message on stdin.")
@click.option(
    "--reply",
    "replies",
    type=_Reply,
    multiple=True,
    metavar="NAME=VALUE=JSON",
    help="Send JSON for each message with this value; repeatable.",
)
@click.option(
    "--raw", is_flag=True, help="Print received text and bytes unchanged; with --protocol or --subscribe, only bytes."
)
def command(
    connection: Connection,
    url: str | None,
    sent: tuple[str, ...],
    subscribed: tuple[str, ...],
    count: int | None,
    wait: float | None,
    quiet_after: float | None,
    until: Condition | None,
    wanted: tuple[Condition, ...],
    timestamps: bool,
    program: str | None,
    replies: tuple[_Reply, ...],
    raw: bool,
) -> int:
    """Run the command."""
    url, more = connection.arguments(url)
    if more:
        raise CommandError(f"{more[0]!r} is one argument too many.")
    if program is not None and timestamps:
        raise CommandError("With --exec no line is printed that could have a time; leave out --exec or --timestamps.")
    output = connection.output(raw=raw)
    options: dict[str, Any] = {"quiet": quiet_after}
    first_messages = [parse_json(text, "--send") for text in sent]
    requests = [parse_json(text, "--subscribe") for text in subscribed]
    if raw and connection.protocol is None and not requests:
        options["json"] = UndecodedJson()
    on_open = _OnOpen(first_messages)
    if connection.verbose:
        options["on_open"] = on_open
    else:  # with -v, the client's own records report every attempt
        notice = OutageNotice(output, on_open)
        options |= {"on_open": notice, "on_connect_error": notice.failed}
    client = connection.client(
        url,
        output,
        retry=FOREVER,
        protocol=JsonId() if requests else None,
        level=logging.WARNING,
        **options,
    )
    listener = _Listener(client, output, wanted, replies, until, count, program, timestamps=timestamps)
    listener.add(client.listen())
    end = None if wait is None else time.monotonic() + wait
    # If the client was open and has already ended, `start` may raise ClientClosed. `listener.run` prints the messages
    # that were received, and then raises the error that ended the client, if there is one.
    with contextlib.suppress(ClientClosed):
        client.start(wait)
    try:
        try:
            for request in requests:
                stream = on_open.subscribe(client, request, end)
                if stream is not None:
                    listener.add(stream, is_subscription=True)
        except (ClientClosed, ConnectionLost):  # before it is raised, the messages that were received are printed
            client.close(timeout=CLOSE_TIMEOUT)  # so that the streams end
            listener.run(end)
            raise
        return listener.run(end)
    finally:
        client.close(timeout=CLOSE_TIMEOUT)


class _StreamReader(threading.Thread):
    """Moves the messages of one stream into a queue. While the queue is full, this thread waits.

    Args:
        stream: the messages.
        messages: the queue. An ``_End``, which ends the command, is put into it when the stream has ended.
        is_subscription: if True, an ``_End`` is put into the queue only if the stream ended with an error.
    """

    def __init__(self, stream: Stream, messages: queue.Queue[Any], *, is_subscription: bool) -> None:
        super().__init__(name="wsclient-listen", daemon=True)
        self._stream = stream
        self._messages = messages
        self._is_subscription = is_subscription

    def run(self) -> None:
        """Move messages until the stream ends."""
        try:
            for message in self._stream:
                self._messages.put(message)
        except Exception as error:
            self._messages.put(_End(error))
        else:
            if not self._is_subscription:
                self._messages.put(_End(None))


class _End(NamedTuple):
    """The end of the messages, with the error that is its reason; None if the server has closed the connection."""

    error: Exception | None


class _OnOpen:
    """The hook ``on_open``. It sends the messages of ``--send`` on every connection.

    It also sends the requests of ``--subscribe`` again on every later connection, if the client does not do so. The
    client does it only if it can recognise the messages of the subscription.

    Args:
        messages: the messages of ``--send``.
    """

    def __init__(self, messages: list[Any]) -> None:
        self._messages = messages
        # Guards the requests, and the connection on which each was sent last: the hook thread and the main thread send
        # them.
        self._lock = make_lock()
        self._requests: list[tuple[Any, int]] = []

    def __call__(self, client: Client) -> None:
        for message in self._messages:
            client.send(message)
        self._subscribe_again(client)

    def _subscribe_again(self, client: Client) -> None:
        """Send the requests that were not sent on the present connection."""
        number = client.stats.connections
        with self._lock:
            due = [request for request, sent_on in self._requests if sent_on < number]
            self._requests = [(request, number) for request, _ in self._requests]
        for request in due:
            reply = client.submit(request)
            if reply.done() and isinstance(reply.exception(), ConnectionLost):
                # This hook ran late: its connection has ended. The hook of the next one sends the request.
                self._forget(request, number)

    def _forget(self, request: Any, number: int) -> None:
        """Note that a request was not sent on a connection."""
        with self._lock:
            self._requests = [
                (one, 0 if one is request and sent_on == number else sent_on) for one, sent_on in self._requests
            ]

    def subscribe(self, client: Client, request: Any, end: float | None) -> Stream | None:
        """Subscribe now, and again on every later connection.

        Args:
            client: the client.
            request: the message of ``--subscribe``.
            end: until when to wait for the reply, on the monotonic clock; None: ``request_timeout``.

        Returns:
            The messages of the subscription. None if the client can't recognise them, so that they arrive as ordinary
            messages.
        """
        options: dict[str, Any] = {} if end is None else {"timeout": max(0.0, end - time.monotonic())}
        replies, number = client.stats.requests_ok, client.stats.connections
        try:
            return client.subscribe(request, **options)
        except ValueError:
            if client.stats.requests_ok == replies:
                raise  # it could not be sent
            with self._lock:
                self._requests.append((request, number))
            self._subscribe_again(client)  # the connection may have been replaced meanwhile
            return None


class _Listener:
    """Prints messages, answers them, and ends when the conditions of the command line are met."""

    def __init__(
        self,
        client: Client,
        output: Output,
        wanted: tuple[Condition, ...],
        replies: tuple[_Reply, ...],
        until: Condition | None,
        count: int | None,
        program: str | None,
        *,
        timestamps: bool,
    ) -> None:
        self._client = client
        self._output = output
        self._wanted = wanted
        self._replies = replies
        self._until = until
        self._left = count
        self._program = program
        self._timestamps = timestamps
        self._messages: queue.Queue[Any] = queue.Queue(_WAITING)

    def add(self, stream: Stream, *, is_subscription: bool = False) -> None:
        """Handle the messages of a stream too."""
        _StreamReader(stream, self._messages, is_subscription=is_subscription).start()

    def run(self, end: float | None) -> int:
        """Handle the messages until the end.

        Args:
            end: the time of the end on the monotonic clock; None for no limit.

        Returns:
            The exit code: 4 if the time ended, and 5 if the server closed the connection, before ``--count`` or
            ``--until`` was fulfilled; else 0.
        """
        is_endless = self._left is None and self._until is None
        while True:
            left = _POLL if end is None else end - time.monotonic()
            if left <= 0:
                return ExitCode.OK if is_endless else ExitCode.TIMEOUT
            try:
                message = self._messages.get(timeout=min(left, _POLL))
            except queue.Empty:
                continue
            if isinstance(message, _End):
                if message.error is not None:
                    raise message.error
                return ExitCode.OK if is_endless else ExitCode.CONNECTION_LOST
            if self._handle(message):
                return ExitCode.OK

    def _handle(self, message: Any) -> bool:
        """Answer and print a message, as the options say. Return whether it was the last one."""
        for reply in self._replies:
            if reply.accepts(message):
                self._client.send(reply.answer)
        if all(accepts(message) for accepts in self._wanted):
            self._show(message)
            if self._left is not None:
                self._left -= 1
        return self._left == 0 or (self._until is not None and self._until(message))

    def _show(self, message: Any) -> None:
        if self._program is not None:
            text = (
                message if isinstance(message, bytes) else f"{Output.line(message)}\n".encode(errors="backslashreplace")
            )
            subprocess.run(self._program, shell=True, input=text, check=False)  # noqa: S602  (the user's own command)
        elif self._timestamps:
            now = datetime.now().astimezone().isoformat(timespec="milliseconds")
            self._output.message(message, stamp=f"{now} ")
        else:
            self._output.message(message)
