"""The base class of the testing kit's servers; its ``close()`` raises the first exception of the test's code."""

from __future__ import annotations

from ..._typing import Self

__all__ = ["Service"]


class Service:
    """A server that runs code of the test.

    Attributes:
        errors: the exceptions of that code. ``close()`` raises the first of them, unless the ``with`` block has raised
            an exception itself. Remove expected exceptions with ``clear()``.
    """

    def __init__(self) -> None:
        self.errors: list[Exception] = []

    def stop(self) -> None:
        """Stop listening, and end every connection.

        Raises:
            TimeoutError: code of the test does not return.
        """
        raise NotImplementedError

    def _release(self) -> None:
        """Release what ``stop()`` keeps for a later start."""

    def _end(self) -> None:
        try:
            self.stop()
        finally:
            self._release()

    def close(self) -> None:
        """Stop, and raise the first exception of the test's code.

        Raises:
            Exception: the first of ``errors``, if there is one.
            TimeoutError: code of the test does not return.
        """
        self._end()
        if self.errors:
            raise self.errors[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *exc: object) -> None:
        if kind is None:
            self.close()
        else:
            self._end()  # the exception of the block is reported
