"""Handlers: functions that answer the server's calls, or receive its events by topic, on the hook thread or workers.

Guarantees:
    * A handler without workers runs on the hook thread, in order with the hooks. A handler with workers may block
      until a later hook has run, without a deadlock.
    * Inside a critical section (see ``_threads.sections``) no lock is taken: the I/O thread makes the change that needs
      the lock a moment later.
    * Look-ups need no lock: each table changes by one ``dict`` operation or one assignment.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable
from functools import partial
from typing import TYPE_CHECKING, Any

from .._errors import SlowConsumer
from .._threads.locks import make_lock
from .._threads.sections import this_thread
from .._threads.thread import BackgroundThread
from .._threads.waiting import Deadline
from .._validation import check_callable, check_count
from .inbox import EMPTY, Inbox, Put

if TYPE_CHECKING:
    from .._options import Queue
    from .hooks import Hooks

__all__ = ["Handler", "Handlers", "Registration"]

_FOREVER = Deadline(None)


class Handler:
    """One function, and where it runs."""

    __slots__ = ("fn", "name", "pool")

    def __init__(self, name: str, fn: Callable[[Any], object], pool: Pool | None) -> None:
        """
        Args:
            name: its name, for the log.
            fn: the function.
            pool: its workers; None for the hook thread.
        """
        self.name = name
        self.fn = fn
        self.pool = pool


class Registration:
    """The result of ``client.on()`` and ``client.handle(method, fn)``; ``remove()`` ends it. Thread-safe."""

    __slots__ = ("_handler", "_key", "_remove")

    def __init__(self, remove: Callable[[str, Handler], None], key: str, handler: Handler) -> None:
        """For the client only; ``on()`` and ``handle()`` make it."""
        self._remove = remove
        self._key = key
        self._handler = handler

    def remove(self) -> None:
        """Stop calling the function, except for messages that are already queued for it. Any thread may call this, any
        number of times.
        """
        self._remove(self._key, self._handler)

    def __call__(self) -> None:
        """The same as ``remove()``."""
        self.remove()

    def __repr__(self) -> str:
        return f"<Registration {self._handler.name}>"


class Pool:
    """Worker threads that share one queue. Each of the first jobs starts one of them, until all run."""

    def __init__(self, name: str, workers: int, bounds: Queue, hooks: Hooks, on_room: Callable[[], object]) -> None:
        """
        Args:
            name: the prefix of the threads' names.
            workers: the number of threads.
            bounds: the limits of the queue.
            hooks: runs a job, and reports the error that it raised.
            on_room: called when a full queue has room again.
        """
        self.inbox = Inbox(bounds.max_messages, bounds.max_bytes, bounds.overflow, on_room)
        self._hooks = hooks
        self._workers = [BackgroundThread(f"{name}-{number}", self._work) for number in range(1, workers + 1)]

    def put(
        self,
        what: str,
        fn: Callable[..., object],
        args: tuple[Any, ...],
        size: int,
        *,
        key: Hashable,
        must_keep_reading: bool,
    ) -> Put:
        """Call a function on a worker; the arguments are those of ``Hooks.post_job``. I/O thread only."""
        verdict = self.inbox.put((what, fn, args), size, key=key, must_keep_reading=must_keep_reading)
        for worker in self._workers:
            if worker.starter is None:
                self._hooks.start_worker(worker)
                break
        return verdict

    def end(self) -> None:
        """Accept no more jobs; the threads still run those that are queued."""
        self.inbox.end()

    def _work(self) -> None:
        while (job := self.inbox.get(_FOREVER)) is not EMPTY:
            self._hooks.run_here(*job)
            del job


class Handlers:
    """The handlers of one client.

    Attributes:
        pools: the worker threads of the handlers that have some, with their queues.
    """

    __slots__ = (
        "_bounds",
        "_dropped",
        "_hooks",
        "_later",
        "_lock",
        "_methods",
        "_name",
        "_numbers",
        "_on_room",
        "_topics",
        "pools",
    )

    def __init__(
        self,
        name: str,
        bounds: Queue,
        hooks: Hooks,
        on_room: Callable[[], object],
        later: Callable[[Callable[[Any], object], Any], object],
    ) -> None:
        """
        Args:
            name: the client's name.
            bounds: the limits of each pool's queue.
            hooks: the client's hooks.
            on_room: called when a full queue has room again.
            later: calls a function with one argument on the I/O thread.
        """
        self._name = name
        self._later = later
        self._bounds = bounds
        self._hooks = hooks
        self._on_room = on_room
        self._numbers = itertools.count(1)
        # Guards changes of the tables and of the count below; reading them takes no lock.
        self._lock = make_lock()
        self._methods: dict[str, Handler] = {}
        self._topics: dict[str, tuple[Handler, ...]] = {}
        self.pools: tuple[Pool, ...] = ()
        self._dropped = 0  # by pools that have ended

    # --- any thread --------------------------------------------------------------------------------------------------

    def handle(self, method: str, fn: Callable[[Any], object], workers: int) -> Handler:
        """Answer calls of a method with a function.

        Raises:
            ValueError: the method has a handler.
        """
        handler = self._make("handle", method, fn, workers)
        # No lock: one atomic operation.
        if self._methods.setdefault(method, handler) is not handler:
            self._end_pool(handler)
            raise ValueError(f"handle: the method {method!r} has a handler already.")
        return handler

    def on(self, topic: str, fn: Callable[[Any], object], workers: int) -> Handler:
        """Call a function with each event of a topic."""
        handler = self._make("on", topic, fn, workers)
        self._add((topic, handler))
        return handler

    def _add(self, one: tuple[str, Handler]) -> None:
        if this_thread.inside():
            self._later(self._add, one)
            return
        topic, handler = one
        with this_thread.section, self._lock:
            self._topics[topic] = (*self._topics.get(topic, ()), handler)

    def remove_method(self, method: str, handler: Handler) -> None:
        """Stop answering calls of the method with this handler. It may be called any number of times."""
        if this_thread.inside():
            self._later(partial(self.remove_method, method), handler)
            return
        with this_thread.section, self._lock:
            if self._methods.get(method) is handler:
                del self._methods[method]
        self._end_pool(handler)

    def remove(self, topic: str, handler: Handler) -> None:
        """Stop passing events of the topic to this handler. It may be called any number of times."""
        if this_thread.inside():
            self._later(partial(self.remove, topic), handler)
            return
        with this_thread.section, self._lock:
            left = tuple(one for one in self._topics.get(topic, ()) if one is not handler)
            if left:
                self._topics[topic] = left
            else:
                self._topics.pop(topic, None)
        self._end_pool(handler)

    def _end_pool(self, handler: Handler) -> None:
        """End the handler's workers, after they have run what is queued."""
        ended = handler.pool
        if ended is None:
            return
        if this_thread.inside():
            self._later(self._end_pool, handler)
            return
        with this_thread.section, self._lock:
            known = ended in self.pools
            self.pools = tuple(pool for pool in self.pools if pool is not ended)
        ended.end()
        if known:
            with this_thread.section, self._lock:
                self._dropped += ended.inbox.dropped

    def _add_pool(self, pool: Pool) -> None:
        if this_thread.inside():
            self._later(self._add_pool, pool)
            return
        with this_thread.section, self._lock:
            self.pools = (*self.pools, pool)

    # --- the I/O thread ----------------------------------------------------------------------------------------------

    def of_method(self, method: str) -> Handler | None:
        """Return the handler for calls of this method; None if there is none."""
        try:
            return self._methods.get(method)
        except TypeError:  # not hashable: a user-defined protocol returned something else than a name
            return None

    def of_topic(self, topic: str) -> tuple[Handler, ...]:
        """Return the handlers for events of this topic."""
        try:
            return self._topics.get(topic, ())
        except TypeError:  # as in `of_method`
            return ()

    def post(
        self, handler: Handler, fn: Callable[..., object], args: tuple[Any, ...], size: int, must_keep_reading: bool
    ) -> None:
        """Run a job of a handler on its thread.

        With the policy ``"latest"``, an event replaces an older one for the same handler. A call never replaces
        another, since each needs its own answer.
        """
        key: Hashable = handler if fn is handler.fn else object()
        if handler.pool is None:
            verdict = self._hooks.post_job(handler.name, fn, args, size, key=key, must_keep_reading=must_keep_reading)
        else:
            verdict = handler.pool.put(handler.name, fn, args, size, key=key, must_keep_reading=must_keep_reading)
        if verdict is Put.FIRST_LOSS:
            self._hooks.post_error(SlowConsumer(
                f"{handler.name} can't keep up, so some of its messages are dropped. Do less in it, give it more "
                "workers=, or give receive_queue= more room."
            ))  # fmt: skip

    @property
    def full(self) -> bool:
        """Whether a pool's queue is full, so that reading should pause."""
        return any(pool.inbox.full for pool in self.pools)

    @property
    def dropped(self) -> int:
        """Jobs that the queues of the pools have dropped."""
        return self._dropped + sum(pool.inbox.dropped for pool in self.pools)

    def end(self) -> None:
        """Accept no more jobs; the threads still run those that are queued."""
        for pool in self.pools:
            pool.end()

    def _make(self, call: str, name: str, fn: Callable[[Any], object], workers: int) -> Handler:
        if not isinstance(name, str):
            raise TypeError(f"{call} takes a name, not {name!r}.")
        if fn is None:
            raise TypeError(f"{call}({name!r}) takes a function, not None.")
        check_callable(f"{call}({name!r})", fn)
        check_count("workers", workers, zero=True)
        pool = None
        if workers:
            threads = f"{self._name}-worker-{next(self._numbers)}"
            pool = Pool(threads, workers, self._bounds, self._hooks, self._on_room)
            self._add_pool(pool)
        return Handler(f"{call}({name!r})", fn, pool)
