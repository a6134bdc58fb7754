"""The public face: requests, messages, streams and handlers. Each method says what it promises, and hands over."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from .._options import DEFAULT, Overflow
from .._receiving.streams import Stream
from .._receiving.subscription import Subscription
from .._sending.delivery import Delivery, flush
from .._validation import check_seconds
from . import operations, stream_operations
from .construction import Constructed

if TYPE_CHECKING:
    from concurrent.futures import Future

    from .._receiving.handlers import Handlers

__all__ = ["Messaging"]

_Function = TypeVar("_Function", bound=Callable[[Any], Any])


class Messaging(Constructed):
    """What a client says and hears."""

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
            message: what to ask; encoded before anything else happens, never changed nor kept. Where the protocol knows
                batches (``JsonRpc``), a list of messages goes out as one.
            timeout: seconds for queue, wire and reply together; the default is ``request_timeout``, None waits for
                ever.
            match: the reply is the first message it accepts, instead of the one with the same id. Runs on the I/O
                thread: keep it short.
            until: replies it refuses are passed over, such as an acknowledgement before the answer. I/O thread.
            idempotent: after a loss of the connection, send it again instead of failing.

        Returns:
            The decoded reply; of a batch, the list of them, in its order.

        Raises:
            RequestTimeout: no reply in time; ``.phase`` tells whether the message went out.
            ConnectionLost: the connection was lost after the message went out.
            RemoteError: the server answered with an error.
            SendQueueFull, MessageTooBig: it could not be queued.
            ClientClosed: the client is not running, or was closed meanwhile.
            WouldDeadlock: called on the I/O thread.
            TypeError, ValueError: the message can't be encoded, or its id is in flight.

        Of a batch, the first error is raised once all its requests have ended; ``.results`` has the outcome of each.
        """
        return operations.request(self._wsclient.core, message, timeout, match, until, idempotent)

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
        return operations.submit(self._wsclient.core, message, timeout, match, until, idempotent)

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
        return operations.request_many(self._wsclient.core, messages, timeout, return_exceptions, idempotent)

    def call(
        self, method: str, params: Any = None, *, timeout: float | None = DEFAULT, idempotent: bool = False
    ) -> Any:
        """Call a method of the server's and wait for its result, where the protocol has methods (``JsonRpc``).

        Args:
            method: its name.
            params: a list or a dict; None for none.
            timeout, idempotent: as for ``request``.

        Returns:
            The result.

        Raises:
            RemoteError: the server answered with an error.
            TypeError: the protocol has no methods.
            As ``request``, for the rest.
        """
        core = self._wsclient.core
        message = operations.call_message(core, method, params, notify=False)
        return operations.request(core, message, timeout, idempotent=idempotent)

    def notify(self, method: str, params: Any = None) -> Delivery:
        """Tell the server something under a method's name; no answer is expected. Returns at once, as ``send`` does.

        Raises:
            TypeError: the protocol has no methods.
            As ``send``, for the rest.
        """
        core = self._wsclient.core
        return operations.send(core, operations.call_message(core, method, params, notify=True), None, None)

    # --- sending and receiving ---------------------------------------------------------------------------------------

    def send(self, message: Any, *, timeout: float | None = None, expires: float | None = None) -> Delivery:
        """Queue a message and return at once; messages of one thread keep their order.

        It may be written a moment later, by the background thread: where many come at once, and from the main thread
        over TLS or compressed. Without a connection it waits for the next one. What ``on_open`` and ``on_reconnect``
        send belongs to their connection alone.

        Args:
            message: ``str`` goes as text, ``bytes``-likes as binary, everything else through JSON as text.
            timeout: seconds to wait for room in the queue; None for as long as it takes.
            expires: seconds after which it is not sent any more.

        Returns:
            A ``Delivery`` that tells what became of it.

        Raises:
            SendQueueFull, MessageTooBig: it could not be queued.
            ClientClosed: the client is closed, failed or draining.
            TypeError, ValueError: the message can't be encoded, or a request waits under its id.
        """
        return operations.send(self._wsclient.core, message, timeout, expires)

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
        return stream_operations.listen(self._wsclient.core, match, maxsize, overflow, key)

    def stream(
        self,
        message: Any,
        *,
        until: Callable[[Any], bool] | None = None,
        timeout: float | None = DEFAULT,
        maxsize: int | None = None,
        overflow: Overflow = "block",
    ) -> Stream:
        """Ask once, and get all answers.

        The stream ends with what the protocol calls the last answer, or with the first one that ``until`` accepts; it
        raises the server's error, ``ConnectionLost`` if the connection is lost meanwhile, or ``RequestTimeout``.
        Closing it earlier tells the server, where the protocol has a way to.

        Args:
            message: what to ask.
            until: accepts the last answer, which is handed out too. Runs on the I/O thread: keep it short.
            timeout: seconds until the first answer; the default is ``request_timeout``, None waits for ever.
            maxsize, overflow: as for ``listen``.

        Returns:
            The stream, at once.

        Raises:
            As ``submit``, for what is known at once.
        """
        return stream_operations.stream(self._wsclient.core, message, until, timeout, maxsize, overflow)

    def subscribe(
        self,
        message: Any | Callable[[], Any],
        *,
        match: Callable[[Any], bool] | None = None,
        unsubscribe: Any | Callable[[Any, Any], Any] | None = None,
        resume: bool = DEFAULT,
        key: Callable[[Any], Any] | None = None,
        on_gap: Callable[[Subscription], object] | None = None,
        timeout: float | None = DEFAULT,
        maxsize: int | None = None,
        overflow: Overflow = "block",
    ) -> Subscription:
        """Subscribe, and get what follows; after a reconnect it is subscribed anew, before the old queue goes out.

        What belongs to it is what the protocol knows by the request's id, or by a name in the server's reply; or, where
        there is neither, what ``match`` claims. It reaches neither ``listen()`` nor ``on_message``.

        Args:
            message: what subscribes, or a function that is asked for it at each time (later ones on the I/O thread).
            match: claims messages; no reply is awaited then, though one is kept and an error ends the subscription.
                Runs on the I/O thread: keep it short.
            unsubscribe: what is sent when it is closed: a message, a ``wsclient.Request`` around one that wants an id,
                or a function of the subscribe message and the reply that makes either. The protocol's own by default.
            resume: whether to subscribe anew after a loss; else the subscription ends with ``ConnectionLost``. True by
                default, but inside ``on_open`` and ``on_reconnect``, which run on every connection themselves.
            key: with ``overflow="latest"``, keep the newest of each key. Runs on the I/O thread.
            on_gap: called, on the reader's thread, before the first message after a lost connection is handed out.
            timeout: seconds for the reply; the default is ``request_timeout``, None waits for ever.
            maxsize, overflow: as for ``listen``.

        Returns:
            The subscription: a stream with ``.reply`` and ``.gaps``.

        Raises:
            RemoteError: the server refused it.
            ValueError: nothing tells what belongs to it; or ``resume=True`` inside ``on_open``.
            As ``request``, for the rest.
        """
        return stream_operations.subscribe(
            self._wsclient.core, message, match, unsubscribe, resume, key, on_gap, timeout, maxsize, overflow
        )

    # --- what the server asks and tells ------------------------------------------------------------------------------

    def on(self, topic: str, fn: Callable[[Any], object], *, workers: int = 0) -> Callable[[], None]:
        """Have a function called with each event of a topic, beside ``on_message`` and ``listen()``.

        Args:
            topic: what the protocol knows events by; in ``JsonId`` and ``JsonRpc`` their method.
            fn: gets the event's message.
            workers: threads that call it, any number at once; 0 calls it on the hook thread, in order with the hooks.
                Workers may wait for what a hook must do.

        Returns:
            What takes it away again.
        """
        handlers = self._wsclient.core.handlers
        self._wsclient.core.guard.check_fork("on()")
        return partial(handlers.remove, topic, handlers.listen(topic, fn, workers))

    def handle(self, method: str, *, workers: int = 0) -> Callable[[_Function], _Function]:
        """Answer the server's calls of a method; a decorator::

            @client.handle("window/showMessageRequest")
            def choose(params):
                return params["actions"][0]

        What the function returns is the result; what it raises becomes an error, a ``RemoteError`` as it is. The answer
        goes to the connection that asked, and to no other.

        Args:
            method: its name.
            workers: threads that answer, any number at once; 0 answers on the hook thread, in order with the hooks.

        Raises:
            ValueError: the method has a handler.
        """
        self._wsclient.core.guard.check_fork("handle()")
        return partial(_registered, self._wsclient.core.handlers, method, workers)


def _registered(handlers: Handlers, method: str, workers: int, fn: _Function) -> _Function:
    handlers.handle(method, fn, workers)
    return fn
