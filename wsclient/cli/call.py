"""``wsclient call``: one request, or one for each line of stdin."""

from __future__ import annotations

import contextlib
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterable
from concurrent import futures
from typing import TYPE_CHECKING, Any, Final

import click

from .._settings import REQUEST_TIMEOUT
from ..protocols import JsonId
from .exits import CommandError, ExitCode, exit_code_of, sentence_of
from .options import CLOSE_TIMEOUT, ClientCommand, Connection
from .protocols import UndecodedJson
from .values import Condition, data_of, items, lines_of, never

if TYPE_CHECKING:
    from concurrent.futures import Future

    from .._client.client import Client
    from .._receiving.streams import Stream
    from .output import Output

__all__ = ["command"]

_IN_FLIGHT: Final = 1000
"""Requests of stdin that may wait for their replies; reading stdin pauses at this number."""

_EPILOG: Final = """\b
Examples:
  wsclient call localhost:8765 add a:=1 b:=2
  wsclient call --protocol jsonrpc localhost:6800/jsonrpc aria2.getVersion
  printf '{"n":1}\\n{"n":2}\\n' | wsclient call localhost:8765 --data -
"""


@click.command(cls=ClientCommand, epilog=_EPILOG, help="Send one request, and print its reply as one line of JSON.")
@click.argument("url", required=False)
@click.argument("arguments", nargs=-1, metavar="[METHOD] [NAME=TEXT | NAME:=JSON]...")
@click.option("-d", "--data", metavar="JSON|@FILE|-", help="The message or, with METHOD, its parameters; -: stdin.")
@click.option(
    "--until",
    type=Condition,
    metavar="NAME=VALUE",
    help="Skip replies before the first with this value; with --all, end after this reply instead.",
)
@click.option("--all", "every", is_flag=True, help="Print every reply of a request that has several.")
@click.option("--unordered", is_flag=True, help="Print replies as they come, with the index of their request, from 0.")
@click.option(
    "--raw", is_flag=True, help="Print received text and bytes unchanged; with METHOD or --protocol, only bytes."
)
def command(
    connection: Connection,
    url: str | None,
    arguments: tuple[str, ...],
    data: str | None,
    until: Condition | None,
    every: bool,
    unordered: bool,
    raw: bool,
) -> int:
    """Run the command."""
    url, arguments = connection.arguments(url, arguments)
    output = connection.output(raw=raw)
    method = arguments[0] if arguments else None
    messages = _Messages(method, arguments[1:], data)
    has_requests = method is not None or connection.protocol is not None
    _check_replies(messages, every, unordered, has_requests)
    options: dict[str, Any] = {"json": UndecodedJson()} if raw and not has_requests else {}
    client = connection.client(url, output, protocol=JsonId() if has_requests else None, **options)
    messages.client = client
    timeout = REQUEST_TIMEOUT if connection.timeout is None else connection.timeout
    # With requests, the stream receives no messages. It reports the end of the client.
    with client.listen(never if has_requests else None) as stream:
        client.start()
        try:
            if not has_requests:
                return _exchange(client, stream, messages, until, timeout, output)
            if every:
                return _print_all(client, messages, until, output)
            if not messages.are_from_stdin:
                output.message(client.request(messages.one(), until=until))
                return ExitCode.OK
            replies = _Unordered if unordered else _Ordered
            return replies(client, stream, messages, until).print(output)
        finally:
            client.close(timeout=CLOSE_TIMEOUT)


class _Messages:
    """The messages to send: one of the command line, or one for each line of stdin.

    Attributes:
        client: encodes calls of methods.
        are_from_stdin: whether they come from stdin.
    """

    client: Client

    def __init__(self, method: str | None, parameters: tuple[str, ...], data: str | None) -> None:
        self._method = method
        self._stdin: Iterable[str] = sys.stdin
        self.are_from_stdin = data == "-"
        self._one: Any = None
        if self.are_from_stdin:
            if parameters:
                raise CommandError("With --data - the parameters come from stdin; do not write any.")
            return
        if data is not None:
            if parameters:
                raise CommandError("Write the parameters as NAME=TEXT or in --data, not both.")
            self._one = data_of(data, "--data")
        elif method is None:
            raise CommandError("What is to be sent? Write a METHOD, or --data with a message.")
        else:
            self._one = items(parameters)

    def one(self) -> Any:
        """Return the message of the command line."""
        return self._made(self._one)

    def of_stdin(self) -> Iterable[Any]:
        """Return the messages, one for each line."""
        return map(self._made, lines_of(self._stdin))

    def all(self) -> Iterable[Any]:
        """Return all messages, of the command line or of stdin."""
        return self.of_stdin() if self.are_from_stdin else (self.one(),)

    def _made(self, value: Any) -> Any:
        return value if self._method is None else self.client.protocol.build(self._method, value, False)


def _check_replies(messages: _Messages, every: bool, unordered: bool, has_requests: bool) -> None:
    """Check that ``--all`` and ``--unordered`` have what they need.

    Raises:
        CommandError: they would have no effect.
    """
    if every and unordered:
        raise CommandError("--all prints the replies in the order of the requests; leave out --all or --unordered.")
    if (every or unordered) and not has_requests:
        option = "--all" if every else "--unordered"
        raise CommandError(f"{option} needs METHOD or --protocol; otherwise no message is the reply to a request.")
    if unordered and not messages.are_from_stdin:
        raise CommandError("--unordered needs --data -, which sends one request for each line of stdin.")


