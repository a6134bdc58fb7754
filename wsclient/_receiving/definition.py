"""What a caller has given to ``subscribe()``, and what is made of it on each connection."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..protocols._incoming import ABSENT

if TYPE_CHECKING:
    from .._requests.request import Request
    from ..protocols import Protocol

__all__ = ["SubscriptionDefinition"]


class SubscriptionDefinition:
    """The arguments of ``subscribe()`` that concern the server. They do not change.

    Attributes:
        match: returns True for messages of the subscription that have no subscription key; None without this option.
        resume: whether to subscribe again on the next connection.
        request_timeout: seconds for the replies to later requests; None waits without a limit.
    """

    __slots__ = ("_message", "_unsubscribe", "match", "request_timeout", "resume")

    def __init__(
        self,
        message: Any,
        *,
        match: Callable[[Any], bool] | None,
        unsubscribe: Any,
        resume: bool,
        request_timeout: float | None,
    ) -> None:
        """
        Args:
            message: the message that subscribes, or a function that returns it each time.
            match: see above.
            unsubscribe: the message that unsubscribes, a function ``f(subscribe_message, reply)`` or
                ``f(subscribe_message, reply, id)`` that returns that message, or None for the message that the protocol
                makes.
            resume: see above.
            request_timeout: see above.
        """
        self.match = match
        self.resume = resume
        self.request_timeout = request_timeout
        self._message = message if callable(message) else copy.deepcopy(message)
        self._unsubscribe = unsubscribe

    def subscribe_message(self) -> Any:
        """Return the message that subscribes, which the caller can't change any more.

        Raises:
            Exception: raised by the caller's function.
        """
        return copy.deepcopy(self._message()) if callable(self._message) else self._message

    def unsubscribe_message(self, request: Request, reply: Any, protocol: Protocol) -> Any:
        """Return the message that unsubscribes, or a ``protocols.Request`` with it if its reply is awaited. None: there
        is no such message.

        Args:
            request: the request that has subscribed.
            reply: its reply; ``ABSENT`` if none came.
            protocol: makes the message if the caller has given none.

        Raises:
            Exception: raised by the caller's function or by the protocol.
        """
        reply = None if reply is ABSENT else reply
        unsubscribe = self._unsubscribe
        if unsubscribe is None:
            return protocol.unsubscribe(request.message, request.id, reply)
        if not callable(unsubscribe):
            return unsubscribe
        if _takes_id(unsubscribe):
            return unsubscribe(request.message, reply, request.id)
        return unsubscribe(request.message, reply)


def _takes_id(function: Callable[..., Any]) -> bool:
    """Return whether an ``unsubscribe=`` function has a third parameter, for the id of the subscribe message.

    A third parameter with a default value is for the id only if its name is ``id``: a function that is made in a loop
    may store the loop's variable in a default (``lambda m, r, topic=topic: …``).
    """
    try:
        signature = inspect.signature(function)
        signature.bind(None, None, None)
    except (TypeError, ValueError):  # it has two parameters, or is a C function without a signature
        return False
    third = [*signature.parameters.values()][2:3]
    return all(one.default is one.empty or one.name == "id" for one in third)
