"""Masking of client frames (RFC 6455 §5.3): unpredictable keys, and the XOR with them.

Guarantees:
    * Thread-safe. The pool of keys is changed by single C calls. ``apply_mask`` is replaced by a function that returns
      the same bytes. The count of masked bytes may be too low; then the C function is only imported a little later.

If ``websockets`` is installed (the extra ``[speed]``), its C function is used. It is 25 times as fast as that of
``wsaccel``, the other common package, and ``websockets`` is still maintained. The import takes 30 ms, so the function
is imported only after ``_IMPORT_THRESHOLD`` bytes were masked (each call counts as 256 more bytes), or if the program
has imported it.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable

from .._threads.imports import import_lock

__all__ = ["accelerated", "apply_mask", "forget_keys", "keys", "mask_in_python", "new_key"]

_KEYS_AT_ONCE = 1024
"""Keys made from one ``os.urandom`` call; one call per frame would cost more than masking a short message."""

_INTEGER_LIMIT = 1024
"""Largest size in bytes for which one XOR of two big integers is the fastest method in pure Python (measured). For more
bytes it is faster to translate every fourth byte with a table, once for each of the four bytes of the key."""

_IMPORT_THRESHOLD = 12 * 2**20
"""Bytes masked in Python before the C function is imported: masking them takes about as long as the import, 30 ms."""

_CHECK_INTERVAL = 2**18
"""Bytes masked between two checks whether the program has imported the C function: about 1000 small messages."""

_BYTES_A_CALL = 256
"""Added to the byte count for each call: a call takes as long as masking this many bytes."""

_integer = int.from_bytes
"""Looked up once. Both operands and the result have the same byte order, so it does not matter which one."""

_BYTES = int.from_bytes(range(256), "little")
_ONES = int.from_bytes(b"\1" * 256, "little")
_XOR_TABLES = tuple((_BYTES ^ key * _ONES).to_bytes(256, "little") for key in range(256))
keys: deque[bytes] = deque()
"""Keys that were not used so far. ``build_frame`` takes one; ``new_key`` makes more."""


def new_key() -> bytes:
    """Four random bytes from the operating system; each key of the pool is returned only once (RFC 6455 §10.3)."""
    try:
        return keys.pop()
    except IndexError:
        entropy = os.urandom(4 * _KEYS_AT_ONCE)
        keys.extend([entropy[i : i + 4] for i in range(4, len(entropy), 4)])
        return entropy[:4]


def forget_keys() -> None:
    """Empty the pool of keys. Called in a forked child, since the parent process uses the same pool."""
    keys.clear()


def mask_in_python(data: bytes, key: bytes) -> bytes:
    """The implementation of ``apply_mask`` in Python."""
    size = len(data)
    if size <= _INTEGER_LIMIT:
        return (_integer(data, "big") ^ _integer((key * (size // 4 + 1))[:size], "big")).to_bytes(size, "big")
    masked = bytearray(size)
    for i in range(4):
        masked[i::4] = data[i::4].translate(_XOR_TABLES[key[i]])
    return bytes(masked)


def _mask_and_count(data: bytes, key: bytes) -> bytes:
    """Mask in Python; use the C function after ``_IMPORT_THRESHOLD`` bytes, or soon after the program has imported it.

    The count is not exact if several threads mask at the same time, which is harmless.
    """
    global _masked
    size = len(data)
    _masked += size + _BYTES_A_CALL
    if _masked > _next_check:
        _check_for_c_function()
    if size > _INTEGER_LIMIT:
        return mask_in_python(data, key)
    # As `mask_in_python`, with one call less.
    return (_integer(data, "big") ^ _integer((key * (size // 4 + 1))[:size], "big")).to_bytes(size, "big")


def _check_for_c_function() -> None:
    """Import the C function if that is worth its time, or costs none. Called for each ``_CHECK_INTERVAL`` bytes."""
    global _next_check
    if _masked > _IMPORT_THRESHOLD or "websockets.speedups" in sys.modules:
        _accelerate()
    else:
        _next_check = _masked + _CHECK_INTERVAL


def _accelerate() -> None:
    """Import the C function, unless another thread holds the lock for imports. An interrupt leaves no lock locked.

    It does not wait for the lock ``import_lock``: another thread may hold it during a whole fork, and the frame that is
    being built would be delayed.
    """
    global apply_mask
    owned: list[bool] = []
    try:
        owned.extend(map(import_lock.acquire, (False,)))
        if owned[0]:
            apply_mask = mask_in_python  # stays in place if an interrupt ends the import
            apply_mask = accelerated() or mask_in_python
    finally:
        if owned and owned[0]:
            import_lock.release()


def accelerated() -> Callable[[bytes, bytes], bytes] | None:
    """Import the C function of ``websockets``.

    Returns:
        The function; None if there is none, as on PyPy.
    """
    try:
        from websockets.speedups import apply_mask as fast
    except Exception:  # not installed, an unrelated package of this name, or too old for this Python
        return None
    return fast


apply_mask: Callable[[bytes, bytes], bytes] = _mask_and_count
"""XOR bytes of any length with a repeated key of four bytes; a second call restores the bytes. Callers must use the
full name, ``masking.apply_mask``, since the function is replaced once the C function is available."""

_masked = 0
_next_check = 0

if hasattr(os, "register_at_fork"):  # pragma: no branch  (Windows has no fork)
    os.register_at_fork(after_in_child=forget_keys)
