"""``stream()``: all replies to one request, and the base class that it shares with ``subscribe()``.

A feed connects a request with its stream. The I/O thread passes messages to the feed, which delivers them to the
stream. The feed has only a weak reference to the stream. If no other reference to the stream is left, the feed ends at
the next message.
"""

from __future__ import annotations

import logging
import time
import weakref
from typing import TYPE_CHECKING, Any

from .._errors import ClientClosed, WebSocketClientError
from .._requests.request import WAITING
from .._threads.sections import this_thread
from .._threads.waiting import NEVER, Deadline

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._requests.request import Request
    from .._requests.requests import Requests
    from .._sending.sender import Sender
    from .._threads.log import ClientLog
    from ..protocols import Protocol
    from .streams import Stream, Streams

__all__ = ["Feed", "ReplyFeed"]


class Feed:
    """The base class of ``ReplyFeed`` and ``SubscriptionFeed``.

    Attributes:
        request: the present request, or the last one; None before the first.
    """

    endless = False
    """True for a subscription: a drain does not wait for it."""

    @property
    def is_superseded(self) -> bool:
        """Whether another feed has taken its place on a new connection, so that its request must not be repeated."""
        return False

    def __init__(self, streams: Streams) -> None:
        """
        Args:
            streams: the open streams of the client.
        """
        self.request: Request | None = None
        self._streams = streams
        self._reference: weakref.ref[Any] | None = None

    def attach(self, stream: Stream) -> None:
        """Connect the feed with its stream, by a weak reference."""
        self._reference = weakref.ref(stream)

    def id_assigned(self, request: Request) -> None:
        """Called when the request has its id and is about to be written. On the writer's thread."""

    def reader_closed(self, stream: Stream) -> None:
        """Called when the stream was closed by its reader, or ended. Any thread."""
        raise NotImplementedError

    def _stream(self) -> Any:
        """Return the stream; None if no other reference to it is left."""
        return None if self._reference is None else self._reference()


class ReplyFeed(Feed):
    """The replies to one request.

    Any thread may end it. One atomic step decides which thread does: the removal of the single item of ``_open``.
    """

    def __init__(
        self,
        streams: Streams,
        protocol: Protocol,
        requests: Requests,
        sender: Sender,
        log: ClientLog,
        later: Callable[[Callable[[Any], object], Any], object],
    ) -> None:
        """
        Args:
            streams: the open streams of the client.
            protocol: makes the unsubscribe message.
            requests: cancels the request, and sends the unsubscribe message.
            sender: holds the number of the present connection.
            log: the client's log.
            later: calls a function with one argument on the I/O thread.
        """
        super().__init__(streams)
        self._later = later
        self._protocol = protocol
        self._requests = requests
        self._sender = sender
        self._log = log
        self._open = [True]

    def item(self, value: Any, size: int, must_keep_reading: bool) -> None:
        """Deliver one of the replies. I/O thread only."""
        stream = self._stream()
        if stream is None:
            self.reader_closed(None)
        else:
            self._streams.feed(stream, value, size, must_keep_reading)

    def complete(self, value: Any, error: BaseException | None) -> None:
        """End the stream, since the request has ended: normally (the last reply is already delivered) or with the
        error.
        """
        if self._claim():  # pragma: no branch  (unless another thread calls `reader_closed` at this moment)
            stream = self._stream()
            if stream is not None:
                self._streams.discard(stream)
                stream._end(None if isinstance(error, ClientClosed) else error)

    def reply_due(self) -> Deadline:
        """Return the deadline of the first reply; ``NEVER`` if that reply is not awaited any more. End the request if
        the deadline has passed. On the reader's thread.
        """
        request = self.request
        if request is None or request.stage is not WAITING:
            return NEVER
        if not request.deadline.passed(time.monotonic()):
            return request.deadline
        self._requests.end_overdue(request)
        return NEVER

    def reader_closed(self, stream: Stream | None) -> None:
        """Cancel the request, and unsubscribe if the server may have received it. See ``Feed``.

        Args:
            stream: the stream; None if it was garbage-collected.
        """
        is_first = self._claim()
        if stream is not None:
            self._streams.discard(stream)
        request = self.request
        if not is_first or request is None:
            return
        if this_thread.inside():
            self._later(self._cancel, request)
        else:
            self._cancel(request)

    def _cancel(self, request: Request) -> None:
        if self._requests.cancel(request):
            self._unsubscribe(request)

    def _claim(self) -> bool:
        """Return True for the first caller, which ends the feed."""
        try:
            return self._open.pop()
        except IndexError:
            return False

    def _unsubscribe(self, request: Request) -> None:
        """Send the unsubscribe message, unless the request's connection has ended."""
        position = request.position
        if position is not None and position[0].ended:
            return
        # Without a byte position, the request is being written now, on the present connection.
        number = self._sender.connection_number if position is None else position[0].number
        try:
            message = self._protocol.unsubscribe(request.message, request.id, None)
            if message is not None:
                self._requests.send_ignoring_reply(message, connection_number=number)
        except WebSocketClientError as error:
            self._log.queue(logging.DEBUG, "an unsubscribe message was not sent: %s", error)  # a finalizer may run this
        except Exception as error:  # raised by a user-defined protocol
            self._log.queue(logging.ERROR, "an unsubscribe message could not be made.", error=error)
