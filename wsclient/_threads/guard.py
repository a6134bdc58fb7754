"""Checks that reject calls which can't work: on the I/O thread, inside ``on_session``, in a forked child, and on a
client that does not run.

Guarantees:
    * The checks take no lock and may run on any thread.
"""

from __future__ import annotations

import threading

from .._errors import ClientClosed, ClientNotStarted, ForkedClient, WouldDeadlock, copy_exception
from .._models import State
from .sections import this_thread
from .state import FINAL, StateCell

__all__ = ["Guard"]


class Guard:
    """Rejects the calls of one client that would deadlock or that use the client's copy in a forked child.

    Attributes:
        name: the client's name.
        state: the client's state.
        io_ident: the identity of the I/O thread (``threading.get_ident()``); None while there is none.
        setting_up: whether the I/O thread is inside ``on_session``. Only that thread writes it.
        forked: whether this process is a forked child of the process that the client belongs to.
        main_ident: the identity of the main thread, the only one on which a KeyboardInterrupt can be raised.
    """

    __slots__ = ("forked", "io_ident", "main_ident", "name", "setting_up", "state")

    def __init__(self, name: str, state: StateCell) -> None:
        """
        Args:
            name: the client's name.
            state: the client's state.
        """
        self.name = name
        self.state = state
        self.main_ident = threading.main_thread().ident
        self.io_ident: int | None = None
        self.setting_up = False
        self.forked = False

    def is_forked(self) -> bool:
        """Whether this process is a forked child of the process that the client belongs to."""
        return self.forked

    def check_fork(self, call: str) -> None:
        """Raise an error if this process has only a copy of the client, made by a fork.

        It takes no lock: the fork may have copied a locked lock, which no thread of the child would release.

        Args:
            call: the call's name, for the error text.

        Raises:
            ForkedClient: the client belongs to the parent process.
        """
        if self.forked:
            raise ForkedClient(
                f"{call}: the client {self.name!r} belongs to the parent process; make a new client in this one."
            )

    def check(self, call: str) -> None:
        """Check a call that does not wait; raise an error if it can't work on this thread or in this process.

        Args:
            call: the call's name, for the error text.

        Raises:
            ForkedClient: the client belongs to the parent process.
            WouldDeadlock: the caller is inside ``on_session``, where this call does not work.
        """
        self.check_fork(call)
        if self.setting_up and self.on_io_thread():
            raise WouldDeadlock(
                f"{call} was called on the client inside on_session, before the connection is set up; use the session "
                "that on_session was given."
            )

    def check_not_inside(self, call: str, instead: str) -> None:
        """Check a call that takes a lock. Raise an error if the caller has interrupted code of the client on this
        thread (see ``sections``), since the interrupted code may hold the same lock.

        Args:
            call: the call's name, for the error text.
            instead: a sentence for the error text that says what to do instead.

        Raises:
            WouldDeadlock: the call can't work here.
        """
        if this_thread.inside():
            raise WouldDeadlock(
                f"{call} was called by a function that interrupted this thread inside the client (such as a finalizer "
                f"or a signal handler), and may have to wait for the interrupted code. {instead}"
            )

    def check_may_wait(self, call: str, instead: str) -> None:
        """Check a call that waits; raise an error if it can't work on this thread or in this process.

        Args:
            call: the call's name, for the error text.
            instead: a sentence for the error text that says what to call instead.

        Raises:
            ForkedClient: the client belongs to the parent process.
            WouldDeadlock: the caller is on the I/O thread, and the call would wait for that thread; or the caller has
                interrupted code of the client on this thread (see ``sections``).
        """
        is_inside = this_thread.inside()
        if not is_inside and not self.forked and self.io_ident != threading.get_ident():  # the common case
            return
        self.check_fork(call)
        self.check_not_inside(call, instead)
        self.check(call)
        raise WouldDeadlock(
            f"{call} was called on the client's own I/O thread (from a function such as match, until, url, headers "
            f"or should_retry, or a protocol) and would wait for this same thread. {instead}"
        )

    def check_started(self, call: str) -> None:
        """Raise an error if the client does not run.

        Args:
            call: the call's name, for the error text.

        Raises:
            ClientClosed: the client was not started, or has ended.
        """
        if self.state.current is State.NEW or self.state.current in FINAL:
            raise self.closed_error(call)

    def closed_error(self, call: str) -> ClientClosed:
        """The error for a call before ``start()`` or after the client's end; it names the state and says what to do.

        Args:
            call: the call's name, for the error text.

        Returns:
            The error to raise. Its ``__cause__`` is a copy of the error that the client failed with, if there is one.
        """
        now, cause = self.state.current, self.state.error
        if now is State.NEW:
            return ClientNotStarted(
                f"{call}: the client {self.name!r} does not run yet; call start() or use it in a with block."
            )
        how = "has failed" if now is State.FAILED else f"is {now.value}"
        why = "" if cause is None else f" ({cause})"
        error = ClientClosed(f"{call}: the client {self.name!r} {how}{why}; make a new one.")
        error.__cause__ = None if cause is None else copy_exception(cause)
        return error

    def on_io_thread(self) -> bool:
        """Whether the caller is on the I/O thread."""
        return self.io_ident == threading.get_ident()

    def on_main_thread(self) -> bool:
        """Whether the caller is on the main thread, the only one on which a KeyboardInterrupt can be raised."""
        return self.main_ident == threading.get_ident()
