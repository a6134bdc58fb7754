"""What comes in, to whom it belongs: the request, a stream, a hook.

Owned by the I/O thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from . import _requests
from ._errors import ProtocolError
from ._outgoing import Outgoing, encoded
from ._pending import FAILED, OLDEST, Request
from .protocols import Control, Event, Failure, Reply

if TYPE_CHECKING:
    from ._core import Core
    from ._wire import Wire
    from .protocols import Incoming

__all__ = ["Router"]

_KINDS = (Reply, Failure, Event, Control)
_OUT_OF_ORDER = "{}, and where replies are told apart by their order alone, nobody can say whose the next one is."


class Aside(NamedTuple):
    """A message that came while the connection was set up.

    Attributes:
        message: what came.
        size: its bytes.
        is_reply: whether it answers a request that nobody waits for.
    """

    message: Any
    size: int
    is_reply: bool


class Router:
    """Gives each incoming message to whoever it is for.

    Attributes:
        aside: until the connection is open, messages that answer nothing, in order; None afterwards.
        aside_bytes: their payload bytes.
        leaving: whether the connection is ending.
        pressing: whether reading goes on although a queue is full, because a request waits.
    """

    __slots__ = ("_core", "_wire", "aside", "aside_bytes", "leaving", "pressing")

    def __init__(self, core: Core, wire: Wire) -> None:
        """
        Args:
            core: the client.
            wire: the way out, which knows what has been written.
        """
        self._core = core
        self._wire = wire
        self.aside: deque[Aside] | None = deque()
        self.aside_bytes = 0
        self.pressing = False
        self.leaving = False

    def receive(self, payload: str | bytes, size: int) -> None:
        """A message has come.

        Args:
            payload: text or binary payload.
            size: its bytes.

        Raises:
            ProtocolError: the message protocol says that the connection can't go on.
        """
        counters = self._core.counters
        counters.messages_received += 1
        counters.bytes_received += size
        try:
            meaning = self._core.protocol.decode(payload)
            if meaning is None:
                return
            if not isinstance(meaning, _KINDS):
                meaning = list(meaning)
        except ProtocolError:
            raise
        except Exception as cause:
            if self._core.protocol._by_order:
                raise ProtocolError(_OUT_OF_ORDER.format(f"A message could not be decoded ({cause})")) from cause
            self._skip(payload, cause)
            return
        if isinstance(meaning, list):
            self._deliver_all(meaning, payload, size)
        else:
            self._deliver(meaning, size)

    def release(self) -> None:
        """The connection is open: what was set aside goes where it belongs."""
        aside, self.aside = self.aside, None
        for message, size, is_reply in aside or ():
            # No match= request may have one: each was sent later than these came.
            self._hand_out(message, size, is_reply=is_reply)

    def take_aside(self) -> Any:
        """The oldest message that was set aside."""
        assert self.aside
        taken = self.aside.popleft()
        self.aside_bytes -= taken.size
        return taken.message

    def event(self, message: Any, size: int) -> None:
        """A message that answers nothing by its id: for a ``match=`` request, else for every stream and the hook."""
        if self._is_matched(message):
            return
        core = self._core
        if self.aside is not None:
            self._set_aside(Aside(message, size, False))
            return
        if self.leaving and core.full:
            core.streams.dropped += 1  # we read on for the close frame alone; nobody is to end for it
            return
        self._hand_out(message, size)

    def _deliver_all(self, meanings: Iterable[Incoming], payload: str | bytes, size: int) -> None:
        for meaning in meanings:
            if isinstance(meaning, _KINDS):
                self._deliver(meaning, size)
            else:
                self._skip(
                    payload, TypeError(f"decode() gave {meaning!r}, which is none of the things a message can mean")
                )

    def _deliver(self, meaning: Incoming, size: int) -> None:
        if isinstance(meaning, Event):
            self.event(meaning.message, size)
            return
        if isinstance(meaning, Control):
            self._answer(meaning)
            return
        core = self._core
        request = core.pending.find(meaning.id)
        value = meaning.value if isinstance(meaning, Reply) else meaning.error
        if meaning.id is OLDEST and not self._is_asked(request):
            self.event(value, size)  # nothing was asked, so it answers nothing
            return
        if request is None:
            self._unclaimed(value, size)
            return
        place = request.place
        if request.outcome is not None:  # given up, and kept its place in the row until its last message has come
            if isinstance(meaning, Failure) or self._accepts(request, request.until, value):
                core.pending.drop_place(request)
            self._unclaimed(value, size)
            return
        if isinstance(meaning, Reply) and not self._accepts(request, request.until, value):
            if core.protocol._by_order and request.outcome is FAILED:
                raise ProtocolError(_OUT_OF_ORDER.format("until= raised"))
            return
        if place is not None and request.written():
            place[0].confirm(place[1])
        if isinstance(meaning, Failure):
            done = _requests.fail(core, request, meaning.error)
        else:
            done = _requests.answer(core, request, value)
        core.pending.drop_place(request)
        if not done:
            self._unclaimed(value, size)

    def _answer(self, control: Control) -> None:
        if control.answer is not None:
            opcode, payload = encoded(control.answer)
            self._wire.send_first(Outgoing(opcode, payload, len(payload), bound=self._wire.passage.number))

    def _is_asked(self, request: Request | None) -> bool:
        """Whether the whole of the oldest request is on its way, so that it can be answered."""
        if request is not None and not request.written():
            self._wire.settle()
        return request is not None and request.written()

    def _set_aside(self, message: Aside) -> None:
        assert self.aside is not None
        self.aside.append(message)
        self.aside_bytes += message.size

    def _unclaimed(self, value: Any, size: int) -> None:
        """A reply for which no request waits: late, or unknown."""
        if self._is_matched(value):
            return
        self._core.counters.late += 1
        if self.aside is not None:
            self._set_aside(Aside(value, size, True))
        else:
            self._hand_out(value, size, is_reply=True)

    def _hand_out(self, message: Any, size: int, *, is_reply: bool = False) -> None:
        """To whoever listens; a reply that nobody waits for goes to ``on_message`` alone."""
        if not is_reply:
            self._core.streams.offer(message, size, pressing=self.pressing)
        self._core.hooks.post_message(message, size, pressing=self.pressing)

    def _is_matched(self, message: Any) -> bool:
        """Whether a ``match=`` request in flight takes the message."""
        for request in self._core.pending.matching():
            if self._accepts(request, request.match, message) and self._accepts(request, request.until, message):
                return _requests.answer(self._core, request, message)
        return False

    def _accepts(self, request: Request, test: Any, message: Any) -> bool:
        """Whether the caller's own function wants the message; if it raises, its request ends with that error."""
        if test is None:
            return True
        try:
            return bool(test(message))
        except Exception as error:
            _requests.fail(self._core, request, error)
            return False

    def _skip(self, payload: str | bytes, cause: Exception) -> None:
        error = ProtocolError(f"A message could not be decoded and is skipped: {cause}.", payload=payload)
        error.__cause__ = cause
        self._core.hooks.post_error(error)
