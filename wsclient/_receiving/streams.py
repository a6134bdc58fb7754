"""``listen()``: streams of messages that answer no request.

Guarantees:
    * A stream receives every message that arrives after the call that made it, in order, within its limits.
    * A full stream pauses reading only while a reference to it is left.
    * Any number of threads may read one stream; each message goes to one of them.
"""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any

from .._errors import ClientClosed, SlowConsumer, copy_exception
from .._threads.log import ClientLog
from .._threads.waiting import NEVER, Deadline
from .._typing import Self
from .inbox import EMPTY, Inbox, Put

__all__ = ["Stream", "Streams"]


class Stream(Iterator[Any]):
    """An iterator over incoming messages, made by ``client.listen()`` or ``client.stream()``.

    Iteration ends when the stream or the client is closed, and with ``client.stream()`` after the last reply. If an
    error ended the stream, its request or the client, iteration raises it. Thread-safe. Use it as a context manager, or
    call ``close()``.

    Attributes:
        gaps: connections lost since the stream was made; messages may be missing at each.
    """

    def __init__(
        self,
        inbox: Inbox,
        *,
        match: Callable[[Any], bool] | None,
        key: Callable[[Any], Hashable] | None,
        reader_closed: Callable[[Stream], None],
        check: Callable[[str], None],
        log: ClientLog,
        is_forked: Callable[[], bool] = bool,
        reply_due: Callable[[], Deadline] | None = None,
    ) -> None:
        """For the client only; use ``client.listen()`` or ``client.stream()``.

        Args:
            inbox: the queue of its messages.
            match: returns True for the messages of the stream; None for all.
            key: with ``overflow="latest"``, only the newest message of each key is kept.
            reader_closed: called with the stream when it is closed or ends.
            check: raises if the caller may not wait here (I/O thread, forked child).
            log: the client's log.
            is_forked: whether this process is a forked child of the process that the stream belongs to.
            reply_due: returns the deadline of the first reply, or ``NEVER`` if no reply is awaited any more. If the
                deadline has passed, this function ends the stream. None if the stream belongs to no request.
        """
        self._inbox = inbox
        self._match = match
        self._key = key
        self._reader_closed = reader_closed
        self._check = check
        self._log = log
        self._is_forked = is_forked
        self._reply_due = reply_due
        self.gaps = 0

    @property
    def dropped(self) -> int:
        """Messages that this stream dropped because it was read too slowly."""
        return self._inbox.dropped

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        self._check("next() of a stream")
        message = self._inbox.get(NEVER) if self._reply_due is None else self._get_before_reply(NEVER)
        if message is not EMPTY:
            return self._unpacked(message)
        if self._inbox.error is not None:
            raise copy_exception(self._inbox.error)
        raise StopIteration

    def get(self, timeout: float | None = None) -> Any:
        """Return the next message.

        Args:
            timeout: seconds to wait; None waits until one arrives or the stream ends.

        Raises:
            TimeoutError: none arrived in time.
            ClientClosed: the stream was closed, or the client.
            SlowConsumer: it ended because it was read too slowly.
            Exception: another error that ended the stream, its request or the client.
        """
        self._check("get() of a stream")
        deadline = Deadline.after(timeout, time.monotonic())
        message = self._inbox.get(deadline) if self._reply_due is None else self._get_before_reply(deadline)
        if message is not EMPTY:
            return self._unpacked(message)
        if self._inbox.error is not None:
            raise copy_exception(self._inbox.error)
        if self._inbox.ended:
            raise ClientClosed("The stream is closed and all its messages were taken.")
        raise TimeoutError(f"No message came within {timeout} s.")

    def close(self) -> None:
        """Accept no more messages and drop the queued ones. Any thread may call it, any number of times."""
        if self._is_forked():  # the fork may have copied a locked lock
            return
        self._reader_closed(self)
        self._inbox.end(discard=True)

    def _get_before_reply(self, deadline: Deadline) -> Any:
        """Return the next item as ``Inbox.get`` does. If the deadline of the first reply passes, this thread ends the
        stream: it does not wait for the I/O thread, which may be busy in the user's code.
        """
        inbox = self._inbox
        while True:
            reply_due = self._reply_due
            due = NEVER if reply_due is None else reply_due()
            if due is NEVER:
                self._reply_due = None
            item = inbox.get(deadline.sooner(due))
            now = time.monotonic()
            if item is not EMPTY or inbox.ended or (deadline.passed(now) and not due.passed(now)):
                return item

    # --- the client's side ------------------------------------------------------------------------------------------

    @property
    def _full(self) -> bool:
        return self._inbox.full

    def _offer(self, message: Any, size: int, must_keep_reading: bool) -> None:
        try:
            if self._match is not None and not self._match(message):
                return
            key = None if self._key is None else self._key(message)
            hash(key)
        except BaseException as error:  # raised by the caller's function, so the reader receives it
            self._end(error)
            return
        verdict = self._inbox.put(self._packed(message), size, key=key, must_keep_reading=must_keep_reading)
        if verdict is Put.KEPT:
            return
        if verdict is Put.FIRST_LOSS:
            self._log.write(
                logging.WARNING,
                "a stream is read too slowly and loses messages (overflow=%r).",
                self._inbox.overflow,
            )
        if self._inbox.overflow in ("block", "raise"):
            self._end(SlowConsumer(
                "A stream ended because its messages came faster than they were read. Read faster, raise maxsize= or "
                "receive_queue=, or choose an overflow= that drops messages."
            ))  # fmt: skip

    def _end(self, error: BaseException | None) -> None:
        self._reader_closed(self)
        self._inbox.end(error)

    def _packed(self, message: Any) -> Any:
        """Return the inbox item for a message."""
        return message

    def _unpacked(self, item: Any) -> Any:
        """Return the message of an inbox item. On the reader's thread."""
        return item


