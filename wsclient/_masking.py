"""Masking of client frames (RFC 6455 §5.3): unpredictable keys, and the XOR with them.

Thread-safe: the functions keep no state but the pool of keys, whose one mutation is a single C call.
"""

from __future__ import annotations

import os
from collections import deque

__all__ = ["apply_mask", "new_key"]

_KEYS_AT_ONCE = 1024
"""Keys fetched by one ``os.urandom`` call; a call for each frame costs more than masking a short message."""

_INTEGER_LIMIT = 1024
"""Bytes up to which one XOR of two big integers is the fastest pure way; above, four table look-ups are (measured)."""

_BYTES = int.from_bytes(range(256), "little")
_ONES = int.from_bytes(b"\1" * 256, "little")
_XOR_TABLES = tuple((_BYTES ^ key * _ONES).to_bytes(256, "little") for key in range(256))
_pool: deque[bytes] = deque()


def new_key() -> bytes:
    """Four bytes from the operating system's entropy source, each used for one frame only (RFC 6455 §10.3)."""
    try:
        return _pool.pop()
    except IndexError:
        entropy = os.urandom(4 * _KEYS_AT_ONCE)
        _pool.extend(entropy[i : i + 4] for i in range(4, len(entropy), 4))
        return entropy[:4]


def forget_keys() -> None:
    """Empty the pool. Run in a forked child, which must not use the keys its parent will use."""
    _pool.clear()


def apply_mask(data: bytes, key: bytes) -> bytes:
    """XOR ``data`` with the repeated four-byte ``key``; doing it twice gives ``data`` back.

    Args:
        data: the payload, of any length.
        key: four bytes.

    Returns:
        The masked bytes, as long as ``data``.
    """
    size = len(data)
    if size <= _INTEGER_LIMIT:
        mask = (key * (size // 4 + 1))[:size]
        return (int.from_bytes(data, "little") ^ int.from_bytes(mask, "little")).to_bytes(size, "little")
    masked = bytearray(size)
    for i in range(4):
        masked[i::4] = data[i::4].translate(_XOR_TABLES[key[i]])
    return bytes(masked)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=forget_keys)
