"""The user's hooks: run in order, one at a time, on the hook thread.

Guarantees:
    * No hook runs on the I/O thread (except ``on_session``, which is not called from here), so a hook that waits delays
      only other hooks. Exception: with the policy ``"block"`` a full queue pauses reading, so streams wait too.
    * A hook that raises is logged with its traceback and reported to ``on_error``; the next one runs.
    * The thread starts with the first job, so a client without hooks has no hook thread. If it can't be started, jobs
      stay queued, and ``ThreadStarter`` tries again.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Hashable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from .._errors import SlowConsumer
from .._threads.log import payload_size
from .._threads.thread import BackgroundThread
from .._threads.waiting import Deadline
from .inbox import Inbox, Put

if TYPE_CHECKING:
    from .._options import Queue
    from .._threads.log import ClientLog
    from .._threads.starter import ThreadStarter

__all__ = ["HOOKS", "Hooks"]

HOOKS: Final = (
    "on_open", "on_reconnect", "on_message", "on_close", "on_error", "on_ping", "on_pong", "on_session",
    "on_connect_error", "on_quiet", "on_renew",
)  # fmt: skip
"""The names of all hooks."""

_FOREVER: Final = Deadline(None)
MAX_EVENTS: Final = 1000
"""Largest number of events that may be queued for each of the hooks ``on_ping``, ``on_pong`` and ``on_error``. The peer
causes these events, so their memory needs a limit. Errors may contain payloads; ``ReceiveQueue.max_bytes`` limits the
bytes of these payloads."""

_PAYLOADS: Final = "payloads"
"""The counters of events also count the bytes of the payloads, under this key."""

_FIRST_LOSS: Final = Put.FIRST_LOSS
"""Looked up once: access to an enum member costs more than the comparison that uses it."""

_Job = tuple[str, Callable[..., object], tuple[Any, ...]]
"""One call to make on the hook thread: its name, the function, and its arguments."""


class Hooks:
    """The hooks of one client and the thread they run on.

    Attributes:
        inbox: jobs that wait for the thread.
        ident: the thread's identifier; None while it does not run.
        connection_number: the number of the one connection on which messages of the running hook may be sent; None
            for any.
    """

    __slots__ = (
        "_log",
        "_max_bytes",
        "_posted",
        "_run_count",
        "_starter",
        "_table",
        "_worker",
        "connection_number",
        "ident",
        "inbox",
    )

    def __init__(self, log: ClientLog, starter: ThreadStarter, bounds: Queue, on_room: Callable[[], object]) -> None:
        """
        Args:
            log: the client's log; errors of logging are reported to ``on_error``.
            starter: starts the thread; its failures are logged and reported to ``on_error``.
            bounds: the limits on the messages, and on their bytes, that are queued for ``on_message``.
            on_room: called when a full queue has room again.
        """
        self._log = log
        self._starter = starter
        log.report = self.report
        starter.on_failure = self._report_no_thread
        self.inbox = Inbox(bounds.max_messages, bounds.max_bytes, bounds.overflow, on_room)
        self._max_bytes = bounds.max_bytes
        self._table: dict[str, Callable[..., object]] = {}
        self._worker = BackgroundThread(f"{log.name}-hooks", self.work)
        # The number of posted events of each hook, for `MAX_EVENTS`, and the bytes of their payloads. Changed by the
        # I/O thread only.
        self._posted: Counter[str] = Counter()
        # The number of these events that were run. Changed by the hook thread only.
        self._run_count: Counter[str] = Counter()
        self.ident: int | None = None
        self.connection_number: int | None = None

    # --- the table -------------------------------------------------------------------------------------------------

    def set(self, name: str, hook: Callable[..., object] | None) -> None:
        """Set the function of a hook; None removes it.

        The function is called with the hook's arguments, without the client as its first argument.
        """
        if hook is None:
            self._table.pop(name, None)
        else:
            self._table[name] = hook

    def get(self, name: str) -> Callable[..., object] | None:
        """Return the function of a hook; None if there is none."""
        return self._table.get(name)

    # --- posting: any thread, except where a docstring says otherwise ----------------------------------------------

    def post(self, name: str, *args: Any, connection_number: int | None = None) -> None:
        """Call a hook on the hook thread, if the user has set this hook.

        Args:
            name: the hook's name.
            args: its arguments.
            connection_number: the number of the one connection on which its messages may be sent; None for any.
        """
        hook = self._table.get(name)
        if hook is not None:
            if connection_number is not None:
                hook = partial(self._run_for_connection, connection_number, name, hook)
            self._add((name, hook, args))

    def post_message(self, message: Any, size: int, must_keep_reading: bool) -> None:
        """Call ``on_message`` on the hook thread, within the limits of the queue. I/O thread only."""
        hook = self._table.get("on_message")
        if hook is None:
            return
        job: _Job = ("on_message", hook, (message,))
        verdict = self.inbox.put(job, size, "on_message", must_keep_reading)
        if self._worker.starter is None:
            self._start()
        if verdict is _FIRST_LOSS:
            self.post_error(SlowConsumer(
                f"on_message can't keep up: {len(self.inbox)} messages wait for the hook thread, so some are dropped. "
                "Do less in the hook, or give receive_queue= more room."
            ))  # fmt: skip

    def post_job(
        self,
        what: str,
        fn: Callable[..., object],
        args: tuple[Any, ...],
        size: int,
        *,
        key: Hashable,
        must_keep_reading: bool,
    ) -> Put:
        """Call a function on the hook thread, within the limits of the queue. I/O thread only.

        Args:
            what: its name, for the log.
            fn: the function.
            args: its arguments.
            size: the bytes of the message.
            key: with the policy ``"latest"``, only the newest job of each key is kept.
            must_keep_reading: see ``Inbox.put``.
        """
        verdict = self.inbox.put((what, fn, args), size, key=key, must_keep_reading=must_keep_reading)
        if self._worker.starter is None:
            self._start()
        return verdict

    def post_event(self, name: str, *args: Any) -> None:
        """Call a hook for an event that the peer caused. The event is dropped if ``MAX_EVENTS`` are queued for the
        hook, or if the payloads of all queued events would exceed ``ReceiveQueue.max_bytes``. I/O thread only.
        """
        hook, posted, run = self._table.get(name), self._posted, self._run_count
        if hook is None or posted[name] - run[name] >= MAX_EVENTS:
            return
        size = payload_size(args[0]) if args else 0  # 0 for a ping or pong, whose payload is short
        waiting = posted[_PAYLOADS] - run[_PAYLOADS]
        if not waiting or waiting + size <= self._max_bytes:  # a single payload may be larger
            posted[name] += 1
            posted[_PAYLOADS] += size
            self._add((name, partial(self._run_event, name, hook, size), args))

    def post_error(self, error: BaseException) -> None:
        """Log an error that does not end the client, with the traceback of its cause, and call ``on_error``. I/O thread
        only.
        """
        self._log.write(logging.WARNING, "%s", error, error=error.__cause__)
        self.post_event("on_error", error)

    def report(self, error: BaseException) -> bool:
        """Call ``on_error`` on the hook thread, without a limit. Return False if it will not be called."""
        hook = self._table.get("on_error")
        return hook is not None and self._add(("on_error", hook, (error,)))

    def run_later(self, fn: Callable[[], object]) -> None:
        """Run a function on the hook thread; if that has ended, run it at once on this thread."""
        job: _Job = ("a done-callback", fn, ())
        if not self._add(job):
            self._run(job)

    # --- state -----------------------------------------------------------------------------------------------------

    @property
    def dropped(self) -> int:
        """Messages that were dropped instead of being passed to ``on_message`` or a handler on the hook thread."""
        return self.inbox.dropped

    def connection_of_caller(self) -> int | None:
        """Return the number of the one connection on which the caller's messages may be sent.

        None means any connection. The result is a number only in a hook that was posted for one connection, such as
        ``on_open`` or ``on_reconnect``.
        """
        return self.connection_number if self.on_hook_thread() else None

    def on_hook_thread(self) -> bool:
        """Return whether the caller is on the hook thread."""
        return self.ident is not None and self.ident == threading.get_ident()

    # --- the thread ------------------------------------------------------------------------------------------------

    def end(self) -> None:
        """Accept no more jobs; the thread still runs those that are queued."""
        self.inbox.end()

    def join(self, deadline: Deadline) -> bool:
        """Wait until the thread has ended; False if the deadline passed first. On the thread itself, return True."""
        return self.on_hook_thread() or self._worker.join(deadline)

    def work(self) -> None:
        """Run hooks until the end; the body of the thread."""
        self.ident = threading.get_ident()
        while jobs := self.inbox.get_several(_FOREVER):
            while jobs:
                self._run(jobs.pop())  # no variable, which would keep the message in memory until the next one
        self.ident = None  # the operating system may reuse the identifier

    def run_here(self, what: str, fn: Callable[..., object], args: tuple[Any, ...]) -> None:
        """Call a function on this thread; an error is logged, and reported to ``on_error`` on the hook thread."""
        try:
            fn(*args)
        except BaseException as error:  # SystemExit too: it must not end the thread, which runs the next function
            self._log.write(logging.ERROR, "%s raised %s.", what, type(error).__name__, error=error)
            self.post("on_error", error)

    def start_worker(self, worker: BackgroundThread) -> None:
        """Start a thread of the client; a failure is reported, and the start is tried again later."""
        self._starter.start(worker)

    def _run_for_connection(self, number: int, name: str, hook: Callable[..., object], *args: Any) -> None:
        self.connection_number = number
        self._run((name, hook, args))
        self.connection_number = None

    def _run_event(self, name: str, hook: Callable[..., object], size: int, *args: Any) -> None:
        self._run_count[name] += 1
        self._run_count[_PAYLOADS] += size
        hook(*args)

    def _add(self, job: _Job) -> bool:
        if not self.inbox.put_extra(job):
            return False
        if self._worker.starter is None:
            self._start()
        return True

    def _start(self) -> None:
        self.start_worker(self._worker)

    def _run(self, job: _Job) -> None:
        what, function, args = job
        try:
            function(*args)
        except BaseException as error:  # SystemExit too: it must not end the thread, which runs the other hooks
            self._report(what, error)

    def _report(self, what: str, error: BaseException) -> None:
        self._log.write(logging.ERROR, "%s raised %s.", what, type(error).__name__, error=error)
        on_error = self._table.get("on_error")
        if on_error is not None and what != "on_error":
            self._run(("on_error", on_error, (error,)))

    def _report_no_thread(self, error: RuntimeError) -> None:
        text = "hooks or handlers can't run yet: %s. Their calls stay queued, and the start is tried again each second."
        self._log.queue(logging.ERROR, text, error)  # the caller may hold a lock
        self.report(error)
