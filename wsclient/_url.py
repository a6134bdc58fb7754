"""The former place of ``_rfc6455.url``, kept for programs that import it from here; nothing in this package does."""

from __future__ import annotations

from ._rfc6455.url import parse

__all__ = ["parse"]
