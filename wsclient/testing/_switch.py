"""The one thread of a ``FaultProxy``: takes connections, hands bytes on, and puts the faults into force.

Guarantees:
    * One thread owns every socket, flow and fault. Other threads hand it *orders* (a deque and a wake-up) and wait
      until they are carried out; so what an order changes is in force when its caller goes on.
    * Nothing blocks that thread but its ``select``: all sockets are non-blocking, and the target's name was looked up
      before.
    * At most ``BUFFER_SIZE`` bytes are under way in each direction of each connection; then its sender is not read.
    * If the thread fails, that is logged, and every order from then on raises.
"""

from __future__ import annotations

import contextlib
import logging
import random
import selectors
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import Final

from .._latch import Latch, Signal
from .._wakeup import READ, WRITE, Wakeup
from ._lines import DOWN, UP, Address, Line
from ._proxy_stats import ProxyStats
from ._shaping import Shape
from ._sockets import abort

__all__ = ["Faults", "Order", "Switch"]

LINGER: Final = 1.0
"""Seconds in which a line that was cut is still read, to throw away what comes: a socket that is closed with bytes
unread sends a RST, and the peer would see that instead of the FIN (RFC 2525 §2.17)."""

_ACCEPTED_AT_ONCE: Final = 64
_BOTH: Final = (UP, DOWN)
_log = logging.getLogger("wsclient.testing")


class Faults:
    """What is wrong with the line at present.

    Attributes:
        shape: latency, jitter, bandwidth.
        frozen: nothing moves.
        refusing: new connections are turned away.
        dropping: directions whose bytes are swallowed.
        cut_after: by direction, the bytes that may still pass before the line that carries the last one is cut.
    """

    __slots__ = ("cut_after", "dropping", "frozen", "refusing", "shape")

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.frozen = False
        self.refusing = False
        self.dropping: frozenset[str] = frozenset()
        self.cut_after: dict[str, int] = {}


class Order:
    """Something another thread wants done.

    Attributes:
        call: what to do, on the proxy's thread.
        done: opens when it is done.
        error: what it raised instead.
    """

    __slots__ = ("call", "done", "error")

    def __init__(self, call: Callable[[], None]) -> None:
        self.call = call
        self.done = Latch()
        self.error: BaseException | None = None


