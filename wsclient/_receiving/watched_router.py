"""The router of a client with ``quiet=``: it reports each message that may count to the clock of its connection.

A client without this option has a plain ``Router``, so its messages cost no further call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..protocols._incoming import ABSENT, OLDEST, Failure
from .router import Router

if TYPE_CHECKING:
    from .._requests.request import Completable, Request
    from ..protocols import Call, End, Item, Reply

__all__ = ["WatchedRouter"]


class WatchedRouter(Router):
    """Reports each message once, before it is delivered: events, replies and calls, for any receiver.

    Not reported: control messages of the protocol, answers to heartbeats, payloads without a meaning, and what comes
    during the set-up of the connection, except messages that are delivered when it is open.
    """

    __slots__ = ("_heard", "_heartbeats")

    def __init__(
        self, *arguments: Any, heard: Callable[[Any], object], heartbeats: Completable | None, **options: Any
    ) -> None:
        """
        Args:
            arguments: as for ``Router``.
            heard: called with each message, decoded; with ``ABSENT`` for an ``End`` without a message.
            heartbeats: the ``waiter`` of the requests that are heartbeats.
            options: as for ``Router``.
        """
        super().__init__(*arguments, **options)
        self._reports_replies = True
        self._heard = heard
        self._heartbeats = heartbeats

    def release(self) -> None:
        """See ``Router``."""
        for early in self.early_messages or ():
            self._heard(early.message)
        super().release()

    def event(self, message: Any, size: int, topic: str | None = None, subscription_key: Any = None) -> None:
        """See ``Router``."""
        if self.early_messages is None:
            self._heard(message)
        super().event(message, size, topic, subscription_key)

    def _route_reply(self, meaning: Reply | Failure | Item | End, size: int) -> None:
        # If no request waits for a reply with the id OLDEST, `event` processes the reply, and reports it.
        if self.early_messages is None and meaning.id is not OLDEST and self._written.find(meaning.id) is None:
            self._heard(_message_of(meaning))
        super()._route_reply(meaning, size)

    def _apply_after_end(self, request: Request, meaning: Reply | Failure | Item | End, value: Any, size: int) -> None:
        self._note(request, meaning)
        super()._apply_after_end(request, meaning, value, size)

    def _apply_reply(self, request: Request, meaning: Reply | Failure | Item | End, value: Any, size: int) -> None:
        self._note(request, meaning)
        super()._apply_reply(request, meaning, value, size)

    def _route_call(self, call: Call, size: int) -> None:
        # Not reported here, because they are reported later: a call without a handler (by `event`), and an echo (when
        # it is processed as a reply).
        if self.early_messages is None and self._receivers.handlers.of_method(call.method) is not None:
            request = self._written.find(call.id)
            is_echo = (
                request is not None
                and request.match is None
                and self._protocol._echoes(call.message, request.payload, size)
            )
            if not is_echo:
                self._heard(call if call.message is ABSENT else call.message)
        super()._route_call(call, size)

    def _note(self, request: Request, meaning: Reply | Failure | Item | End) -> None:
        """Report a message that answers a request, unless the request is a heartbeat."""
        if self.early_messages is None and (self._heartbeats is None or request.waiter is not self._heartbeats):
            self._heard(_message_of(meaning))


def _message_of(meaning: Reply | Failure | Item | End) -> Any:
    """Return the message as ``on_message`` receives it if no request waits for it; ``ABSENT`` for an ``End`` without a
    message.
    """
    if meaning.message is not ABSENT:
        return meaning.message
    return meaning.error if isinstance(meaning, Failure) else meaning.value
