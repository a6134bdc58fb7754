"""Name look-ups, each on a short-lived thread: ``getaddrinfo`` can't be interrupted, and may take minutes.

Windows and macOS also look up the server's name to find out whether their proxy settings apply to a URL.

Guarantees:
    * The I/O thread waits for a look-up as it waits for a socket: commands and timers work meanwhile, and the wait ends
      at the deadline.
    * A look-up that has not ended at its deadline is abandoned: the I/O thread no longer waits for it, and its thread
      ends when the system's function returns. A later attempt that needs the same look-up waits for it instead of
      starting another one. At most ``_MAX_RUNNING`` look-ups of one client run at the same time.
    * The thread of a look-up has no reference to the client. It is a daemon thread, so the interpreter's exit does not
      wait for it.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from collections.abc import Callable, Hashable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from .._errors import ConnectError

if TYPE_CHECKING:
    from .._threads.waiting import Deadline
    from .poller import Watch

__all__ = ["Found", "Lookups", "address_of"]

_MAX_RUNNING: Final = 8
"""Look-ups of one client that may run at the same time. More than one runs only if earlier ones were abandoned.
Redirects, or a function that returns URLs, may cause look-ups of any number of names."""

_FRESH: Final = 60.0
"""Seconds for which the result of an abandoned look-up is used for the next attempt. Without this, a client could never
connect if every look-up takes longer than ``open_timeout``. These seconds are more than the longest delay of the
default back-off."""

Found = tuple[Any, Any, int, str, Any]
"""One address, as ``socket.getaddrinfo`` returns it."""

_T = TypeVar("_T")


class Lookups:
    """The name look-ups of one client. Only the I/O thread may use it."""

    __slots__ = ("_lookups", "_name", "_watch")

    def __init__(self, watch: Watch, name: str) -> None:
        """
        Args:
            watch: the waits of the I/O thread.
            name: the client's name, for the names of the threads.
        """
        self._watch = watch
        self._name = name
        self._lookups: dict[Hashable, _Lookup] = {}  # those that run, and results that were not used

    def find(self, host: str, port: int, deadline: Deadline, family: int = socket.AF_UNSPEC) -> list[Found]:
        """Return the addresses of a host, from ``getaddrinfo``. An IP address needs no look-up, and no thread.

        Args:
            host: its name or address.
            port: its port.
            deadline: when to abandon the look-up.
            family: the address family; by default any.

        Raises:
            ConnectError: the look-up did not end in time.
            OSError, UnicodeError: it found no address.
        """
        function = partial(_ask, host, port, family)
        try:
            return function() if address_of(host) is not None else self.run((host, port, family), function, deadline)
        except TimeoutError as error:
            raise ConnectError(
                f"The name {host!r} could not be looked up within open_timeout: the name servers of this system answer "
                "too slowly or not at all.",
                last=error,
            ) from error

    def run(self, key: Hashable, function: Callable[[], _T], deadline: Deadline) -> _T:
        """Call a function that looks up a name, on a thread of its own, and return its result.

        Args:
            key: equal for look-ups that have the same result.
            function: has no reference to the client.
            deadline: when to abandon the look-up.

        Raises:
            TimeoutError: it did not end in time.
            BaseException: the exception that the function raised.
        """
        lookup = self._lookups.get(key)
        if lookup is None or not lookup.is_usable():
            lookup = self._begin(key, function, deadline)
        self._watch.wait_until(lookup.has_ended, deadline)
        del self._lookups[key]
        return lookup.result()  # type: ignore[no-any-return]

    def _begin(self, key: Hashable, function: Callable[[], Any], deadline: Deadline) -> _Lookup:
        """Start a look-up. If too many run already, wait for the end of one of them."""
        self._watch.wait_until(self._has_room, deadline)
        self._lookups[key] = lookup = _Lookup(function, self._watch.wake)
        try:
            threading.Thread(target=lookup.run, name=f"{self._name}-lookup", daemon=True).start()
        except RuntimeError:  # no further thread can be started; a look-up that blocks is better than none
            lookup.run()
        return lookup

    def _has_room(self) -> bool:
        """Forget the results that are too old; return whether another look-up may run."""
        self._lookups = {key: lookup for key, lookup in self._lookups.items() if lookup.is_usable()}
        return sum(not lookup.has_ended() for lookup in self._lookups.values()) < _MAX_RUNNING


class _Lookup:
    """One look-up: its thread assigns the outcome, and then ``ended_at``, which the I/O thread reads first."""

    __slots__ = ("_error", "_function", "_value", "_wake", "ended_at")

    def __init__(self, function: Callable[[], Any], wake: Callable[[], None]) -> None:
        """
        Args:
            function: looks the name up.
            wake: wakes the I/O thread.
        """
        self._function = function
        self._wake = wake
        self._value: Any = None
        self._error: BaseException | None = None
        self.ended_at: float | None = None

    def run(self) -> None:
        """Look the name up, and wake the I/O thread. The error of an abandoned look-up is dropped: if the name is still
        needed, another look-up is made.
        """
        try:
            self._value = self._function()
        except BaseException as error:  # ``result`` raises it
            self._error = error
        self.ended_at = time.monotonic()
        self._wake()

    def has_ended(self) -> bool:
        """Whether ``result`` may be called."""
        return self.ended_at is not None

    def is_usable(self) -> bool:
        """Whether an attempt may wait for it or use its result: it runs, or succeeded a short time ago."""
        ended_at = self.ended_at
        return ended_at is None or (self._error is None and time.monotonic() - ended_at <= _FRESH)

    def result(self) -> Any:
        """Return the result, or raise the error. May be called once."""
        try:
            if self._error is not None:
                raise self._error
            return self._value
        finally:
            self._error = None  # otherwise the error, its traceback and this object form a cycle


def address_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The IP address if ``host`` is one; None if it is a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _ask(host: str, port: int, family: int) -> list[Found]:
    return socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