class Streams:
    """The open streams of one client.

    There is no lock. A lock could deadlock: the garbage collector may close a stream on a thread that already holds it.
    Each step is one ``dict`` operation, which is atomic, and iteration uses a copy.

    Attributes:
        dropped: messages lost by all streams so far, closed ones included, and messages that the router dropped during
            the set-up or the close of a connection.
        listening: the streams of ``listen()``, to which ``offer`` delivers messages.
        fed: the streams of ``stream()`` and ``subscribe()``, which receive the messages of one request.
    """

    __slots__ = ("dropped", "fed", "listening")

    def __init__(self) -> None:
        self.listening: dict[weakref.ref[Stream], None] = {}
        self.fed: dict[weakref.ref[Stream], None] = {}
        self.dropped = 0

    def add(self, stream: Stream) -> None:
        """Add a stream of ``listen()``, and remove the streams to which no reference is left."""
        self._forget(self.listening)
        self.listening[weakref.ref(stream)] = None

    def add_fed(self, stream: Stream) -> None:
        """Add a stream of ``stream()`` or ``subscribe()``; it counts for ``full``, and ends with the others."""
        self._forget(self.fed)
        self.fed[weakref.ref(stream)] = None

    def discard(self, stream: Stream) -> None:
        """Remove a stream."""
        self.listening.pop(weakref.ref(stream), None)
        self.fed.pop(weakref.ref(stream), None)

    def _forget(self, streams: dict[weakref.ref[Stream], None]) -> None:
        for reference in list(streams):
            if reference() is None:
                streams.pop(reference, None)

    def offer(self, message: Any, size: int, *, must_keep_reading: bool) -> None:
        """Deliver a message to every stream of ``listen()``. I/O thread only."""
        for stream in self._open(self.listening):
            self.feed(stream, message, size, must_keep_reading)

    def feed(self, stream: Stream, message: Any, size: int, must_keep_reading: bool) -> None:
        """Deliver a message to one stream. I/O thread only."""
        before = stream.dropped
        stream._offer(message, size, must_keep_reading)
        self.dropped += stream.dropped - before

    @property
    def full(self) -> bool:
        """Whether reading should pause until some stream has been read."""
        return any(stream._full for streams in (self.listening, self.fed) for stream in self._open(streams))

    def gap(self) -> None:
        """Count a gap in every stream of ``listen()``, since a connection was lost."""
        for stream in self._open(self.listening):
            stream.gaps += 1

    def end(self, error: BaseException | None) -> None:
        """End every stream, with an error if there is one."""
        for stream in [*self._open(self.listening), *self._open(self.fed)]:
            stream._end(error)

    def _open(self, streams: dict[weakref.ref[Stream], None]) -> Iterable[Stream]:
        """Return the streams to which a reference is left, in the order in which they were added."""
        if not streams:
            return ()
        return [stream for reference in list(streams) if (stream := reference()) is not None]
