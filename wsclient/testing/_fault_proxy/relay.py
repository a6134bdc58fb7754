"""The connections of a ``FaultProxy``, the faults that are applied to their bytes, and the counts.

Only the proxy's thread uses this module, except ``stats``. At most ``BUFFER_SIZE`` bytes are in transit in each
direction of each connection; at this limit, no more bytes are read from the sender.
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
from .._servers.sockets import close_with_reset
from .linger import Linger
from .pipe import DOWN, UP, Address, Pipe
from .proxy_stats import ProxyStats
from .shaping import Shape

__all__ = ["Faults", "Relay"]

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


class Relay:
    """All connections. Their sockets are registered in the selector with the connection's ``Pipe`` as data.

    Attributes:
        faults: the present faults.
    """

    __slots__ = ("_addresses", "_counts", "_linger", "_pipes", "_random_numbers", "_selector", "faults")

    def __init__(
        self,
        selector: selectors.BaseSelector,
        linger: Linger,
        addresses: list[Address],
        shape: Shape,
        seed: int,
    ) -> None:
        """
        Args:
            selector: the proxy's selector.
            linger: receives the sockets of connections that are cut.
            addresses: the target's addresses, tried in order.
            shape: the initial latency, jitter and bandwidth.
            seed: the seed of the jitter's random numbers.
        """
        self.faults = Faults(shape)
        self._selector = selector
        self._linger = linger
        self._addresses = addresses
        self._random_numbers = random.Random(seed)  # noqa: S311 - repeatable jitter, not a secret
        self._counts: Counter[str] = Counter()
        self._pipes: dict[Pipe, None] = {}

    def stats(self) -> ProxyStats:
        """The counts. Thread-safe."""
        counts = self._counts.copy()
        return ProxyStats(open=len(self._pipes), **counts)

    def next_at(self, now: float) -> float | None:
        """When bytes or the end of a stream become due by time alone (monotonic clock, seconds); None for never."""
        if self.faults.frozen:
            return None
        ways = [(pipe, way) for pipe in self._pipes for way in _BOTH if self._can_move(pipe, way)]
        moments = [pipe.flows[way].next_at(now) for pipe, way in ways]
        return min((at for at in moments if at is not None), default=None)

    def move(self, now: float) -> None:
        """Forward the bytes that are due; none while the proxy is frozen."""
        if not self.faults.frozen:
            for pipe in list(self._pipes):
                self._move(pipe, now)

    def watch(self) -> None:
        """Register in the selector, for each connection, the events that it can use now."""
        for pipe in self._pipes:
            self._watch(pipe)

    def _can_move(self, pipe: Pipe, direction: str) -> bool:
        """Whether the loop must wake when the flow's bytes or its end become due (``Flow.next_at``). Not in three
        cases: a socket event is needed first; the end of the stream was forwarded; or the direction is dropped and its
        flow contains no bytes, since the end of a stream is not forwarded while its direction is dropped.
        """
        if not pipe.connected or direction in pipe.stuck or direction in pipe.shut:
            return False
        return direction not in self.faults.dropping or pipe.flows[direction].size > 0

    # --- one pipe's bytes --------------------------------------------------------------------------------------------

    def add(self, near: socket.socket) -> None:
        """Add the connection of a client, or refuse it."""
        if self.faults.refusing:
            self._counts["refused"] += 1
            close_with_reset(near)
            return
        self._counts["accepted"] += 1
        self._pipes[Pipe(near, self._addresses, self.faults.shape, self._random_numbers)] = None

    def handle_event(self, pipe: Pipe, descriptor: int) -> None:
        """Handle an event of one of a connection's sockets."""
        if pipe not in self._pipes:
            return  # an earlier event or a command has ended the connection
        if pipe.far is not None and not pipe.connected and descriptor == pipe.far.fileno():
            if not pipe.check_connected():
                self._selector.unregister(pipe.far)
                pipe.drop_far()
            return
        now = time.monotonic()
        direction = UP if descriptor == pipe.near.fileno() else DOWN
        pipe.stuck.discard(DOWN if direction == UP else UP)
        if pipe.flows[direction].room:
            try:
                pipe.read(direction, now)
            except OSError:
                self._end_with_reset(pipe)

    def _move(self, pipe: Pipe, now: float) -> None:
        """Begin to connect to the target, forward the bytes that are due, and close the connection at its end."""
        if pipe.far is None and not self._connects(pipe):
            self._counts["refused"] += 1
            self._end_with_reset(pipe)
            return
        if not pipe.connected:
            return
        try:
            for direction in _BOTH:
                self._forward(pipe, direction, now)
        except OSError:
            if pipe in self._pipes:
                self._end_with_reset(pipe)
            return
        if len(pipe.shut) == 2 and pipe in self._pipes:
            self._remove(pipe)
            pipe.close()

    def _connects(self, pipe: Pipe) -> bool:
        try:
            return pipe.connect()
        except OSError as error:  # there is no file descriptor left
            _log.warning("A FaultProxy can't connect to its target (%s), so it refuses the client.", error)
            return False

    def _forward(self, pipe: Pipe, direction: str, now: float) -> None:
        flow, faults = pipe.flows[direction], self.faults
        while pipe in self._pipes and (data := flow.due(now)) is not None:
            if direction in faults.dropping:
                flow.taken(len(data), now)
                self._counts["dropped"] += len(data)
                continue
            if direction in pipe.stuck:
                return
            sent = pipe.write(direction, data[: faults.cut_after.get(direction)])
            if sent:
                flow.taken(sent, now)
                self._counts[f"bytes_{direction}"] += sent
            if direction in faults.cut_after:
                faults.cut_after[direction] -= sent
                if faults.cut_after[direction] == 0:
                    del faults.cut_after[direction]
                    self.cut([pipe])
        if pipe in self._pipes and direction not in pipe.shut and direction not in faults.dropping and flow.over(now):
            pipe.forward_end(direction)

    def _watch(self, pipe: Pipe) -> None:
        """Register the events that a connection can use; none while the proxy is frozen.

        Writable: while the target's socket connects, and after a socket did not accept all bytes. Readable: if the flow
        of the socket's bytes has room.
        """
        wanted = dict.fromkeys(pipe.sockets(), 0)
        if not self.faults.frozen:
            if pipe.far is not None and not pipe.connected:
                wanted[pipe.far] |= WRITE
            for direction in _BOTH:
                source, sink = pipe.source(direction), pipe.sink(direction)
                if source is not None and pipe.flows[direction].room and (source is pipe.near or pipe.connected):
                    wanted[source] |= READ
                if sink is not None and direction in pipe.stuck:
                    wanted[sink] |= WRITE
        for sock, events in wanted.items():
            self._want(sock, events, pipe)

    def _want(self, sock: socket.socket, events: int, pipe: Pipe | None) -> None:
        try:
            known = self._selector.get_key(sock)
        except KeyError:
            if events:
                self._selector.register(sock, events, pipe)
            return
        if not events:
            self._selector.unregister(sock)
        elif known.events != events or known.data is not pipe:
            self._selector.modify(sock, events, pipe)

    # --- the end of connections --------------------------------------------------------------------------------------

    def pipes(self) -> list[Pipe]:
        """The open connections, oldest first."""
        return list(self._pipes)

    def cut(self, pipes: Iterable[Pipe]) -> None:
        """End connections with a FIN on both sides; bytes in transit are lost."""
        for pipe in pipes:
            self._remove(pipe)
            self._counts["cut"] += 1
            if pipe.far is not None and not pipe.connected:
                pipe.drop_far()
            for sock in pipe.sockets():
                self._linger.add(sock)

    def reset(self, pipes: Iterable[Pipe]) -> None:
        """End connections with a RST on both sides."""
        for pipe in pipes:
            self._counts["reset"] += 1
            self._end_with_reset(pipe)

    def reshape(self, shape: Shape) -> None:
        """Change latency, jitter and bandwidth of all connections."""
        self.faults.shape = shape
        for pipe in self._pipes:
            for flow in pipe.flows.values():
                flow.shape = shape

    def _end_with_reset(self, pipe: Pipe) -> None:
        self._remove(pipe)
        pipe.abort()

    def _remove(self, pipe: Pipe) -> None:
        del self._pipes[pipe]
        for sock in pipe.sockets():
            self._want(sock, 0, None)