class Switch:
    """The proxy's loop; ``run`` is its thread. All other methods but ``submit`` and ``stats`` belong to that thread.

    Attributes:
        faults: what is wrong with the line; changed by orders only.
        changed: announced whenever a figure may have changed.
        failure: why the thread has ended before its time; None while it has not.
    """

    __slots__ = (
        "_addresses",
        "_chance",
        "_counts",
        "_lines",
        "_lingering",
        "_listener",
        "_orders",
        "_running",
        "_selector",
        "_wakeup",
        "changed",
        "failure",
        "faults",
    )  # fmt: skip

    def __init__(self, listener: socket.socket, addresses: list[Address], shape: Shape, seed: int) -> None:
        """
        Args:
            listener: where clients connect; closed at the end.
            addresses: those of the target, tried in turn.
            shape: latency, jitter and bandwidth to begin with.
            seed: for the jitter.
        """
        listener.setblocking(False)
        self.faults = Faults(shape)
        self.changed = Signal()
        self.failure: Exception | None = None
        self._listener = listener
        self._addresses = addresses
        self._chance = random.Random(seed)  # noqa: S311 - jitter that can be repeated, no secret
        self._counts: Counter[str] = Counter()
        self._lines: dict[Line, None] = {}
        self._lingering: dict[socket.socket, float] = {}  # and until when
        self._orders: deque[Order] = deque()
        self._running = True
        self._wakeup = Wakeup()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wakeup, READ)
        self._selector.register(listener, READ)

    def submit(self, order: Order) -> None:
        """Have an order carried out. From any thread."""
        self._orders.append(order)
        self._wakeup.wake()
        if not self._running:  # the thread may have looked for the last time
            self._carry_out_orders()

    def stats(self) -> ProxyStats:
        """The figures. From any thread."""
        counts = self._counts.copy()
        return ProxyStats(open=len(self._lines), **counts)

    # --- the loop ----------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Forward until ``stop``."""
        try:
            while self._running:
                self._turn()
        except Exception as error:
            self.failure = error
            _log.exception("The thread of a FaultProxy failed.")
        finally:
            self._running = False
            self._give_everything_back()
            self._carry_out_orders()
            self.changed.announce()

    def stop(self) -> None:
        """End after this turn."""
        self._running = False

    def _turn(self) -> None:
        for key, _ in self._selector.select(self._patience(time.monotonic())):
            if key.fileobj is self._wakeup:
                self._wakeup.clear()
            elif key.fileobj is self._listener:
                self.take_waiting_clients()
            elif key.data is not None:
                self._look_at(key.data, key.fd)
            else:
                self._throw_away(key.fileobj)  # type: ignore[arg-type]
        self._carry_out_orders()
        now = time.monotonic()
        if not self.faults.frozen:
            for line in list(self._lines):
                self._move(line, now)
        for sock in [sock for sock, until in self._lingering.items() if now >= until]:
            self._forget_lingering(sock)
        for line in self._lines:
            self._watch(line)
        self.changed.announce()

    def _patience(self, now: float) -> float | None:
        moments = list(self._lingering.values())
        if not self.faults.frozen:
            for line in self._lines:
                moments += [
                    at
                    for way in _BOTH
                    if self._can_move(line, way) and (at := line.flows[way].next_at(now)) is not None
                ]
        return max(0.0, min(moments) - now) if moments else None

    def _can_move(self, line: Line, direction: str) -> bool:
        """Whether time may bring something on; not where a socket has to say so first, nor behind the end."""
        if not line.connected or direction in line.stuck or direction in line.shut:
            return False
        return direction not in self.faults.dropping or line.flows[direction].size > 0

    def _carry_out_orders(self) -> None:
        while self._orders:
            try:
                order = self._orders.popleft()
            except IndexError:  # another thread was faster: the loop has ended, and submit() helps
                return
            try:
                if not self._running:
                    raise RuntimeError("The FaultProxy is closed, or its thread has failed.") from self.failure
                order.call()
            except Exception as error:  # raised where the order came from
                order.error = error
            order.done.open()

    # --- one line's bytes --------------------------------------------------------------------------------------------

    def take_waiting_clients(self) -> None:
        """Accept who has connected, or turn him away."""
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                near, _ = self._listener.accept()
            except OSError:  # no more of them; or the client is gone already
                return
            if self.faults.refusing:
                self._counts["refused"] += 1
                abort(near)
                continue
            self._counts["accepted"] += 1
            self._lines[Line(near, self._addresses, self.faults.shape, self._chance)] = None

    def _look_at(self, line: Line, descriptor: int) -> None:
        """One of a line's sockets is ready."""
        if line not in self._lines:
            return  # an event before it, or an order, has ended the line
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
        """Begin to connect, hand on what is due, and end the line when both directions are over."""
        if line.far is None and not line.connect():
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
        """Have the selector wait for what the line can use: room to write where something is due, bytes where there is
        room for them.
        """
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

    # --- the end of lines --------------------------------------------------------------------------------------------

    def lines(self) -> list[Line]:
        """Those that are open, oldest first."""
        return list(self._lines)

    def cut(self, lines: Iterable[Line]) -> None:
        """End lines with a FIN on both sides; what is still under way is lost."""
        for line in lines:
            self._remove(line)
            self._counts["cut"] += 1
            if line.far is not None and not line.connected:
                line.drop_far()
            for sock in line.sockets():
                self._linger(sock)

    def reset(self, lines: Iterable[Line]) -> None:
        """End lines with a RST on both sides."""
        for line in lines:
            self._counts["reset"] += 1
            self._end_with_reset(line)

    def reshape(self, shape: Shape) -> None:
        """Make the line slow, or fast again."""
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

    def _linger(self, sock: socket.socket) -> None:
        try:
            sock.shutdown(socket.SHUT_WR)
        except OSError:  # the peer has ended it
            sock.close()
            return
        self._lingering[sock] = time.monotonic() + LINGER
        self._want(sock, READ, None)

    def _throw_away(self, sock: socket.socket) -> None:
        try:
            over = not sock.recv(64 * 1024)
        except (BlockingIOError, InterruptedError):
            over = False
        except OSError:
            over = True
        if over:
            self._forget_lingering(sock)

    def _forget_lingering(self, sock: socket.socket) -> None:
        if self._lingering.pop(sock, None) is not None:
            self._want(sock, 0, None)
            sock.close()

    def _give_everything_back(self) -> None:
        self.cut(self.lines())
        for sock in list(self._lingering):
            with contextlib.suppress(OSError):  # there is no more, or no peer
                while sock.recv(64 * 1024):
                    pass
            self._forget_lingering(sock)
        self._selector.close()
        self._listener.close()
        self._wakeup.close()
