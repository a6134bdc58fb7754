"""How the kit's servers end: stopped, and then whatever went wrong in the user's own code is raised."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Service"]


class Service:
    """A server that runs code of the test's.

    Attributes:
        errors: what that code raised. ``close()`` raises the first of them, unless the ``with`` block fails anyhow;
            take out (``clear()``) what the test expects.
    """

    def __init__(self) -> None:
        self.errors: list[Exception] = []

    def stop(self) -> None:
        """Listen no more, and end every connection.

        Raises:
            TimeoutError: code of the test's does not return.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Stop for good.

        Raises:
            Exception: the first of ``errors``, if there is one.
            TimeoutError: code of the test's does not return.
        """
        self.stop()
        if self.errors:
            raise self.errors[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *exc: object) -> None:
        if kind is None:
            self.close()
        else:
            self.stop()  # the block's own error says more
