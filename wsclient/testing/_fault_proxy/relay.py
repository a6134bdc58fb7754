"""The connections of a ``FaultProxy``, the faults that are applied to their bytes, and the counts.

Only the proxy's thread uses this module, except ``stats``. At most ``BUFFER_SIZE`` bytes are under way in each
direction of each connection; beyond that, nothing more is read from the sender.
"""

from __future__ import annotations

import logging
import random
import selectors
import socket
import time
from collections import Counter
from collections.abc import Iterable
from typing import Final

from ..._network.poller import READ, WRITE
from .._servers.sockets import abort
from .linger import Lingering
from .pipe import DOWN, UP, Address, Line
from .proxy_stats import ProxyStats
from .shaping import Shape

__all__ = ["Faults", "Traffic"]

_BOTH: Final = (UP, DOWN)
_log = logging.getLogger("wsclient.testing")


class Faults:
    """The present faults of all connections.

    Attributes:
        shape: latency, jitter, bandwidth.
        frozen: whether nothing is forwarded.
        refusing: whether new connections are refused.
        dropping: the directions whose bytes are discarded.
        cut_after: by direction, how many bytes are still forwarded before the connection of the last byte is cut.
    """

    __slots__ = ("cut_after", "dropping", "frozen", "refusing", "shape")

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.frozen = False
        self.refusing = False
        self.dropping: frozenset[str] = frozenset()
        self.cut_after: dict[str, int] = {}


