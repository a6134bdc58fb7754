"""The client of a shell, and what is done with the input: messages are sent, calls are made, commands are run."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from .._models import State
from .._threads.locks import make_lock
from ..protocols import JsonId
from .exits import CommandError, exit_code_of, sentence_of
from .options import CLOSE_TIMEOUT
from .shell_recording import RecordingSwitch
from .tracing import FramePrinter

if TYPE_CHECKING:
    from .._client.client import Client
    from .._receiving.streams import Stream
    from ..protocols import Protocol
    from .options import Connection
    from .output import Output
    from .shell_transcript import Transcript

__all__ = ["Conversation"]

_POLL: Final = 0.01
"""Seconds after which the main thread checks again whether the replies to a script have arrived."""

_START_POLL: Final = 0.001
"""Seconds after which the main thread checks again whether the client has begun to connect."""

_ENDED: Final = (State.CLOSED, State.FAILED)


class Conversation:
    """One session of the shell. After ``/close`` or a failure it can have another client.

    Threads: one thread performs the input. With ``has_waiting_threads``, a command that waits for the server runs on a
    further thread.

    Args:
        connection: the options of the command line.
        url: the complete URL.
        output: prints what the client logs.
        transcript: shows messages.
        retry: number of further attempts to connect if ``--retry`` is not given; ``FOREVER``: no limit.
        has_waiting_threads: whether the next input is performed while a command waits for the server.

    Attributes:
        client: the present client.
        transcript: see above.
        recording: begins and ends recordings.
        is_correlated: whether there is a ``--protocol``, so that messages are requests.
    """

    def __init__(
        self,
        connection: Connection,
        url: str,
        output: Output,
        transcript: Transcript,
        *,
        retry: int,
        has_waiting_threads: bool,
    ) -> None:
        self.transcript = transcript
        self.recording = RecordingSwitch(
            FramePrinter(output) if connection.verbose > 1 else None, self._recording_ended
        )
        self.is_correlated = connection.protocol is not None
        self._make_client = partial(connection.client, url, output, retry=retry, level=logging.WARNING)
        self._has_waiting_threads = has_waiting_threads
        # Guards `_requests`, `_uncorrelated`, `_subscribed` and `_opened_count`. These threads change them: the
        # performing thread, the hook thread and, for `/sub` with `has_waiting_threads`, a further thread.
        self._lock = make_lock()
        self._requests = 0
        self._uncorrelated = 0
        # Requests that `_opened` sends on each later connection. Each has the number of the connection on which it was
        # already sent; 0 if it was not sent yet.
        self._subscribed: list[tuple[Any, int]] = []
        self._opened_count = 0  # connections of the present client for which `_opened` was called
        self._is_subscribed = False
        self._is_closing = False
        self.client = self._new_client()

    # --- the client --------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Connect, and wait until it is connected.

        Raises:
            ConnectError: all attempts failed.
        """
        self.client.start()

    def begin(self, failed: Callable[[BaseException], object]) -> None:
        """Begin to connect; what is sent from now on waits for the connection.

        Args:
            failed: called with the error if all attempts failed, on a thread of its own.
        """
        starting = threading.Thread(target=self._start, args=(self.client, failed), name="wsclient-start", daemon=True)
        starting.start()
        while self.client.state is State.NEW and starting.is_alive():
            time.sleep(_START_POLL)

    def _start(self, client: Client, failed: Callable[[BaseException], object]) -> None:
        try:
            client.start()
        except BaseException as error:
            if not self._is_closing:
                failed(error)

    def reopen(self) -> None:
        """Replace a client that is closed or failed by a new one, and connect. With ``has_waiting_threads``, do not
        wait for the connection.

        Raises:
            ConnectError: all attempts failed; only without ``has_waiting_threads``.
        """
        self._is_closing = False
        with self._lock:
            self._subscribed = [(request, 0) for request, _ in self._subscribed]
            self._opened_count = 0
        self.client = self._new_client()
        if self._has_waiting_threads:
            self.begin(self._not_opened)
        else:
            self.start()

    def _not_opened(self, error: BaseException) -> None:
        self.transcript.error(f"* {sentence_of(error)}")

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the client."""
        self._is_closing = True
        self.client.close(code, reason, timeout=CLOSE_TIMEOUT)

    def end(self) -> None:
        """Close everything."""
        self.close()
        self.recording.close()

    def _new_client(self) -> Client:
        client = self._make_client(
            protocol=JsonId(),  # without --protocol: for calls of methods; other messages stay unchanged
            record=self.recording,
            on_close=self._closed,
            on_open=self._opened,
            on_reconnect=self._reconnected,
        )
        self._read(client.listen())
        return client

    def _closed(self, client: Client, code: int | None, reason: str | None) -> None:
        if self._is_closing:
            return
        lost = client.last_disconnect
        initiator = None if lost is None else lost.initiator.value
        shown = ", ".join(str(part) for part in (initiator, code, reason) if part)
        self.transcript.note(f"* the connection has ended ({shown})")

    def _opened(self, client: Client) -> None:
        with self._lock:
            self._opened_count += 1
            requests = [request for request, sent_on in self._subscribed if sent_on < self._opened_count]
        for request in requests:
            self.post(request)

    def _reconnected(self, client: Client) -> None:
        self.transcript.note("* connected again")
        self._opened(client)

    def _read(self, stream: Stream) -> None:
        """Show the messages of a stream until its end, on a thread of its own."""
        threading.Thread(target=self._show_messages, args=(stream,), name="wsclient-listen", daemon=True).start()

    def _show_messages(self, stream: Stream) -> None:
        try:
            for message in stream:
                self.transcript.received(message)
        except Exception as error:
            self.transcript.failed(error)

    def _recording_ended(self, error: Exception) -> None:
        self.transcript.error(f"The recording has ended: {sentence_of(error)}")

    # --- the input ---------------------------------------------------------------------------------------------------

    def post(self, message: Any) -> None:
        """Send a message, as a request if the protocol correlates such messages."""
        protocol = self.client.protocol
        if self.is_correlated and (isinstance(message, (dict, list)) or protocol.replies_in_order):
            self.request(message)
        else:
            self.send(message)

    def call(self, method: str, params: Any) -> None:
        """Call a method.

        Raises:
            TypeError: the protocol has no methods.
        """
        self.transcript.vocabulary.learn_name(method)
        self.request(self.client.protocol.build(method, params, False))

    def send(self, message: Any) -> None:
        """Send a message whose reply, if there is one, is an ordinary message."""
        self.transcript.sent(message)
        self.client.send(message)
        with self._lock:
            self._uncorrelated += 1
        self._warn_if_away()

    def request(self, message: Any) -> None:
        """Send a request; its reply is shown when it arrives."""
        with self._lock:
            self._requests += 1
            number = self._requests
        self.transcript.sent(message, number)
        began = time.monotonic()
        try:
            future = self.client.submit(message)
        except Exception as error:
            future = Future()
            future.set_exception(error)
        future.add_done_callback(_Reply(self.transcript, number, began))
        self._warn_if_away()

    def subscribe(self, request: Any) -> None:
        """Subscribe now, or when the connection is open, and again on each later connection. The messages are shown
        like all others.

        Raises:
            Exception: the errors of ``Client.subscribe``.
        """
        self._is_subscribed = True
        if not (self.is_correlated and _marks_events(self.client.protocol, request)):
            if self._must_send(request):
                self.post(request)
            else:
                self._warn_if_away()
            return
        self.transcript.sent(request)
        began = time.monotonic()
        subscription = self.client.subscribe(request)
        self.transcript.note(f"* subscribed after {(time.monotonic() - began) * 1000:.1f} ms")
        self._read(subscription)

    def _must_send(self, request: Any) -> bool:
        """Store a request that ``_opened`` sends on each later connection, unless the client has ended.

        Returns:
            True if the caller must send the request now. Either the connection is open, or the client has ended; then
            the call that sends shows the error.
        """
        with self._lock:
            if self.is_over:
                return True
            is_open = self.client.state is State.OPEN
            self._subscribed.append((request, self.client.stats.connections if is_open else 0))
        return is_open

    def _warn_if_away(self) -> None:
        if self.client.state is not State.OPEN and not self.is_over:
            self.transcript.note("* not connected now; the message is sent when the connection is open")

    def call_waiting(self, function: Callable[..., object], *arguments: Any) -> None:
        """Call a function that waits for the server, with ``has_waiting_threads`` on a further thread."""
        if not self._has_waiting_threads:
            function(*arguments)
            return
        threading.Thread(target=self._attempt, args=(function, *arguments), name="wsclient-wait", daemon=True).start()

    def _attempt(self, function: Callable[..., object], *arguments: Any) -> None:
        try:
            function(*arguments)
        except Exception as error:
            if exit_code_of(error) is None:
                raise
            self.transcript.error(f"* {sentence_of(error)}")

    @property
    def is_over(self) -> bool:
        """Whether the client is closed or failed."""
        return self.client.state in _ENDED

    # --- the end of a script -----------------------------------------------------------------------------------------

    def await_replies(self) -> None:
        """Wait until each request has its reply.

        Raises:
            Exception: nothing reads stdout any more.
        """
        transcript = self.transcript
        while transcript.reply_count < self._requests and transcript.failure is None:
            time.sleep(_POLL)
        if transcript.failure is not None:
            raise transcript.failure

    def await_messages(self, quiet: float) -> None:
        """Wait for the messages that answer sent messages which were not requests.

        The wait ends when as many messages have arrived as such messages were sent, or when none has arrived for
        ``quiet`` seconds. With a subscription, only the latter ends it.

        Args:
            quiet: seconds without a message after which the wait ends.

        Raises:
            Exception: the client is closed or failed, or nothing reads stdout any more.
        """
        transcript = self.transcript
        seen, since = transcript.received_count, time.monotonic()
        while (self._is_subscribed or transcript.received_count < self._uncorrelated) and transcript.failure is None:
            if self.is_over:
                raise _end_of(self.client)
            if seen != transcript.received_count:
                seen, since = transcript.received_count, time.monotonic()
            if time.monotonic() - since > quiet:
                break
            time.sleep(_POLL)
        if transcript.failure is not None:
            raise transcript.failure


def _marks_events(protocol: Protocol, request: Any) -> bool:
    """Return whether the events of a subscription have the id of its request. Only a stream of ``Client.subscribe``
    receives such events. The events of other protocols are ordinary messages.

    Args:
        protocol: the message protocol of the client.
        request: the message that subscribes.
    """
    try:
        return protocol.stream_of(request, 0) is not None
    except (TypeError, ValueError, LookupError, AttributeError):  # it is no request of this protocol
        return False


def _end_of(client: Client) -> Exception:
    error = client.last_error
    return error if isinstance(error, Exception) else CommandError("The connection was closed.")


class _Reply:
    """A callback of a request's future: passes the reply on with its round trip."""

    def __init__(self, transcript: Transcript, number: int, began: float) -> None:
        self._transcript = transcript
        self._number = number
        self._began = began

    def __call__(self, future: Future[Any]) -> None:
        self._transcript.replied(self._number, future, time.monotonic() - self._began)
