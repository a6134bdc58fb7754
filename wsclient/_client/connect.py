"""``wsclient.connect``: a client that is open when the call returns."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .._typing import Unpack
from .client import Client
from .options import ClientOptions, signature

__all__ = ["connect"]


def connect(url: str | Sequence[str] | Callable[[], str], **options: Unpack[ClientOptions]) -> Client:
    """Open a connection: ``Client(url, ...).start()``, most often used in a ``with`` block.

    Args:
        url: where to connect.
        options: every option of ``Client``, with the same defaults; ``help(wsclient.Client)`` explains each.

    Returns:
        The open client.

    Raises:
        ConnectError: the first attempt failed.
        TypeError, ValueError: an option is wrong, or there is no such option; the message names it.
    """
    return Client(url, **options).start()


connect.__signature__ = signature(returns="Client")  # type: ignore[attr-defined]
