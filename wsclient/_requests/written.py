"""The requests that are in flight on one connection: where its replies are looked up.

Guarantees:
    * Only ``RequestTable`` changes a ``WrittenRequests``, under its lock.
    * Each connection has its own ``WrittenRequests``, and several may exist at the same time. An id needs to be unique
      on its connection only.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from .._threads.sections import this_thread
from ..protocols._incoming import OLDEST

if TYPE_CHECKING:
    import threading

    from .request import Request

__all__ = ["WrittenRequests"]


class WrittenRequests:
    """The requests that are in flight on one connection.

    Attributes:
        number: the connection's number.
        by_id: these requests, in the order in which they were taken for writing. A request is stored under the key of
            its id (``request.key_of``), or, if it has a ``match`` function, under the request object itself. The I/O
            thread looks up replies in it.
        matches: those of these requests that have a match function. The I/O thread reads it.
        uncounted: how many of these requests do not count for the limit (``counts_in_flight`` is False).
    """

    __slots__ = ("_lock", "by_id", "matches", "number", "uncounted")

    def __init__(self, number: int, lock: threading.Lock, *, by_order: bool) -> None:
        """
        Args:
            number: the connection's number.
            lock: the lock of the table of requests. It guards everything here.
            by_order: whether replies are correlated by their order alone.
        """
        self._lock = lock
        self.number = number
        self.by_id: dict[Any, Request] = {}
        self.matches: dict[Request, None] = {}
        self.uncounted = 0
        if by_order:
            self.keep_order()

    def keep_order(self) -> None:
        """Correlate replies by order from now on. The caller holds the lock.

        The oldest request is then looked up for each reply: an ``OrderedDict`` finds it at once, a ``dict`` first skips
        all deleted entries.
        """
        self.by_id = OrderedDict(self.by_id)

    @property
    def in_flight(self) -> int:
        """The number of requests that are written and unanswered. A subscription that is ``STREAMING`` is not counted:
        it may last for ever, and would use up the limit of requests in flight.
        """
        return len(self.by_id) - self.uncounted

    def find(self, id: Any) -> Request | None:
        """Return the request with this id, or None; it stays in flight. I/O thread and writer only."""
        if id is OLDEST:
            with this_thread.section, self._lock:
                return next(iter(self.by_id.values()), None)
        try:
            return self.by_id.get((bool, id) if type(id) is bool else id)
        except TypeError:  # an unhashable id: no request has it
            return None

    def matching(self) -> list[Request]:
        """Return the requests that have a match function, oldest first. I/O thread only."""
        return list(self.matches) if self.matches else []
