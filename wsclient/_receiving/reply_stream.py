"""Many answers to one request: ``stream()``, and what it has in common with ``subscribe()``.

A feed stands between the request and its stream. The I/O thread gives it answers, any thread may end it; what decides
is one atomic step (``_claim``). It holds its stream weakly: one that its reader forgot is closed with the next answer.
"""

from __future__ import annotations

import logging
import weakref
from typing import TYPE_CHECKING, Any

from .._errors import ClientClosed, WebSocketClientError

if TYPE_CHECKING:
    from .._requests.request import Request
    from ..protocols import Request as Wrapped
    from .context import ReceivingContext
    from .streams import Stream

__all__ = ["AnswersFeed", "Feed"]

_log = logging.getLogger("wsclient")


class Feed:
    """What both kinds have in common.

    Attributes:
        request: the one under way, or the last; None before the first.
    """

    endless = False
    """Whether a drain must not wait for the end of it."""

    def __init__(self, core: ReceivingContext) -> None:
        """
        Args:
            core: the client.
        """
        self.request: Request | None = None
        self._core = core
        self._reference: weakref.ref[Any] | None = None
        self._open = [True]

    def attach(self, stream: Stream) -> None:
        """The stream is made; the feed holds it weakly."""
        self._reference = weakref.ref(stream)

    def _stream(self) -> Any:
        """The stream, if its reader still holds it."""
        return None if self._reference is None else self._reference()

    def item(self, value: Any, size: int, pressing: bool) -> None:
        """One of the answers. I/O thread only."""
        stream = self._stream()
        if stream is None:
            self.leave(None)
        else:
            self._core.streams.feed(stream, value, size, pressing)

    def departed(self, request: Request) -> None:
        """The request is about to be written, under its id. Whoever owns the way out."""

    def leave(self, stream: Stream | None) -> None:
        """The reader wants no more, or there is no more to come. Any thread."""
        first = self._claim()  # before looking for what is to be forgotten: whoever adds to it looks behind that again
        self._forget(stream)
        if first:
            self._left()
            request = self.request
            if request is not None and not self._must_wait() and self._give_up(request):
                self._unsubscribe(request)

    def _left(self) -> None:
        """It was ended from outside, once."""

    def _forget(self, stream: Stream | None) -> None:
        """Take it out of the client's tables."""
        if stream is not None:
            self._core.streams.discard(stream)

    def _must_wait(self) -> bool:
        """Whether only the reply, when it comes, will tell what to unsubscribe from."""
        return False

    def _claim(self) -> bool:
        """True for the one caller who may end it."""
        try:
            return self._open.pop()
        except IndexError:
            return False

    def _finish(self, error: BaseException | None) -> None:
        """No more will come, and the server need not be told."""
        if self._claim():
            stream = self._stream()
            if stream is not None:
                self._core.streams.discard(stream)
                stream._end(error)

    def _give_up(self, request: Request) -> bool:
        """Want no answer any more; True if the server may have seen the request, and has not ended the answers."""
        return self._core.requests.cancel(request)

    def _goodbye(self, request: Request) -> Any | Wrapped | None:
        """What ends it on the server's side; None if there is nothing to say."""
        raise NotImplementedError

    def _unsubscribe(self, request: Request) -> None:
        """Tell the server that it may stop; it may be too late for that."""
        core, position = self._core, request.position
        if position is not None and position[0].ended:
            return
        # Without a position it is being written at this moment.
        number = core.sender.connection_number if position is None else position[0].number
        try:
            message = self._goodbye(request)
            if message is not None:
                core.requests.send_unseen(message, connection_number=number)
        except WebSocketClientError as error:
            _log.debug("%s: an unsubscribe was not sent: %s", core.settings.name, error)
        except Exception:  # the caller's function, or a protocol of the user's own
            _log.exception("%s: an unsubscribe could not be made.", core.settings.name)


class AnswersFeed(Feed):
    """All answers to one request."""

    def complete(self, value: Any, error: BaseException | None) -> None:
        """The request has ended: with its last answer, which the stream has already, or with an error."""
        self._finish(None if isinstance(error, ClientClosed) else error)

    def _goodbye(self, request: Request) -> Any | Wrapped | None:
        return self._core.protocol.unsubscribe(request.message, request.id, None)