class Traffic:
    """All connections. Their sockets are registered in the selector with the connection's ``Line`` as data.

    Attributes:
        faults: the present faults.
    """

    __slots__ = ("_addresses", "_chance", "_counts", "_lines", "_lingering", "_selector", "faults")

    def __init__(
        self,
        selector: selectors.BaseSelector,
        lingering: Lingering,
        addresses: list[Address],
        shape: Shape,
        seed: int,
    ) -> None:
        """
        Args:
            selector: the proxy's selector.
            lingering: takes over the sockets of connections that are cut.
            addresses: the target's addresses, tried in order.
            shape: the initial latency, jitter and bandwidth.
            seed: the seed of the jitter's random numbers.
        """
        self.faults = Faults(shape)
        self._selector = selector
        self._lingering = lingering
        self._addresses = addresses
        self._chance = random.Random(seed)  # noqa: S311 - repeatable jitter, not a secret
        self._counts: Counter[str] = Counter()
        self._lines: dict[Line, None] = {}

    def stats(self) -> ProxyStats:
        """The counts. Any thread."""
        counts = self._counts.copy()
        return ProxyStats(open=len(self._lines), **counts)

    def next_at(self, now: float) -> float | None:
        """When bytes or the end of a stream become due by time alone (monotonic clock, seconds); None for never."""
        if self.faults.frozen:
            return None
        ways = [(line, way) for line in self._lines for way in _BOTH if self._can_move(line, way)]
        moments = [line.flows[way].next_at(now) for line, way in ways]
        return min((at for at in moments if at is not None), default=None)

    def move(self, now: float) -> None:
        """Forward what is due; nothing while the proxy is frozen."""
        if not self.faults.frozen:
            for line in list(self._lines):
                self._move(line, now)

    def watch(self) -> None:
        """Register the events that each connection can use now in the selector."""
        for line in self._lines:
            self._watch(line)

    def _can_move(self, line: Line, direction: str) -> bool:
        """Whether time alone can make something due: not if a socket event is needed first, nor after the end."""
        if not line.connected or direction in line.stuck or direction in line.shut:
            return False
        return direction not in self.faults.dropping or line.flows[direction].size > 0

    # --- one line's bytes --------------------------------------------------------------------------------------------

    def welcome(self, near: socket.socket) -> None:
        """Add the connection of a client, or refuse it."""
        if self.faults.refusing:
            self._counts["refused"] += 1
            abort(near)
            return
        self._counts["accepted"] += 1
        self._lines[Line(near, self._addresses, self.faults.shape, self._chance)] = None

    def look_at(self, line: Line, descriptor: int) -> None:
        """Handle an event of one of a connection's sockets."""
        if line not in self._lines:
            return  # an earlier event, or an order, has ended the connection
        if line.far is not None and not line.connected and descriptor == line.far.fileno():
            if not line.check_connected():
                self._selector.unregister(line.far)
                line.drop_far()
            return
        now = time.monotonic()
        direction = UP if descriptor == line.near.fileno() else DOWN
        line.stuck.discard(DOWN if direction == UP else UP)
        if line.flows[direction].room:
            try:
                line.read(direction, now)
            except OSError:
                self._end_with_reset(line)

    def _move(self, line: Line, now: float) -> None:
        """Begin to connect to the target, forward what is due, and close the connection if both streams have ended."""
        if line.far is None and not self._connects(line):
            self._counts["refused"] += 1
            self._end_with_reset(line)
            return
        if not line.connected:
            return
        try:
            for direction in _BOTH:
                self._hand_on(line, direction, now)
        except OSError:
            if line in self._lines:
                self._end_with_reset(line)
            return
        if len(line.shut) == 2 and line in self._lines:
            self._remove(line)
            line.close()

    def _connects(self, line: Line) -> bool:
        try:
            return line.connect()
        except OSError as error:  # there is no file descriptor left
            _log.warning("A FaultProxy can't connect to its target (%s), so it refuses the client.", error)
            return False

    def _hand_on(self, line: Line, direction: str, now: float) -> None:
        flow, faults = line.flows[direction], self.faults
        while line in self._lines and (data := flow.due(now)) is not None:
            if direction in faults.dropping:
                flow.taken(len(data), now)
                self._counts["dropped"] += len(data)
                continue
            if direction in line.stuck:
                return
            sent = line.write(direction, data[: faults.cut_after.get(direction)])
            if sent:
                flow.taken(sent, now)
                self._counts[f"bytes_{direction}"] += sent
            if direction in faults.cut_after:
                faults.cut_after[direction] -= sent
                if faults.cut_after[direction] == 0:
                    del faults.cut_after[direction]
                    self.cut([line])
        if line in self._lines and direction not in line.shut and direction not in faults.dropping and flow.over(now):
            line.pass_end_on(direction)

    def _watch(self, line: Line) -> None:
        """Register the events that a connection can use: writable if bytes are due, readable if its flow has room."""
        wanted = dict.fromkeys(line.sockets(), 0)
        if not self.faults.frozen:
            if line.far is not None and not line.connected:
                wanted[line.far] |= WRITE
            for direction in _BOTH:
                source, sink = line.source(direction), line.sink(direction)
                if source is not None and line.flows[direction].room and (source is line.near or line.connected):
                    wanted[source] |= READ
                if sink is not None and direction in line.stuck:
                    wanted[sink] |= WRITE
        for sock, events in wanted.items():
            self._want(sock, events, line)

    def _want(self, sock: socket.socket, events: int, line: Line | None) -> None:
        try:
            known = self._selector.get_key(sock)
        except KeyError:
            if events:
                self._selector.register(sock, events, line)
            return
        if not events:
            self._selector.unregister(sock)
        elif known.events != events or known.data is not line:
            self._selector.modify(sock, events, line)

    # --- the end of connections --------------------------------------------------------------------------------------

    def lines(self) -> list[Line]:
        """The open connections, oldest first."""
        return list(self._lines)

    def cut(self, lines: Iterable[Line]) -> None:
        """End connections with a FIN on both sides; bytes that are under way are lost."""
        for line in lines:
            self._remove(line)
            self._counts["cut"] += 1
            if line.far is not None and not line.connected:
                line.drop_far()
            for sock in line.sockets():
                self._lingering.add(sock)

    def reset(self, lines: Iterable[Line]) -> None:
        """End connections with a RST on both sides."""
        for line in lines:
            self._counts["reset"] += 1
            self._end_with_reset(line)

    def reshape(self, shape: Shape) -> None:
        """Change latency, jitter and bandwidth of all connections."""
        self.faults.shape = shape
        for line in self._lines:
            for flow in line.flows.values():
                flow.shape = shape

    def _end_with_reset(self, line: Line) -> None:
        self._remove(line)
        line.abort()

    def _remove(self, line: Line) -> None:
        del self._lines[line]
        for sock in line.sockets():
            self._want(sock, 0, None)
