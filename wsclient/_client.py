"""The public face. Each method says what it promises, and hands over."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from . import _calls
from ._clock import Deadline
from ._codec import JSON
from ._config import (
    DEFAULT,
    MAX_MESSAGE_SIZE,
    OPEN_TIMEOUT,
    PING_INTERVAL,
    PING_TIMEOUT,
    REQUEST_TIMEOUT,
    SESSION_TIMEOUT,
    Overflow,
    Queue,
    ReceiveQueue,
    SendQueue,
    check_callable,
    check_seconds,
    make_settings,
)
from ._core import Core
from ._delivery import Delivery, flush
from ._errors import ClientClosed
from ._events import Attempt, Disconnect, State, Stats
from ._lifecycle import Lifecycle
from ._names import Inside, Named
from ._retry import Reconnect, checked_reconnect
from ._streams import Stream
from .protocols import JsonId, Protocol

if TYPE_CHECKING:
    import ssl
    from concurrent.futures import Future

    from typing_extensions import Self

    from ._session import Session

__all__ = ["Client"]

_RECONNECT = Reconnect()
_SEND_QUEUE = SendQueue()
_RECEIVE_QUEUE = ReceiveQueue()
_CLOSE_TIMEOUT = 3.0
"""Seconds for the closing handshake; websocket-client has the same, websockets 10."""


class Client(Named):
    """A WebSocket client that keeps itself connected.

    A background thread opens the connection, keeps it alive and opens it anew when it is lost; any number of threads
    send and make requests. Hooks are methods to override, functions to pass, or attributes to assign::

        with wsclient.connect("ws://localhost:8000/ws") as client:
            total = client.request({"method": "add", "params": [1, 2]}, timeout=5)
            client.send("Hello, server!")

    Every method may be called from any thread, hooks included, unless it says otherwise.

    Args:
        url: where to connect: ``ws://`` or ``wss://``; a list of such URLs, tried in turn; or a function that is asked
            before every attempt. ``user:password@`` becomes Basic authentication.
        protocol: how a reply finds its request; ``JsonId("id")`` by default. One object serves one client.
        json: the JSON codec, an object with ``dumps`` and ``loads``; None leaves incoming text as it is.
        headers: sent with the upgrade; or a function that is asked before every attempt.
        subprotocols: offered in this order; the server must take one (RFC 6455 §1.9).
        origin: the ``Origin`` header; none is sent by default.
        open_timeout: seconds for TCP, proxy, TLS and upgrade together.
        session_timeout: seconds for ``on_session``.
        ping_interval: seconds between pings; None sends none.
        ping_timeout: seconds of silence after a ping that mean a dead peer; None never does.
        ssl_context: the TLS context; by default one that verifies, TLS 1.2 or newer.
        ssl_ca: a PEM file of the CAs to trust, instead of a context.
        proxy: the proxy's URL, ``"env"`` for the environment's, or None for none.
        source_address: local address to connect from, or ``(address, port)``.
        reconnect: how to connect again; None for never.
        retry_first: retry the first connection too, instead of raising in ``start()``.
        request_timeout: seconds a request may take if it says nothing else; None waits for ever.
        send_queue: bounds of what waits to be sent.
        receive_queue: bounds of what waits for hooks and streams.
        max_message_size: bytes of an incoming message; a larger one closes the connection with 1009.
        on_open, on_reconnect, on_message, on_close, on_error, on_ping, on_pong, on_session, on_connect_error: hooks as
            functions; they get the client as their first argument.
        name: shown in thread names and logs.

    Raises:
        TypeError: an option has the wrong type; the message names it.
        ValueError: an option has a value that can't work.
    """

    def __init__(
        self,
        url: str | Sequence[str] | Callable[[], str],
        *,
        protocol: Protocol | None = None,
        json: Any = JSON,
        headers: Mapping[str, str] | Callable[[], Mapping[str, str]] | None = None,
        subprotocols: Sequence[str] = (),
        origin: str | None = None,
        open_timeout: float = OPEN_TIMEOUT,
        session_timeout: float = SESSION_TIMEOUT,
        ping_interval: float | None = PING_INTERVAL,
        ping_timeout: float | None = PING_TIMEOUT,
        ssl_context: ssl.SSLContext | None = None,
        ssl_ca: str | None = None,
        proxy: str | None = "env",
        source_address: Any = None,
        reconnect: Reconnect | None = _RECONNECT,
        retry_first: bool = False,
        request_timeout: float | None = REQUEST_TIMEOUT,
        send_queue: Queue = _SEND_QUEUE,
        receive_queue: Queue = _RECEIVE_QUEUE,
        max_message_size: int = MAX_MESSAGE_SIZE,
        on_open: Callable[[Any], object] | None = None,
        on_reconnect: Callable[[Any], object] | None = None,
        on_message: Callable[[Any, Any], object] | None = None,
        on_close: Callable[[Any, int | None, str | None], object] | None = None,
        on_error: Callable[[Any, BaseException], object] | None = None,
        on_ping: Callable[[Any, bytes], object] | None = None,
        on_pong: Callable[[Any, bytes], object] | None = None,
        on_session: Callable[[Any, Session], object] | None = None,
        on_connect_error: Callable[[Any, Attempt], object] | None = None,
        name: str | None = None,
    ) -> None:
        settings = make_settings(
            url,
            json=json,
            headers=headers,
            subprotocols=subprotocols,
            origin=origin,
            open_timeout=open_timeout,
            session_timeout=session_timeout,
            ping_interval=ping_interval,
            ping_timeout=ping_timeout,
            ssl_context=ssl_context,
            ssl_ca=ssl_ca,
            proxy=proxy,
            source_address=source_address,
            retry_first=retry_first,
            request_timeout=request_timeout,
            send_queue=send_queue,
            receive_queue=receive_queue,
            max_message_size=max_message_size,
            name=name,
        )
        policy = checked_reconnect(reconnect, settings.retry_first)
        given = {
            "on_open": on_open,
            "on_reconnect": on_reconnect,
            "on_message": on_message,
            "on_close": on_close,
            "on_error": on_error,
            "on_ping": on_ping,
            "on_pong": on_pong,
            "on_session": on_session,
            "on_connect_error": on_connect_error,
        }
        for hook, function in given.items():
            check_callable(hook, function)
        core = Core(settings, _claimed(protocol, settings.codec))
        self._begin(Inside(core, Lifecycle(core, policy)), given)

    # --- life --------------------------------------------------------------------------------------------------------

    def start(self, timeout: float | None = None) -> Self:
        """Start the background thread and wait until the client is open; on a running client, only wait.

        Args:
            timeout: seconds to wait; None for as long as the attempt takes.

        Returns:
            The client itself.

        Raises:
            ConnectError: the first attempt failed (with a list of URLs: each of them), or the time was over. The client
                is closed then. With ``retry_first=True`` only a fatal error ends the attempts.
            ClientClosed: the client is closed, or failed.
            WouldDeadlock: called on the I/O thread.
        """
        self._wsclient.lifecycle.start(None if timeout is None else check_seconds("timeout", timeout, zero=True))
        return self

    def run_forever(self) -> None:
        """Start, and block until the client is closed. Ctrl-C closes it, and is raised on.

        Raises:
            ConnectError: as in ``start()``.
            ClientClosed: the client failed; the reason is the cause.
        """
        with self:
            self.wait_closed()
        core = self._wsclient.core
        if core.state.current is State.FAILED:
            raise ClientClosed(f"The client failed: {core.state.error}") from core.state.error

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.close()

    def reconnect(self, reason: str = "") -> None:
        """Drop this connection (close code 1000), ask ``url`` and ``headers`` anew, and connect at once.

        Returns at once. Requests in flight fail as on any loss of the connection.

        Args:
            reason: told to the server, at most 123 bytes.

        Raises:
            ClientClosed: the client is not running.
        """
        _calls.reconnect(self._wsclient.core, reason)

    def drain(self, timeout: float = 30, *, wait: bool = True) -> bool:
        """Refuse new work, finish what is queued and in flight, and close.

        Args:
            timeout: seconds after which the rest is given up.
            wait: False returns at once.

        Returns:
            True if everything was finished (without waiting: so far).
        """
        return self._wsclient.lifecycle.drain(timeout, wait=wait)

    def close(self, code: int = 1000, reason: str = "", timeout: float = _CLOSE_TIMEOUT, *, wait: bool = True) -> None:
        """Close for good. Any state, any number of times.

        What is queued is still written, as far as the time allows and the line is up. Requests fail with
        ``ClientClosed`` at once.

        Args:
            code: close code for the server: 1000-1003, 1007-1011 or 3000-4999 (RFC 6455 §7.4).
            reason: text for the server, at most 123 bytes.
            timeout: seconds for the server to answer; the call returns within one second more, whatever the server, the
                network or a hook does.
            wait: False only gives the order; it takes no lock, so it is legal in a signal handler and in ``match``,
                ``until`` and their like.

        Raises:
            ValueError: the code or the reason can't be sent.
            WouldDeadlock: ``wait=True`` on the I/O thread.
        """
        self._wsclient.lifecycle.close(code, reason, timeout, wait=wait)

    def wait_until(self, state: State, timeout: float | None = None) -> bool:
        """Wait until the client is in a state.

        Args:
            state: which; a state it leaves at once may be missed.
            timeout: seconds; None waits as long as the state can still come.

        Returns:
            True if it is in that state; False if the time was over, or it can't come any more.

        Raises:
            ClientClosed: it waits for ``State.OPEN`` and the client failed.
        """
        return _calls.wait_until(self._wsclient.core, state, timeout)

    def wait_closed(self, timeout: float | None = None) -> bool:
        """Wait until the client is closed or failed; False if the time was over first."""
        self._wsclient.core.guard.check_may_wait("wait_closed()", "Look at .state instead.")
        return self._wsclient.lifecycle.join(Deadline.after(timeout, time.monotonic()))

    # --- requests ----------------------------------------------------------------------------------------------------

    def request(
        self,
        message: Any,
        *,
        timeout: float | None = DEFAULT,
        match: Callable[[Any], bool] | None = None,
        until: Callable[[Any], bool] | None = None,
        idempotent: bool = False,
    ) -> Any:
        """Send a message and wait for the reply to this very message.

        Args:
            message: what to ask; encoded before anything else happens, never changed nor kept.
            timeout: seconds for queue, wire and reply together; the default is ``request_timeout``, None waits for
                ever.
            match: the reply is the first message it accepts, instead of the one with the same id. Runs on the I/O
                thread: keep it short.
            until: replies it refuses are passed over, such as an acknowledgement before the answer. I/O thread.
            idempotent: after a loss of the connection, send it again instead of failing.

        Returns:
            The decoded reply.

        Raises:
            RequestTimeout: no reply in time; ``.phase`` tells whether the message went out.
            ConnectionLost: the connection was lost after the message went out.
            RemoteError: the server answered with an error.
            SendQueueFull, MessageTooBig: it could not be queued.
            ClientClosed: the client is not running, or was closed meanwhile.
            WouldDeadlock: called on the I/O thread.
            TypeError, ValueError: the message can't be encoded, or its id is in flight.
        """
        return _calls.request(
            self._wsclient.core, message, timeout, match=match, until=until, idempotent=idempotent
        )  # fmt: skip

    def submit(
        self,
        message: Any,
        *,
        timeout: float | None = DEFAULT,
        match: Callable[[Any], bool] | None = None,
        until: Callable[[Any], bool] | None = None,
        idempotent: bool = False,
    ) -> Future[Any]:
        """The same without waiting; before ``start()`` it queues.

        Returns:
            A future of the reply. It works with ``concurrent.futures.wait``; ``cancel()`` withdraws the request; its
            done-callbacks run on the hook thread.

        Raises:
            As ``request``, for what is known at once; the rest comes out of the future.
        """
        return _calls.submit(self._wsclient.core, message, timeout, match=match, until=until, idempotent=idempotent)

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
            return_exceptions: give errors in place of replies, instead of raising the first; else the other requests
                are withdrawn.
            idempotent: as for ``request``.

        Returns:
            The replies, in the order of the messages.
        """
        return _calls.request_many(self._wsclient.core, messages, timeout, return_exceptions, idempotent)

    # --- sending and receiving ---------------------------------------------------------------------------------------

    def send(self, message: Any, *, timeout: float | None = None, expires: float | None = None) -> Delivery:
        """Queue a message and return at once; messages of one thread keep their order.

        Without a connection it waits for the next one. What ``on_open`` and ``on_reconnect`` send belongs to their
        connection alone.

        Args:
            message: ``str`` goes as text, ``bytes``-likes as binary, everything else through JSON as text.
            timeout: seconds to wait for room in the queue; None for as long as it takes.
            expires: seconds after which it is not sent any more.

        Returns:
            A ``Delivery`` that tells what became of it.

        Raises:
            SendQueueFull, MessageTooBig: it could not be queued.
            ClientClosed: the client is closed, failed or draining.
            TypeError, ValueError: the message can't be encoded.
        """
        return _calls.send(self._wsclient.core, message, timeout, expires)

    def flush(self, timeout: float = 10) -> None:
        """Wait until all that was queued before is written and, where pings are on, has provably arrived.

        The proof is a pong of the peer's WebSocket layer; its program may not have looked at the messages yet.

        Raises:
            ConnectionLost: the connection ended meanwhile.
            RequestTimeout: not within ``timeout`` seconds.
            ClientClosed: the client is not running.
        """
        self._wsclient.core.guard.check_may_wait("flush()", "Look at the state of the delivery that send() returned.")
        flush(self._wsclient.core, check_seconds("timeout", timeout, zero=True))

    def listen(
        self,
        match: Callable[[Any], bool] | None = None,
        *,
        maxsize: int | None = None,
        overflow: Overflow = "block",
        key: Callable[[Any], Any] | None = None,
    ) -> Stream:
        """Messages that nobody awaited, from now on; also before ``start()``.

        Args:
            match: which of them; None for all. Runs on the I/O thread: keep it short.
            maxsize: messages that may wait to be read; the default is that of ``receive_queue``.
            overflow: what happens beyond that. ``"block"`` pauses reading, unless a request waits; ``"raise"`` ends the
                stream with ``SlowConsumer``; ``"drop_oldest"`` and ``"drop_newest"`` drop; ``"latest"`` keeps the
                newest.
            key: with ``"latest"``, keep the newest of each key. Runs on the I/O thread.

        Returns:
            A stream: iterate over it, or ``get(timeout)``; close it, or use it in a ``with`` block.
        """
        return _calls.listen(self._wsclient.core, match, maxsize, overflow, key)

    # --- looking -----------------------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """Where the client stands now."""
        core = self._wsclient.core
        return State.CLOSED if core.guard.forked else core.state.current

    @property
    def stats(self) -> Stats:
        """Counters and a few present facts, as of now."""
        return _calls.stats(self._wsclient.core)

    @property
    def latency(self) -> float | None:
        """Seconds from the last matched ping to its pong; None before the first."""
        return self._wsclient.core.counters.rtt_last

    @property
    def last_disconnect(self) -> Disconnect | None:
        """How the last connection ended; None before the first end."""
        return self._wsclient.core.link.last

    @property
    def protocol(self) -> Protocol:
        """The message protocol."""
        return self._wsclient.core.protocol

    def __repr__(self) -> str:
        core = self._wsclient.core
        return f"<{type(self).__name__} {core.settings.name!r} {self.state.value} {core.settings.shown_url}>"


def _claimed(protocol: Protocol | None, codec: Any) -> Protocol:
    """The protocol, which from now on belongs to one client."""
    if protocol is None:
        protocol = JsonId()
    if not isinstance(protocol, Protocol):
        raise TypeError(f"protocol must be a wsclient.Protocol such as JsonId(), not {protocol!r}.")
    if "json" in vars(protocol):
        raise ValueError("protocol serves another client already; make one for each client.")
    protocol.json = codec
    return protocol
