"""Arrays of messages: their limit, and the calls of the server that came in one array and must be answered with one
array (JSON-RPC 2.0 §6).

Guarantees:
    * Handlers on any threads may add their answers. Only the call of ``add`` that completes the array returns it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .._errors import MessageTooBig
from .._threads.locks import make_lock
from .._threads.sections import this_thread
from ._incoming import Call

__all__ = ["Answers", "BatchCall", "batch_too_big"]


def batch_too_big(number: object, limit: int) -> MessageTooBig:
    """The error for a payload with too many messages.

    Args:
        number: how many it contains.
        limit: how many it may contain.
    """
    return MessageTooBig(
        f"The server sent {number} messages in one payload, over the limit of {limit}; raise max_batch of limits= to "
        "accept it."
    )


class Answers:
    """The answers to the calls of one array."""

    __slots__ = ("_lock", "_missing", "_payloads")

    def __init__(self, calls: int) -> None:
        """
        Args:
            calls: the number of calls in the array.
        """
        # Guards the payloads and the number of missing answers.
        self._lock = make_lock()
        self._missing = calls
        self._payloads: list[str] = []

    def add(self, payload: str | bytes | None) -> str | None:
        """Add the answer to one call.

        Args:
            payload: the encoded answer; None for a call that is not answered.

        Returns:
            The array of all answers if this was the last one and the array is not empty; else None.
        """
        text = payload.decode() if isinstance(payload, bytes) else payload
        with this_thread.section, self._lock:
            if text is not None:
                self._payloads.append(text)
            self._missing -= 1
            whole = self._payloads if self._missing <= 0 else None
        return f"[{','.join(whole)}]" if whole else None


@dataclass(slots=True)
class BatchCall(Call):
    """A call that came in an array.

    Attributes:
        answers: collects the answers to all calls of the array (``Answers``).
    """

    answers: Any = None

    @classmethod
    def of(cls, call: Call, answers: Answers) -> BatchCall:
        """A copy of a call, as a member of an array."""
        return cls(call.id, call.method, call.params, call.message, answers)
