"""Calls of the server's that came as one array, and are answered with one (JSON-RPC 2.0 §6).

Guarantees:
    * Handlers on any threads may add their answers; the last one of the array gets all of them, and no other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .._threads.locks import make_lock
from ._incoming import Call

__all__ = ["Answers", "BatchCall"]


class Answers:
    """The answers to the calls of one array."""

    __slots__ = ("_lock", "_missing", "_payloads")

    def __init__(self, calls: int) -> None:
        """
        Args:
            calls: how many answers there will be.
        """
        # Guards the payloads and how many are missing.
        self._lock = make_lock()
        self._missing = calls
        self._payloads: list[str] = []

    def add(self, payload: str | bytes | None) -> str | None:
        """One more answer, or None where silence is one; gives the whole array with the last of them."""
        text = payload.decode() if isinstance(payload, bytes) else payload
        with self._lock:
            if text is not None:
                self._payloads.append(text)
            self._missing -= 1
            whole = self._payloads if self._missing <= 0 else None
        return f"[{','.join(whole)}]" if whole else None


@dataclass(slots=True)
class BatchCall(Call):
    """A call that came with others; ``answers`` collects what goes back."""

    answers: Any = None

    @classmethod
    def of(cls, call: Call, answers: Answers) -> BatchCall:
        """The call, as one of an array."""
        return cls(call.id, call.method, call.params, call.message, answers)
