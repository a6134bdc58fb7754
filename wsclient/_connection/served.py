"""The connections of one client that are served at the same time: normally one, and two during a renewal.

The I/O thread serves all of them. While it waits on behalf of one connection, it waits for the others too, and handles
their input. This includes the waits of ``Connector``, which opens a connection, and the waits of the session inside
``on_session``. So the functions of the I/O thread run for every connection, but never two at once, and no lock is
needed.

Everything here runs on that thread, except ``all``.
"""

from __future__ import annotations

import errno
import logging
import math
import os
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from .._models import Initiator
from .._rfc6455.close import CloseCode
from .._threads.waiting import NEVER, Deadline

if TYPE_CHECKING:
    from .._network.poller import Poller
    from .connection import Connection
    from .context import ClientContext

__all__ = ["QUICK_CLOSE", "ServedConnections"]

QUICK_CLOSE: Final = 0.5
"""Seconds for the closing handshake of a connection that is replaced, or could not be set up."""

_RETIRING_CHECK: Final = 0.1
"""Seconds between two checks whether a replaced connection is still needed; necessary because some of its work ends
without waking the I/O thread, such as a request that is cancelled."""


class ServedConnections:
    """The connections of one client.

    Attributes:
        poller: waits for their sockets.
        present: the connection that takes new messages, or that is being set up while there is no other; None while
            there is none.
        candidate: the connection that a renewal sets up; None while there is none.
        retiring: the connection that a renewal has replaced, until it has ended; None while there is none.
    """

    __slots__ = ("_context", "_ended", "_reason", "_retire_at", "candidate", "poller", "present", "retiring")

    def __init__(self, context: ClientContext, ended: Callable[[Connection], object]) -> None:
        """
        Args:
            context: the client.
            ended: called with a connection that has ended while the thread waited on behalf of another one.
        """
        self._context = context
        self._ended = ended
        self._retire_at = math.inf
        self._reason = ""
        self.poller: Poller | None = None
        self.present: Connection | None = None
        self.candidate: Connection | None = None
        self.retiring: Connection | None = None

    def all(self) -> list[Connection]:
        """Return every connection. Any thread."""
        return [one for one in (self.present, self.candidate, self.retiring) if one is not None]

    def others(self, connection: Connection | None) -> list[Connection]:
        """Return the connections to serve while the thread waits on behalf of this one, or of one that has no object
        yet (None).
        """
        return [
            one for one in (self.present, self.retiring) if one is not None and one is not connection and one.was_open
        ]

    def retire(self, connection: Connection, seconds: float, reason: str) -> None:
        """From now on, serve this connection, which has been replaced, only as long as it is needed.

        Args:
            connection: the connection.
            seconds: the longest time; it is then closed in any case.
            reason: the reason in the close frame.
        """
        self.retiring = connection
        self._retire_at = time.monotonic() + seconds
        self._reason = reason

    def turn(self, connection: Connection, until: Deadline) -> None:
        """Wait until something happens on any connection, at most until ``until``, and handle it.

        Args:
            connection: the connection on behalf of which the thread waits. An error in its handling is raised; an error
                in the handling of another connection is logged, and ends that connection.
            until: when to end the wait.
        """
        others = self.others(connection)
        if others:
            self._turn_all([connection, *others], connection, {}, until)
        else:
            connection.turn(until)

    def wait(self, socks: dict[socket.socket, int], until: Deadline) -> list[socket.socket]:
        """Wait until some of these sockets are ready, at most until ``until``; return those. Serve all connections.

        Args:
            socks: the sockets of a connection that is being opened, each with its events.
            until: when to end the wait.
        """
        return self._turn_all(self.others(None), None, socks, until)

    def carry_out_drops(self) -> None:
        """Carry out the commands to end single connections; a command for one that has ended has no effect."""
        drop = self._context.commands.drop
        for number in list(drop):
            error = drop.pop(number)
            for one in self.all():
                if one.number == number and one.was_open:
                    one.close(CloseCode.NORMAL, "", Deadline.after(QUICK_CLOSE, time.monotonic()), error=error)

    # --- one turn for several connections ----------------------------------------------------------------------------

    def _turn_all(
        self,
        connections: list[Connection],
        own: Connection | None,
        socks: dict[socket.socket, int],
        until: Deadline,
    ) -> list[socket.socket]:
        context = self._context
        if context.commands.drop:
            self.carry_out_drops()
        context.sender.pass_on()
        now = time.monotonic()
        at = math.inf if until.at is None else until.at
        if self.retiring is not None:
            self._look_at_retiring(self.retiring, now)
            at = min(at, now + _RETIRING_CHECK)
        watched, is_paused = dict(socks), False
        for one in connections:
            sock = one.opened.transport.sock
            try:
                if sock.fileno() < 0:  # the wait for all sockets would fail
                    raise OSError(errno.EBADF, os.strerror(errno.EBADF))
                events, ends_at = one.plan(now, until if one is own else NEVER, other_is_paused=is_paused)
            except OSError as error:
                one.break_off(error)
                continue
            is_paused = is_paused or one.paused
            at = min(at, ends_at)
            if events:
                watched[sock] = events
        ready = self._wait(connections, watched, at)
        for one in connections:
            events = ready.get(one.opened.transport.sock, 0)
            if one is own:
                one.turn(until, events)
            else:
                self._turn_other(one, events)
        return [sock for sock in socks if sock in ready]

    def _wait(
        self, connections: list[Connection], watched: dict[socket.socket, int], at: float
    ) -> dict[socket.socket, int]:
        now = time.monotonic()
        if any(one.over for one in connections):
            at = now
        # Store the end of this wait. `plan` has stored the end for one connection only, which may be later. A stored
        # time that is too late would cause a busy loop: after the wait, this thread may call `wake_by` with the time of
        # the next token (`Writer.continue_later`). If the stored time is later than the token, `wake_by` wakes this
        # thread. Its next wait then ends at once, and the same happens again, until the token is due.
        self._context.commands.sleeps_until = at
        assert self.poller is not None
        try:
            return self.poller.wait_each(watched, max(0.0, at - now))
        except OSError as error:  # other code has closed a descriptor; it is not known which connection it belongs to
            for one in connections:
                one.break_off(error)
            return {}  # the wait for sockets that are being opened continues without these connections

    def _turn_other(self, connection: Connection, events: int) -> None:
        """Handle the input of a connection on behalf of which the thread does not wait."""
        context = self._context
        guard = context.guard
        # `on_session` of another connection may be waiting. The user's functions that run now belong to an open
        # connection, so the rules for calls inside `on_session` do not apply to them.
        setting_up, guard.setting_up = guard.setting_up, False
        try:
            if not connection.over:
                connection.turn(NEVER, events)
        except BaseException as error:
            context.log.write(logging.ERROR, "a connection ended because of a defect; please report this.", error=error)
            context.hooks.post("on_error", error)
            connection.break_off(OSError(f"{type(error).__name__} while it was served"))
        finally:
            guard.setting_up = setting_up
        if connection.over:
            self._ended(connection)

    # --- the replaced connection -------------------------------------------------------------------------------------

    def _look_at_retiring(self, connection: Connection, now: float) -> None:
        """Close the replaced connection if it is not needed any more, or if its time is over."""
        if connection.ending is None and (now >= self._retire_at or not self._is_needed(connection)):
            soon = Deadline.after(QUICK_CLOSE, now)
            connection.close(CloseCode.NORMAL, self._reason, soon, initiator=Initiator.RENEWAL)

    def _is_needed(self, connection: Connection) -> bool:
        """Return whether the replaced connection must still be served.

        That is so if a request waits for its reply there, a received message is not processed yet, a subscription is
        not confirmed on the present connection, a message must still be written on the replaced one, a handler has not
        answered a call of the server, or a thread waits for a pong.
        """
        context = self._context
        return (
            context.table.is_busy(connection.written)
            or connection.has_unread
            or not context.subscriptions.are_confirmed(context.sender.connection_number)
            or bool(context.sender.for_retiring or connection.writer.urgent.entries)
            or connection.router.has_unanswered_calls
            or context.acknowledgements.is_awaited(connection.number)
            or not connection.writer.idle()
            or context.queue.has_message_of(connection.number)  # last, since it looks at each queued message
        )
