"""The load of ``bench``: connections that send requests by a schedule, and count the replies.

Three ways to send the next request were measured, with 10 connections and one request in flight on each:

* a thread of each connection calls ``request()``: 170 to 230 µs of CPU time for each request,
* ``submit()`` with a callback, which runs on the hook thread: 275 µs,
* the I/O thread of the connection, which receives the reply, sends the next request: 150 µs.

The last way is used here, since no other thread has to wake. It calls ``Requests.make`` and ``Requests.begin`` of the
client (``_requests/requests``), which are not public.

Guarantees:
    * A ``Lane`` may be used by any thread. Its lock is not held while a request is sent. Only the I/O thread of the
      connection records latencies.
    * A lane sends from one thread at a time. If another thread calls ``send_due`` meanwhile, this call returns at once,
      and the sending thread checks again whether a request is due before its own call returns.
    * A request that failed is counted once, by its kind of error. One that was never sent is not counted.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from .._errors import (
    ClientClosed,
    ConnectionLost,
    ProtocolError,
    RemoteError,
    RequestTimeout,
)
from .._models import State
from .._threads.locks import make_lock
from .._threads.waiting import Deadline
from .exits import sentence_of
from .latencies import Latencies

if TYPE_CHECKING:
    from .._client.client import Client
    from .._requests.requests import Requests
    from .schedule import Schedule

__all__ = ["KINDS", "Lane", "Load", "kind_of"]

clock: Final = time.monotonic_ns
"""The clock of all times of the load."""

_KINDS: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (RemoteError, "error reply"),
    (RequestTimeout, "timeout"),
    (ConnectionLost, "connection lost"),
    (ClientClosed, "connection lost"),
    (ProtocolError, "protocol error"),
)
KINDS: Final = tuple(dict.fromkeys(kind for _, kind in _KINDS))

_FINAL: Final = (State.CLOSED, State.FAILED)

_LONGEST_SLEEP: Final = 0.1
"""Seconds after which the sending thread checks whether the load was stopped."""


def kind_of(error: BaseException) -> str:
    """Return the kind of an error, one of ``KINDS`` or the name of its class."""
    return next((kind for group, kind in _KINDS if isinstance(error, group)), type(error).__name__)


def _was_not_sent(error: BaseException) -> bool:
    """Whether the client or the connection had ended before the request was sent."""
    return isinstance(error, ClientClosed) or (isinstance(error, ConnectionLost) and not error.sent)


class _Exchange:
    """One request in flight: receives its outcome (``_requests.request.Completable``)."""

    __slots__ = ("_at", "_counts", "_lane")

    def __init__(self, lane: Lane, at: int, counts: bool) -> None:
        self._lane = lane
        self._at = at
        self._counts = counts

    def complete(self, value: Any, error: BaseException | None) -> None:
        """Count the reply, and send the next request. Called once, mostly by the I/O thread."""
        lane = self._lane
        now = clock()
        if error is not None and _was_not_sent(error):
            lane.refuse(error, self._counts)
            return
        if self._counts:
            if error is None:
                lane.latencies.record(now - self._at)
            else:
                lane.fail(error)
            lane.last = now
        if isinstance(error, RequestTimeout) and error.phase == "waiting":
            lane.pause()
        lane.send_due(1)


class Lane:
    """One connection of the load.

    Attributes:
        client: the client, which is open.
        latencies: those of the replies.
        errors: how many requests failed, by kind.
        examples: the sentence of the first error of each kind.
        in_flight: requests that have not ended.
        sent: requests that were sent, with those of the warm-up.
        measured: requests that were sent and were due after the warm-up.
        last: when the latest request ended; 0 before.
        ended: the error after which the connection sends no more requests; None before.
        lock: guards ``in_flight``, ``sent``, ``measured``, ``errors``, ``examples`` and whether a thread sends.
    """

    __slots__ = (
        "_begin",
        "_depth",
        "_is_sending",
        "_make",
        "_message",
        "_next",
        "_number",
        "_paused_on",
        "_sender",
        "_timeout",
        "_wake_by",
        "client",
        "ended",
        "errors",
        "examples",
        "in_flight",
        "last",
        "latencies",
        "lock",
        "measured",
        "sent",
    )  # fmt: skip

    def __init__(
        self, number: int, client: Client, schedule: Schedule, message: Any, *, depth: int, timeout: float
    ) -> None:
        """
        Args:
            number: its number, from 0.
            client: the client, which is open.
            schedule: when to send.
            message: what to send.
            depth: the most requests in flight.
            timeout: seconds for each reply.
        """
        context = client._wsclient.context
        requests: Requests = context.requests
        self._make = requests.make
        self._begin = requests.begin
        self._wake_by = context.commands.wake_by
        self._sender = context.sender
        self._number = number
        self._next = schedule.next
        self._message = message
        self._depth = depth
        self._timeout = timeout
        self.client = client
        self.latencies = Latencies()
        self.errors: dict[str, int] = {}
        self.examples: dict[str, str] = {}
        # Guards the numbers of requests and errors, and whether a thread sends.
        self.lock = make_lock()
        self.in_flight = 0
        self.sent = 0
        self.measured = 0
        self.last = 0
        self.ended: BaseException | None = None
        self._is_sending = False
        self._paused_on = 0

    def send_due(self, ended: int = 0) -> None:
        """Send the requests that are due and for which there is room.

        Args:
            ended: how many requests have ended just before.
        """
        joins = self._depth > 1 and ended > 0
        while True:
            with self.lock:
                self.in_flight -= ended
                ended = 0
                if self._is_sending or self._paused_on or self.ended is not None:
                    return
                now = clock()
                start = self._next(self._number, self.sent, now) if self.in_flight < self._depth else None
                if start is None:
                    return
                self._is_sending = True
                self.in_flight += 1
                self.sent += 1
                self.measured += start.counts
            try:
                self._send(_Exchange(self, *start), now / 1e9, joins=joins)
            except Exception as error:
                self.refuse(error, start.counts)
            finally:
                with self.lock:
                    self._is_sending = False

    def pause(self) -> None:
        """Send nothing until the next connection, if replies are correlated by order. After a timeout, the client drops
        such a connection, since it could not assign a late reply.
        """
        if self._sender.replies_in_order:
            self._paused_on = self._sender.connection_number

    def resume(self) -> None:
        """End a pause, if the next connection is open or the client has ended. In the second case, sending a request
        fails, which sets ``ended``.
        """
        if self._paused_on and (self.client.state in _FINAL or self._paused_on != self._sender.connection_number):
            self._paused_on = 0
            self.send_due()

    def is_idle(self) -> bool:
        """Return whether no request is in flight or being sent."""
        with self.lock:
            return not self.in_flight and not self._is_sending

    def fail(self, error: BaseException) -> None:
        """Count a request that failed."""
        kind = kind_of(error)
        example = self.examples.get(kind) or sentence_of(error)
        with self.lock:
            self.examples[kind] = example
            self.errors[kind] = self.errors.get(kind, 0) + 1

    def refuse(self, error: BaseException, counts: bool) -> None:
        """Send no more requests on this connection, because the client has refused one.

        Args:
            error: the error of the client. The request is counted as failed, unless it was not sent because the client
                or the connection had ended.
            counts: whether the request was due after the warm-up.
        """
        with self.lock:
            self.in_flight -= 1
            self.ended = self.ended or error
            if _was_not_sent(error):
                self.sent -= 1
                self.measured -= counts
                return
        if counts:
            self.fail(error)

    def _send(self, exchange: _Exchange, now: float, *, joins: bool) -> None:
        """Send a request.

        Args:
            exchange: receives its outcome.
            now: the time in seconds.
            joins: whether further replies, and so further requests, probably follow at once. The I/O thread then writes
                several requests together, which takes a quarter less time.
        """
        sender = self._sender
        deadline = Deadline(now + self._timeout, self._timeout)
        request = self._make(self._message, deadline)
        if joins or not (self._depth == 1 or sender.pace.allows(now)):
            self._begin(request, exchange, timed=True, more=True)
            sender.defer_write()
        else:
            self._begin(request, exchange, timed=True)
        self._wake_by(deadline)


class Load:
    """All connections, and the thread that starts requests (see ``_run``).

    Attributes:
        lanes: the connections.
        schedule: when requests are sent.
    """

    def __init__(
        self, clients: Sequence[Client], schedule: Schedule, message_of: Callable[[Client], Any], *, depth: int,
        timeout: float,
    ) -> None:  # fmt: skip
        """
        Args:
            clients: the clients, which are open.
            schedule: when requests are sent.
            message_of: returns what a client sends.
            depth: the most requests in flight on each connection.
            timeout: seconds for each reply.
        """
        self.schedule = schedule
        self.lanes = [
            Lane(number, client, schedule, message_of(client), depth=depth, timeout=timeout)
            for number, client in enumerate(clients)
        ]
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="wsclient-bench", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Send no more requests."""
        self.schedule.stop(clock())
        self._stopped.set()

    def is_idle(self) -> bool:
        """Return whether the load has ended: no request is in flight, and none follows."""
        if all(lane.ended is not None for lane in self.lanes):
            return True
        is_over = self.schedule.is_over(clock()) and not self._thread.is_alive()
        return is_over and all(lane.is_idle() for lane in self.lanes)

    def resume(self) -> None:
        """End the pauses of connections whose next connection is open; called regularly."""
        for lane in self.lanes:
            lane.resume()

    def latencies(self) -> Latencies:
        """Return those of all connections until now."""
        return Latencies.merged(lane.latencies for lane in self.lanes)

    def errors(self) -> dict[str, int]:
        """Return how many requests have failed until now, by kind."""
        total: dict[str, int] = {}
        for lane in self.lanes:
            for kind, count in lane.errors.copy().items():
                total[kind] = total.get(kind, 0) + count
        return total

    def _run(self) -> None:
        """Start requests, as the schedule (``schedule``) says.

        With an ``OpenSchedule``, this thread sends each request when it is due. If the connection has no room then, its
        I/O thread sends the request later. With a ``ClosedSchedule``, this thread sends only the first requests of each
        connection, as many as may be in flight; the I/O threads send all others.
        """
        if self.schedule.due(0) is None:
            for lane in self.lanes:
                lane.send_due()
            return
        lanes, number = self.lanes, 0
        while not self._stopped.is_set():
            due = self.schedule.due(number)
            if due is None:
                return
            wait = (due - clock()) / 1e9
            if wait > 0:
                self._stopped.wait(min(wait, _LONGEST_SLEEP))
                continue
            lanes[number % len(lanes)].send_due()
            number += 1