def _exchange(
    client: Client, stream: Stream, messages: _Messages, until: Condition | None, timeout: float, output: Output
) -> int:
    """Send the messages without correlation, and print as many received messages as were sent."""
    sender = _Sender(messages, client.send)
    sender.start()
    printed = 0
    end: float | None = None  # when the next message must have come; None before everything is sent
    while (wanted := sender.sent) is None or printed < wanted:
        if wanted is not None and end is None:
            end = time.monotonic() + timeout
        message = _next(stream, end, sender)
        if message is not _NONE_YET and (until is None or until(message)):
            output.message(message)
            printed += 1
            end = None
    sender.check()
    return ExitCode.OK


_NONE_YET: Final = object()
_POLL: Final = 0.1
"""Seconds after which it is checked again whether stdin has ended."""


def _next(stream: Stream, end: float | None, sender: _Sender) -> Any:
    sender.check()
    left = _POLL if end is None else end - time.monotonic()
    try:
        return stream.get(max(left, 0))
    except TimeoutError:
        if end is None:
            return _NONE_YET
        raise CommandError("No message arrived in time; --timeout sets the seconds.", ExitCode.TIMEOUT) from None


def _print_all(client: Client, messages: _Messages, until: Condition | None, output: Output) -> int:
    for message in messages.all():
        with client.stream(message, until=until) as replies:
            for reply in replies:
                output.message(reply)
    return ExitCode.OK


class _Sender(threading.Thread):
    """Sends the messages, so that the main thread can print replies meanwhile. It is a daemon, since it may still wait
    for stdin when the command ends.

    Attributes:
        sent: how many messages were sent. It is None until the thread has ended.
    """

    def __init__(self, messages: _Messages, send: Callable[[Any], object]) -> None:
        super().__init__(name="wsclient-stdin", daemon=True)
        self._messages = messages
        self._send = send
        self._error: BaseException | None = None
        self.sent: int | None = None

    def run(self) -> None:
        """Send the messages."""
        number = 0
        try:
            for number, message in enumerate(self._messages.all(), 1):  # noqa: B007
                self._send(message)
        except BaseException as error:
            self._error = error
        self.sent = number

    def check(self) -> None:
        """Raise the error that ended the thread, if there is one."""
        if self._error is not None:
            raise self._error


class _Replies:
    """The replies to the requests of stdin.

    Args:
        client: sends the requests.
        stream: raises the error that ended the client; it has no messages.
        messages: the requests.
        until: as for ``Client.request``.
    """

    def __init__(self, client: Client, stream: Stream, messages: _Messages, until: Condition | None) -> None:
        self._client = client
        self._stream = stream
        self._until = until
        self._room = threading.Semaphore(_IN_FLIGHT)
        self._replies: queue.SimpleQueue[tuple[int, Future[Any]]] = queue.SimpleQueue()
        self._sent = 0
        self._sender = _Sender(messages, self._submit)

    def print(self, output: Output) -> int:
        """Print a line for each reply; errors go to stderr with the name of their request.

        Returns:
            The exit code of the first error, or 0.
        """
        self._sender.start()
        code = ExitCode.OK
        printed = 0
        while self._sender.sent is None or printed < self._sent:
            try:
                index, future = self._replies.get(timeout=_POLL)
            except queue.Empty:
                if printed == self._sent:
                    self._check_client()
                continue
            while not future.done():  # on Windows, Ctrl-C does not end a wait without a limit (python/cpython#74157)
                futures.wait((future,), _POLL)
            try:
                reply = future.result()
            except Exception as error:
                output.error(f"wsclient: {self.name(index)}: {sentence_of(error)}")
                code = code or exit_code_of(error) or ExitCode.SERVER_ERROR
            else:
                self.show(index, reply, output)
            self._room.release()
            printed += 1
        self._sender.check()
        return code

    def _check_client(self) -> None:
        """Raise the error that ended the client, if it has ended. It can send no more requests then."""
        with contextlib.suppress(TimeoutError):
            self._stream.get(0)

    def show(self, index: int, reply: Any, output: Output) -> None:
        """Print a reply."""
        output.message(reply)

    def name(self, index: int) -> str:
        """Return what an error calls the request with this index. The index counts from 0."""
        return f"request {index + 1}"

    def expect(self, index: int, future: Future[Any]) -> None:
        """Put a future into the queue, now or when it is done."""
        self._replies.put((index, future))

    def _submit(self, message: Any) -> None:
        self._room.acquire()
        future = self._client.submit(message, until=self._until)
        index = self._sent
        self._sent += 1
        self.expect(index, future)


class _Ordered(_Replies):
    """Replies in the order of the requests."""


class _Unordered(_Replies):
    """Replies as they come, each as ``{"index": N, "reply": ...}``; ``index`` counts the requests from 0."""

    def show(self, index: int, reply: Any, output: Output) -> None:
        output.message({"index": index, "reply": reply})

    def name(self, index: int) -> str:
        return f"request with index {index}"

    def expect(self, index: int, future: Future[Any]) -> None:
        future.add_done_callback(_Done(self._replies, index))


class _Done:
    """A callback of a future: puts it into the queue."""

    def __init__(self, replies: queue.SimpleQueue[tuple[int, Future[Any]]], index: int) -> None:
        self._replies = replies
        self._index = index

    def __call__(self, future: Future[Any]) -> None:
        self._replies.put((self._index, future))
