"""The class ``Client``. Each public method documents its guarantees and calls a function of this package; only
``request()``, the most frequent call, is implemented here.

Guarantees:
    * Every public method may be called from any thread, unless its docstring says otherwise.
    * All internals of a client are in the one attribute ``_wsclient``, so that a subclass can use almost any name; a
      subclass or an assignment that would hide a public name raises an error (``reserved_names``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from functools import partial
from threading import get_ident
from typing import Any, Final, NamedTuple, NoReturn, TypeVar, overload

from .._connection.context import ClientContext
from .._connection.keepalive import check_encodable
from .._connection.lifecycle import Lifecycle
from .._errors import ClientClosed
from .._models import Attempt, ConnectionInfo, Disconnect, State
from .._options import DEFAULT, Overflow
from .._receiving.handlers import Registration
from .._receiving.hooks import HOOKS
from .._receiving.streams import Stream
from .._receiving.subscription import Subscription
from .._sending.delivery import Delivery
from .._settings import make_settings
from .._stats import Stats
from .._threads.sections import this_thread
from .._threads.waiting import Deadline, Waiter
from .._typing import Self, Unpack
from .._validation import check_callable, check_seconds
from ..protocols import Protocol
from ..protocols._session import Session
from . import operations, reserved_names, stream_operations
from .options import ClientOptions, checked_options, signature

__all__ = ["Client"]

_OPEN: Final = State.OPEN
"""Looked up once: access to an enum member is slow."""

_CLOSE_TIMEOUT: Final = 3.0
"""Seconds for the closing handshake: the same as in websocket-client; websockets waits 10 s."""

_Function = TypeVar("_Function", bound=Callable[[Any], Any])


class Parts(NamedTuple):
    """The internal objects of a client."""

    context: ClientContext
    lifecycle: Lifecycle


class Client:
    """A WebSocket client that keeps itself connected.

    A background thread opens the connection, keeps it alive and opens it again when it is lost; any number of threads
    send and make requests. Hooks are methods to override, functions to pass, or attributes to assign::

        with wsclient.connect("ws://localhost:8000/ws") as client:
            total = client.request({"method": "add", "params": [1, 2]}, timeout=5)
            client.send("Hello, server!")

    Every method may be called from any thread, hooks included, unless it says otherwise.
    """

    _wsclient: Parts

    def __init__(
        self,
        url: str | Sequence[str] | Callable[[], str],
        **options: Unpack[ClientOptions],
    ) -> None:
        """
        Args:
            url: where to connect: ``ws://``, ``wss://`` or ``unix://``; a list of such URLs, tried in turn; or a
                function that is called before every attempt. ``user:password@`` becomes Basic authentication.
            protocol: how replies are correlated with requests; ``JsonId("id")`` by default. One object serves one
                client.
            json: the JSON codec, an object with ``dumps`` and ``loads``; None leaves incoming text as it is.
            headers: further headers of the upgrade request; or a function that returns them and is called before every
                attempt.
            subprotocols: offered in this order; the server must select one (RFC 6455 §1.9).
            origin: the ``Origin`` header; none is sent by default.
            compression: ``"deflate"`` offers permessage-deflate (RFC 7692), a ``Deflate`` sets its parameters; None
                offers nothing. With a server that does not support it, messages are uncompressed.
            open_timeout: seconds for name look-ups, TCP, proxy, TLS and upgrade together, after ``url`` and ``headers``
                have returned.
            session_timeout: seconds for ``on_session``.
            ping_interval: seconds between pings; None for no pings.
            ping_timeout: seconds of silence after a ping until the peer counts as dead; None has no limit.
            ssl_context: the TLS context, or a function that makes one and is called before every attempt that needs
                it, on the I/O thread. Use a function if certificates change, or if the options must be pickled (an
                ``SSLContext`` can't be pickled). The default is a context that verifies the server and requires TLS 1.2
                or newer. A client certificate that it has is sent to the servers of ``url`` only, not to a proxy, nor
                to another origin after a redirect.
            ssl_ca: a PEM file of the CAs to trust, instead of a context.
            proxy: the proxy's URL, ``"env"`` or True for the proxy of the environment, None or False for none.
            source_address: local address to connect from, or ``(address, port)``.
            sock: a connected stream socket to use instead of connecting, for one connection; or a function that
                returns one and is called before every attempt. A client that was started closes the socket when the
                client ends. ``wss`` uses TLS on it.
            reconnect: how to connect again; None for never.
            retry_first: retry the first connection too, instead of raising in ``start()``.
            request_timeout: seconds a request may take, if the call has no ``timeout``; None has no limit.
            send_queue: limits of the queue of messages to be sent, and of the messages per second.
            receive_queue: limits of the queues of incoming messages, for hooks and streams.
            max_message_size: bytes of an incoming message after decompression; a larger one closes the connection with
                1009.
            limits: further limits on peer input: fragments, header lines, redirects ...
            on_open, on_reconnect, on_message, on_close, on_error, on_ping, on_pong, on_session, on_connect_error: hooks
                as functions; they receive the client as their first argument.
            handlers: functions that answer the server's calls, by method, on the hook thread; see ``handle``.
            name: shown in thread names and logs.
            record: the path of a file to which every message and control frame is written, without secrets. Or a
                function that receives the lines of such a file, or a ``Recording``, which also defines what is secret.
                ``start()`` truncates the file. ``wsclient.testing.Replay`` is a server that replays it.
            server_hostname: replaces the host of the URL in TLS: the certificate of a ``wss`` server must be valid for
                this name, which is also sent to the server (SNI, RFC 6066 §3). It is needed if the host of the URL is
                not the server's name: for example an IP address, the local end of a tunnel, or any host with ``sock``.
                It applies to every URL and redirect of the client, except ``ws`` and ``unix`` URLs, a socket that
                already uses TLS, and the certificate of an ``https`` proxy.
            quiet: seconds without a message after which the connection is replaced although the server answers pings,
                or a ``Quiet`` that also defines which messages count; None for no limit.
            renew: when to replace the connection by a new one without a gap; None: only when ``renew()`` is called.
            heartbeat: a ``Heartbeat``, a message that is sent at an interval instead of the protocol's heartbeat.
            on_quiet, on_renew: hooks as functions, like those above.

        Raises:
            TypeError: an option has the wrong type; the message names it.
            ValueError: an option has a value that can't work.
        """
        values = checked_options(options)
        settings = make_settings(url, values)
        protocol: Protocol = values["protocol"]
        context = ClientContext(settings, protocol)
        for method, function in values["handlers"].items():
            context.handlers.handle(method, function, 0)
        # Last, so that the protocol can be used for another client if an option is refused.
        protocol._serve(settings.codec, settings.network.limits.max_batch)
        try:
            check_encodable(settings.heartbeat, context.requests)
        except BaseException:
            del protocol.json  # it serves no client
            raise
        object.__setattr__(self, "_wsclient", Parts(context, Lifecycle(context, values["reconnect"])))
        for hook in HOOKS:
            self._set_hook(hook, values[hook])

    # --- start and end ------------------------------------------------------------------------------------------------

    def start(self, timeout: float | None = None) -> Self:
        """Start the background thread and wait until the client is open; on a running client, only wait.

        Args:
            timeout: seconds to wait; None waits until the attempt ends.

        Returns:
            The client itself.

        Raises:
            ConnectError: the first attempt failed (with a list of URLs: the attempt for each of them), the timeout
                passed, or the operating system refused the client's thread. If attempts failed before the timeout,
                ``.attempts`` is their number, and ``.last`` the error of the last one. With ``retry_first=True`` only a
                fatal error ends the attempts. The client is closed when ``ConnectError`` is raised. There is one
                exception: if another thread has started the client, it continues to run after a timeout of this call.
            ClientClosed: the client is closed, or failed.
            WouldDeadlock: called on the I/O thread, or by a function that interrupted this thread inside the client.
                The client is not changed.
            ForkedClient: the client belongs to the parent process. It is not changed.
        """
        self._wsclient.lifecycle.start(None if timeout is None else check_seconds("timeout", timeout, zero=True))
        return self

    def run_forever(self) -> None:
        """Start, and block until the client is closed. A KeyboardInterrupt closes it, and then propagates.

        Raises:
            ConnectError: as in ``start()``.
            ClientClosed: the client failed; the reason is the cause.
        """
        with self:
            self.wait_closed()
        context = self._wsclient.context
        if context.state.current is State.FAILED:
            raise ClientClosed(f"The client failed: {context.state.error}") from context.state.error

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.close()

    def reconnect(self, reason: str = "") -> None:
        """Drop this connection (close code 1000), call ``url`` and ``headers`` again, and connect at once.

        Returns at once. Requests in flight fail as on any loss of the connection.

        Args:
            reason: sent to the server, at most 123 bytes.

        Raises:
            ClientClosed: the client is not running.
        """
        operations.reconnect(self._wsclient.context, reason)

    def renew(self, reason: str = "", *, wait: bool = False, timeout: float = 30) -> bool:
        """Replace the connection by a new one without a gap.

        The new connection is opened, set up by ``on_session``, and the subscriptions are requested on it, while the
        present one is still used. Then it takes over. The option ``renew=`` does this at certain times.

        The present connection is closed when its requests are answered, at the latest after ``Renew.overlap`` seconds.
        Until the new connection has taken over, a further call begins no other renewal. If a call is made later, while
        the replaced connection is still served, the next renewal begins when that connection has ended. An attempt that
        fails is repeated; a fatal error ends the renewal, and the present connection stays. While there is no
        connection, the next one counts as the new one.

        Args:
            reason: passed to ``on_renew``, and sent to the server when the present connection is closed; at most 123
                bytes.
            wait: whether to wait until the new connection has taken over. False returns at once.
            timeout: seconds to wait.

        Returns:
            With ``wait=True``, whether the new connection has taken over; without, False.

        Raises:
            ClientClosed: the client is not running, or was closed during the wait.
            ValueError: the reason can't be sent, or no second connection can be opened, since ``reconnect`` is None or
                ``sock`` is a socket.
            WouldDeadlock: ``wait=True`` on the I/O thread.
        """
        return operations.renew(self._wsclient.context, reason, timeout, wait=wait)

    def drain(self, timeout: float = 30, *, wait: bool = True) -> bool:
        """Refuse new work, finish what is queued and in flight, and close.

        Args:
            timeout: seconds after which unfinished work is abandoned.
            wait: False returns at once.

        Returns:
            True if everything was finished. With ``wait=False``: whether everything is already finished when the call
            returns.

        Raises:
            ClientClosed: the client failed.
            WouldDeadlock: ``wait=True`` on the I/O thread.
        """
        return self._wsclient.lifecycle.drain(timeout, wait=wait)

    def close(self, code: int = 1000, reason: str = "", timeout: float = _CLOSE_TIMEOUT, *, wait: bool = True) -> None:
        """Close the client permanently. In any state, any number of times.

        Queued messages are still written, as far as the timeout and the connection permit. Requests fail with
        ``ClientClosed`` at once.

        Args:
            code: close code for the server: 1000-1003, 1007-1011 or 3000-4999 (RFC 6455 §7.4).
            reason: text for the server, at most 123 bytes.
            timeout: seconds for the server to answer; the call returns within one second more, whatever the server, the
                network or a hook does.
            wait: False only gives the command to close; it takes no lock, so it is permitted in a signal handler and in
                functions on the I/O thread such as ``match`` and ``until``.

        Raises:
            ValueError: the code or the reason can't be sent.
            WouldDeadlock: ``wait=True`` on the I/O thread.
        """
        self._wsclient.lifecycle.close(code, reason, timeout, wait=wait)

    def wait_until(self, state: State, timeout: float | None = None) -> bool:
        """Wait until the client is in a state.

        Args:
            state: the state to wait for; a state that the client leaves at once may be missed.
            timeout: seconds; None waits as long as the state is still possible.

        Returns:
            True if the client is in that state; False if the timeout passed, or the state is no longer possible.

        Raises:
            ClientClosed: ``state`` is ``State.OPEN`` and the client failed.
            WouldDeadlock: called on the I/O thread.
        """
        return operations.wait_until(self._wsclient.context, state, timeout)

    def wait_closed(self, timeout: float | None = None) -> bool:
        """Wait until the client is closed or failed; False if the timeout passed first.

        Raises:
            WouldDeadlock: called on the I/O thread.
        """
        self._wsclient.context.guard.check_may_wait("wait_closed()", "Look at .state instead.")
        return self._wsclient.lifecycle.join(Deadline.after(timeout, time.monotonic()))

    # --- requests -----------------------------------------------------------------------------------------------------

    def request(
        self,
        message: Any,
        *,
        timeout: float | None = DEFAULT,
        match: Callable[[Any], bool] | None = None,
        until: Callable[[Any], bool] | None = None,
        idempotent: bool = False,
    ) -> Any:
        """Send a message and wait for the reply to it.

        Args:
            message: the request. It is encoded before the call waits; the object itself is not changed. If the protocol
                has batches (``JsonRpc``), a list of messages is sent as one message.
            timeout: seconds until the reply, including the time in the queue; the default is ``request_timeout``, None
                has no limit.
            match: the reply is the first message it accepts, instead of the one with the same id. Runs on the I/O
                thread: keep it short.
            until: replies that it rejects are skipped, such as an acknowledgement before the answer. Runs on the I/O
                thread: keep it short.
            idempotent: after a loss of the connection, send the request again instead of failing.

        Returns:
            The decoded reply; for a batch, the list of replies, in its order.

        Raises:
            RequestTimeout: no reply in time; ``.phase`` shows whether the message was sent.
            ConnectionLost: the connection was lost after the message was sent.
            RemoteError: the server answered with an error.
            SendQueueFull, MessageTooBig: it could not be queued.
            ClientClosed: the client is not running, or was closed during the call.
            WouldDeadlock: called on the I/O thread.
            TypeError, ValueError: the message can't be encoded, or its id is in flight.

        For a batch, the first error is raised when all its requests have ended. The attribute ``.results`` of the error
        contains the outcome of each request.
        """
        context = self._wsclient.context
        guard = context.guard
        if guard.forked or guard.io_ident == get_ident() or this_thread.inside():
            guard.check_may_wait("request()", operations.INSTEAD)
        if context.state.current is not _OPEN:
            guard.check_started("request()")
        number = None if context.hooks.connection_number is None else context.hooks.connection_of_caller()
        request = context.requests.prepare(message, timeout, match, until, idempotent, number)
        waiter = Waiter()
        try:
            context.requests.begin(request, waiter)
            if context.facts.paused:
                context.commands.wake()  # the reply must be read even if receive queues are full
            if not waiter.wait(request.deadline):
                operations.give_up(context, request, waiter)
        except BaseException:
            context.requests.withdraw(request, interrupted=True)
            raise
        try:
            if waiter.error is not None:
                raise waiter.error
            return waiter.value
        finally:
            del request, waiter  # otherwise the error, its traceback, this frame and the waiter form a cycle

    def submit(
        self,
        message: Any,
        *,
        timeout: float | None = DEFAULT,
        match: Callable[[Any], bool] | None = None,
        until: Callable[[Any], bool] | None = None,
        idempotent: bool = False,
    ) -> Future[Any]:
        """Send a message and return a future of the reply; before ``start()`` the message is queued.

        Returns:
            A future of the reply. It works with ``concurrent.futures.wait``; ``cancel()`` withdraws the request; its
            done-callbacks run on the hook thread. ``result()`` and ``exception()`` end at the request's ``timeout``
            even before ``start()`` and while the I/O thread is busy in a function of yours. If no thread waits in one
            of these calls, the future may end later than its timeout: if the client is not started, or if ``match``,
            ``until`` or the protocol does not return.

        Raises:
            As ``request``, for errors that are known at once; the future raises the others.
        """
        return operations.submit(self._wsclient.context, message, timeout, match, until, idempotent)

    def request_many(
        self,
        messages: Iterable[Any],
        *,
        timeout: float | None = DEFAULT,
        return_exceptions: bool = False,
        idempotent: bool = False,
    ) -> list[Any]:
        """Send many messages without waiting in between, then wait for all replies.

        Args:
            messages: as for ``request``.
            timeout: seconds for all of them together.
            return_exceptions: return errors in the list, instead of raising the first error and withdrawing the other
                requests.
            idempotent: as for ``request``.

        Returns:
            The replies, in the order of the messages.

        Raises:
            Exception: the errors of ``request``.
        """
        return operations.request_many(self._wsclient.context, messages, timeout, return_exceptions, idempotent)

    def call(
        self, method: str, params: Any = None, *, timeout: float | None = DEFAULT, idempotent: bool = False
    ) -> Any:
        """Call a method of the server and wait for its result, if the protocol has methods (``JsonRpc``).

        Args:
            method: its name.
            params: a list or a dict; None for none.
            timeout, idempotent: as for ``request``.

        Returns:
            The result.

        Raises:
            RemoteError: the server answered with an error.
            TypeError: the protocol has no methods.
            Exception: the other errors of ``request``.
        """
        message = operations.call_message(self._wsclient.context, method, params, notify=False)
        # Not `self.request`: a subclass may override it, for messages of another form.
        return Client.request(self, message, timeout=timeout, idempotent=idempotent)

    def notify(self, method: str, params: Any = None) -> Delivery:
        """Send a notification, a method call without an answer. Waits no longer than ``send`` does.

        Raises:
            TypeError: the protocol has no methods.
            Exception: the other errors of ``send``.
        """
        context = self._wsclient.context
        return operations.send(context, operations.call_message(context, method, params, notify=True), None, None)

    # --- sending and receiving ----------------------------------------------------------------------------------------

    def send(self, message: Any, *, timeout: float | None = None, expires: float | None = None) -> Delivery:
        """Send or queue a message, without waiting for the network; messages of one thread keep their order.

        The call waits only if the queue is full and its policy is ``"block"`` (see ``timeout``). The message may be
        written shortly after the call has returned. If another thread is writing at this moment, that thread writes it.
        The I/O thread writes it if many messages are sent at once, or if the socket accepts no more bytes. A message of
        the main thread is also written by the I/O thread in these cases: other messages are queued, the connection has
        TLS, compression or a recording, the message has ``expires``, or replies are correlated by order (``Fifo``).
        Without a connection the message waits for the next one; it also waits while ``SendQueue(rate=)`` or
        ``pause_sending()`` allows no message. Messages that ``on_open``, ``on_reconnect`` and ``on_renew`` send are
        sent only on their connection.

        Args:
            message: ``str`` is sent as text; ``bytes``, ``bytearray``, ``memoryview`` and ``array.array`` as binary;
                everything else as JSON text.
            timeout: seconds to wait for room in the queue; None has no limit.
            expires: seconds after which it is not sent any more.

        Returns:
            A ``Delivery``, which reports the state of the message.

        Raises:
            SendQueueFull, MessageTooBig: it could not be queued.
            ClientClosed: the client is closed, failed or draining.
            TypeError, ValueError: the message can't be encoded, or a request with its id is in flight.
        """
        return operations.send(self._wsclient.context, message, timeout, expires)

    def flush(self, timeout: float = 10) -> None:
        """Wait until the messages that are queued now are written and, if pings are on, proven to have arrived.

        The proof is a pong of the peer's WebSocket layer; the peer's program may not have read the messages yet.

        Raises:
            ConnectionLost: the connection ended during the wait. A renewal alone does not raise this error: the call
                then waits for both connections, and raises it only if one of them ends without its proof.
            FlushTimeout: ``timeout`` seconds have passed. It is a ``RequestTimeout``.
            ClientClosed: the client is not running.
            WouldDeadlock: called on the I/O thread.
        """
        self._wsclient.context.guard.check_may_wait(
            "flush()", "Look at the state of the delivery that send() returned."
        )
        self._wsclient.context.acknowledgements.flush(check_seconds("timeout", timeout, zero=True))

    def ping(self, timeout: float = 10) -> float:
        """Send a ping before everything that is queued, and wait for its pong; also if ``ping_interval`` is None.

        Any thread except the I/O thread may call it, any number of threads at once. While the client reconnects, the
        call waits for the next connection. The round trip also updates ``latency`` and the statistics, and the pong
        proves earlier deliveries.

        Args:
            timeout: seconds for a connection, the queue and the pong together.

        Returns:
            The round trip in seconds, without the time in the queue.

        Raises:
            ConnectionLost: the connection ended during the wait, also because of ``close()``.
            RequestTimeout: no pong came in time; ``.phase`` shows whether the ping was written (``"waiting"``).
            ClientClosed: the client is not running, or was closed before it had a connection.
            WouldDeadlock: called on the I/O thread.
        """
        self._wsclient.context.guard.check_may_wait("ping()", "Look at .latency instead.")
        return self._wsclient.context.acknowledgements.ping(check_seconds("timeout", timeout, zero=True))

    def pause_sending(self, seconds: float) -> None:
        """Hold back all messages of the queue, for example because the server has asked for a pause.

        If it is called several times, the pause that ends last applies. The pause also applies to later connections,
        and to the requests with which subscriptions are made again there. These are still sent: ping, pong and close
        frames, the messages of ``on_session``, and the messages that the message protocol itself sends (heartbeats,
        its answers to the server), since the server may end a connection on which they are missing. ``close()`` and
        ``drain()`` end the pause, and the queued messages are sent. The time-outs of requests continue meanwhile.

        Returns at once. Any thread may call it, also a signal handler or a finalizer; a message that another thread is
        writing at this moment may still be sent.

        Args:
            seconds: the length of the pause, from now on; 0 ends the pause.

        Raises:
            TypeError, ValueError: the length is not a valid number of seconds.
            ClientClosed: the client is closed or failed.
        """
        operations.pause_sending(self._wsclient.context, seconds)

    def clear_queue(self) -> int:
        """Remove all messages from the send queue; they are not sent.

        Deliveries become ``cancelled``. Requests fail with a ``WebSocketClientError``. Two kinds of messages stay in
        the queue: answers of handlers to the server's calls, and a message that a connection has begun to write. Any
        thread may call it, also inside ``on_session``, and also while the client is draining.

        Returns:
            How many messages were removed; a batch is one message.

        Raises:
            ClientClosed: the client is closed or failed, or is being closed.
            WouldDeadlock: called by a function that interrupted its own thread inside the client, such as a finalizer.
        """
        return operations.clear_queue(self._wsclient.context)

    def listen(
        self,
        match: Callable[[Any], bool] | None = None,
        *,
        maxsize: int | None = None,
        overflow: Overflow = "block",
        key: Callable[[Any], Any] | None = None,
    ) -> Stream:
        """Return a stream of the messages that answer no request, from now on; also before ``start()``.

        Args:
            match: selects messages; None for all. Runs on the I/O thread: keep it short.
            maxsize: messages that may wait to be read; the default is that of ``receive_queue``.
            overflow: the policy beyond that. ``"block"`` pauses reading, but not while a reply or a pong is awaited;
                ``"raise"`` ends the stream with ``SlowConsumer``; ``"drop_oldest"`` and ``"drop_newest"`` drop a
                message; ``"latest"`` keeps the newest.
            key: with ``"latest"``, keep the newest of each key. Runs on the I/O thread.

        Returns:
            A stream: iterate over it, or ``get(timeout)``; close it, or use it in a ``with`` block.
        """
        return stream_operations.listen(self._wsclient.context, match, maxsize, overflow, key)

    def stream(
        self,
        message: Any,
        *,
        until: Callable[[Any], bool] | None = None,
        timeout: float | None = DEFAULT,
        maxsize: int | None = None,
        overflow: Overflow = "block",
    ) -> Stream:
        """Send one request, and return a stream of all its replies.

        The stream ends after the last reply: the one that the protocol marks as the last, or the first one that
        ``until`` accepts. Its iteration raises the server's error, ``ConnectionLost`` if the connection is lost before
        the last reply, or ``RequestTimeout``. If you close the stream earlier, the server is notified, if the protocol
        has a message for that.

        Args:
            message: the request.
            until: accepts the last reply, which is also returned. Runs on the I/O thread: keep it short.
            timeout: seconds until the first reply; the default is ``request_timeout``, None has no limit.
            maxsize, overflow: as for ``listen``.

        Returns:
            The stream, at once.

        Raises:
            As ``submit``, for errors that are known at once.
        """
        return stream_operations.stream(self._wsclient.context, message, until, timeout, maxsize, overflow)

    def subscribe(
        self,
        message: Any | Callable[[], Any],
        *,
        match: Callable[[Any], bool] | None = None,
        unsubscribe: Any | Callable[..., Any] | None = None,
        resume: bool = DEFAULT,
        key: Callable[[Any], Any] | None = None,
        on_gap: Callable[[Subscription], object] | None = None,
        timeout: float | None = DEFAULT,
        maxsize: int | None = None,
        overflow: Overflow = "block",
        quiet_after: float | None = None,
        identity: Callable[[Any], Any] | None = None,
    ) -> Subscription:
        """Subscribe, and return a stream of the messages.

        After a reconnect the client subscribes again, before it sends queued messages.

        The protocol recognises the subscription's messages by the request's id, or by a subscription key in the
        server's reply; if there is neither, ``match`` selects them. They reach neither ``listen()`` nor ``on_message``.

        Args:
            message: the message that subscribes, or a function that is called each time and returns it (after a
                reconnect, on the I/O thread).
            match: selects messages; then no reply is needed. If one comes, it is stored in ``.reply``; if it is an
                error, the subscription ends. Runs on the I/O thread: keep it short.
            unsubscribe: sent when the subscription is closed. It is a message, a ``wsclient.Request(message)`` if the
                message needs an id, or a function that returns one of these. The function is called as
                ``f(subscribe_message, reply)`` or ``f(subscribe_message, reply, id)``. ``id`` is the id of the
                subscribe message; a third parameter with a default value receives it only if its name is ``id``. The
                default is the message that the protocol defines.
            resume: whether to subscribe again after a loss; if not, the subscription ends with ``ConnectionLost``. True
                by default, except inside ``on_open``, ``on_reconnect`` and ``on_renew``, since one of these hooks runs
                on every connection.
            key: with ``overflow="latest"``, keep the newest of each key. Runs on the I/O thread.
            on_gap: called on the reader's thread when messages may be missing, for example because a connection was
                lost: just before the next message is returned.
            timeout: seconds for the reply; the default is ``request_timeout``, None has no limit.
            maxsize, overflow: as for ``listen``.
            quiet_after: seconds without a message of this subscription after which it is renewed on the same
                connection: it is unsubscribed and subscribed again, and ``on_gap`` is called. If then no message comes
                for ``quiet_after`` seconds after the new request is written, ``on_quiet`` is called and the connection
                is replaced. ``counts`` and ``active`` of the client's option ``quiet`` apply too, and the time in which
                reading is paused does not count. During ``pause_sending()`` no subscription is renewed. None for no
                limit.
            identity: returns a value that identifies a message, such as its sequence number. While a renewal has two
                connections, the same message may be received on both; of messages with equal identities, one is
                delivered. A message of the new connection is compared with those of the replaced one until 10 s after
                the end of the replaced one. Runs on the I/O thread: keep it short.

        Returns:
            The subscription: a stream with ``.reply`` and ``.gaps``.

        Raises:
            RemoteError: the server refused it.
            ValueError: its messages can't be recognised; or ``resume=True`` inside ``on_open``, ``on_reconnect`` or
                ``on_renew``.
            Exception: the other errors of ``request``.
        """
        return stream_operations.subscribe(
            self._wsclient.context,
            message,
            match,
            unsubscribe,
            resume,
            key,
            on_gap,
            timeout,
            maxsize,
            overflow,
            quiet_after,
            identity,
        )

    # --- events and calls of the server -------------------------------------------------------------------------------

    @overload
    def on(self, topic: str, fn: Callable[[Any], object], *, workers: int = 0) -> Registration: ...

    @overload
    def on(self, topic: str, *, workers: int = 0) -> Callable[[_Function], _Function]: ...

    def on(
        self, topic: str, fn: Callable[[Any], object] = DEFAULT, *, workers: int = 0
    ) -> Registration | Callable[[_Function], _Function]:
        """Register a function for the events of a topic, in addition to ``on_message`` and ``listen()``.

        Args:
            topic: the protocol's name for the kind of event; in ``JsonId`` and ``JsonRpc`` the method.
            fn: receives the event's message. Without it, ``on`` is a decorator, which returns the function unchanged.
            workers: the number of threads that call it, at the same time; 0 calls it on the hook thread, in order with
                the hooks. A worker can wait for a hook without a deadlock.

        Returns:
            A ``Registration``, whose ``remove()`` ends it; or the decorator.
        """
        self._wsclient.context.guard.check_fork("on()")
        handlers = self._wsclient.context.handlers
        if fn is DEFAULT:
            return partial(_decorated, handlers.on, topic, workers)
        return Registration(handlers.remove, topic, handlers.on(topic, fn, workers))

    @overload
    def handle(self, method: str, *, workers: int = 0) -> Callable[[_Function], _Function]: ...

    @overload
    def handle(self, method: str, fn: Callable[[Any], Any], *, workers: int = 0) -> Registration: ...

    def handle(
        self, method: str, fn: Callable[[Any], Any] = DEFAULT, *, workers: int = 0
    ) -> Registration | Callable[[_Function], _Function]:
        """Answer the server's calls of a method; without ``fn`` a decorator::

            @client.handle("window/showMessageRequest")
            def choose(params):
                return params["actions"][0]

        The return value is the result. An exception is sent as an error answer; a ``RemoteError`` is sent unchanged.
        The answer is sent only on the connection on which the call was received. A call that ``receive_queue=`` has no
        room for is dropped and gets no answer (nor does its batch); this is reported to ``on_error``.

        Args:
            method: its name.
            fn: receives the call's params. Without it, ``handle`` is a decorator, which returns the function unchanged.
            workers: the number of threads that answer, at the same time; 0 answers on the hook thread, in order with
                the hooks.

        Returns:
            A ``Registration``, whose ``remove()`` ends it; or the decorator.

        Raises:
            ValueError: the method already has a handler.
        """
        self._wsclient.context.guard.check_fork("handle()")
        handlers = self._wsclient.context.handlers
        if fn is DEFAULT:
            return partial(_decorated, handlers.handle, method, workers)
        return Registration(handlers.remove_method, method, handlers.handle(method, fn, workers))

    # --- state and statistics -----------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """The current state of the client."""
        context = self._wsclient.context
        return State.CLOSED if context.guard.forked else context.state.current

    @property
    def stats(self) -> Stats:
        """Counters, and a few present values; see ``Stats``."""
        return operations.stats(self._wsclient.context)

    @property
    def latency(self) -> float | None:
        """Seconds from the last answered ping to its pong; None before the first pong."""
        return self._wsclient.context.counters.rtt_last

    @property
    def last_disconnect(self) -> Disconnect | None:
        """How the last connection ended; None before the first end. A renewal does not change it."""
        return self._wsclient.context.facts.last

    @property
    def last_error(self) -> BaseException | None:
        """Why the client is not connected: the error of the last attempt that failed, or the one that ended the client.

        None before the first attempt has failed, and again once a connection is open. ``last_disconnect`` describes how
        the last open connection ended.
        """
        context = self._wsclient.context
        failure = context.facts.failure
        return context.state.error or (None if failure is None else failure[0])

    @property
    def connection(self) -> ConnectionInfo | None:
        """Facts about the open connection (addresses, TLS, compression...); None while none is open."""
        context = self._wsclient.context
        return None if context.guard.forked else context.facts.connection

    @property
    def memo(self) -> dict[str, Any]:
        """Values of the program that live as long as the client, for ``on_session``: a resume id, a sequence number.

        ``session.memo`` is the same dict. It begins empty; the client itself neither reads nor changes it. Any thread
        may use it; the program coordinates its own threads. ``client.memo |= {...}`` changes it too; another dict can't
        be assigned.
        """
        return self._wsclient.context.memo

    @memo.setter
    def memo(self, memo: dict[str, Any]) -> None:
        self._wsclient.context.check_memo(memo)

    @property
    def protocol(self) -> Protocol:
        """The message protocol."""
        return self._wsclient.context.protocol

    # --- hooks, to override -------------------------------------------------------------------------------------------

    def on_open(self) -> None:
        """The first connection is open; messages from this hook are sent only on it."""

    def on_reconnect(self) -> None:
        """A later connection is open; by default the same as ``on_open``."""
        hook = self._wsclient.context.hooks.get("on_open")
        if hook is not None:
            hook()

    def on_renew(self, reason: str) -> None:
        """A renewal has replaced the connection (see ``Renew``); by default the same as ``on_reconnect``.

        Args:
            reason: that of ``renew()``; ``"every"``, ``"expiry"`` or ``"on"`` for the option of ``Renew`` that was the
                trigger; or ``"quiet"``, see the option of that name.
        """
        hooks = self._wsclient.context.hooks
        hook = hooks.get("on_reconnect") or hooks.get("on_open")
        if hook is not None:
            hook()

    def on_message(self, message: Any) -> None:
        """A message arrived that answers no request: decoded JSON, ``str`` or ``bytes``."""

    def on_close(self, code: int | None, reason: str | None) -> None:
        """A connection that was open has ended. It is called once for each connection, but not for one that a renewal
        has replaced.

        Args:
            code: the close code; None if no close frame came.
            reason: the text of the close frame; None if no close frame came.
        """

    def on_error(self, error: BaseException) -> None:
        """An error occurred outside any call.

        For example: a hook raised; the peer violated the protocol; a queue is full and messages are dropped
        (``SlowConsumer``); a heartbeat could not be created; the client failed permanently.
        """

    def on_ping(self, data: bytes) -> None:
        """The peer sent a ping; the pong is queued and is sent before other messages."""

    def on_pong(self, data: bytes) -> None:
        """The peer sent a pong, perhaps without a ping."""

    def on_session(self, session: Session) -> None:
        """Set up a connection before other messages are sent on it, for example log in. Runs on the I/O thread."""

    def on_connect_error(self, attempt: Attempt) -> None:
        """An attempt to connect failed."""

    def on_quiet(self, seconds: float) -> None:
        """No message that counts has come for so many seconds (``quiet=``).

        The connection is replaced at the same time, unless ``Quiet.action`` is ``"report"``.
        """

    # --- names --------------------------------------------------------------------------------------------------------

    def _set_hook(self, name: str, function: Callable[..., object] | None) -> None:
        """Set the function of a hook; None restores the method of the class."""
        hooks = self._wsclient.context.hooks
        check_callable(name, function)
        if function is not None:
            object.__setattr__(self, name, function)
            hooks.set(name, partial(function, self))
            return
        self.__dict__.pop(name, None)
        hooks.set(name, getattr(self, name) if reserved_names.is_overridden(type(self), name, Client) else None)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        reserved_names.check_subclass(cls, Client)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in HOOKS:
            self._set_hook(name, value)
        else:
            if name != "memo":
                reserved_names.check_attribute(name)
            object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        if name == "_wsclient":
            raise RuntimeError(f"{type(self).__name__}.__init__() must call super().__init__(url, ...) first.")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"A {type(self).__name__} has threads and a connection, so it can be neither pickled nor copied; pickle "
            "functools.partial(wsclient.connect, url, ...) and call it where the client is needed."
        )

    def __repr__(self) -> str:
        context = self._wsclient.context
        return f"<{type(self).__name__} {context.settings.name!r} {self.state.value} {context.settings.shown_url}>"


Client.__init__.__signature__ = signature("self", returns="None")  # type: ignore[attr-defined]


def _decorated(
    register: Callable[[str, Callable[[Any], Any], int], object], name: str, workers: int, fn: _Function
) -> _Function:
    register(name, fn, workers)
    return fn
