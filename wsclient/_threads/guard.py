"""Which calls are refused, and where: on the I/O thread, inside ``on_session``, in a forked child."""

from __future__ import annotations

import threading

from .._errors import ForkedClient, WouldDeadlock

__all__ = ["Guard"]


class Guard:
    """Keeps calls away from where they would do harm.

    Attributes:
        io_ident: the background thread's identity; None while there is none.
        setting_up: whether the background thread is inside ``on_session``. Written by that thread.
        forked: whether this process is a fork of the one the client belongs to.
    """

    __slots__ = ("_main_ident", "_name", "forked", "io_ident", "setting_up")

    def __init__(self, name: str) -> None:
        self._name = name
        self._main_ident = threading.main_thread().ident
        self.io_ident: int | None = None
        self.setting_up = False
        self.forked = False

    def check_fork(self, call: str) -> None:
        """Refuse a call on the copy of a client that a fork made; it takes no lock, one may be held for ever.

        Raises:
            ForkedClient: the client belongs to the parent process.
        """
        if self.forked:
            raise ForkedClient(
                f"{call}: the client {self._name!r} belongs to the parent process; make a new client in this one."
            )

    def check(self, call: str) -> None:
        """Refuse a call that does not wait.

        Raises:
            ForkedClient: the client belongs to the parent process.
            WouldDeadlock: ``on_session`` must use its session.
        """
        self.check_fork(call)
        if self.setting_up and self.on_io_thread():
            raise WouldDeadlock(
                f"{call} was called on the client inside on_session, before the connection is set up; use the session "
                "that on_session was given."
            )

    def check_may_wait(self, call: str, instead: str) -> None:
        """Refuse a call that waits.

        Args:
            call: its name, for the message.
            instead: the way out.

        Raises:
            ForkedClient: the client belongs to the parent process.
            WouldDeadlock: the caller is on the thread that it would wait for.
        """
        if not self.forked and self.io_ident != threading.get_ident():  # the common case, kept short
            return
        self.check(call)
        if self.on_io_thread():
            raise WouldDeadlock(
                f"{call} was called on the client's own I/O thread (from match, until, url, headers, should_retry or a "
                f"protocol) and would wait for itself. {instead}"
            )

    def on_io_thread(self) -> bool:
        """Whether the caller is on the background thread."""
        return self.io_ident == threading.get_ident()

    def on_main_thread(self) -> bool:
        """Whether a KeyboardInterrupt may strike here."""
        return self._main_ident == threading.get_ident()
