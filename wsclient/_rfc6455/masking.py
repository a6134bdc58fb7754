"""Masking of client frames (RFC 6455 §5.3): unpredictable keys, and the XOR with them.

Thread-safe: the functions keep no state but the pool of keys, whose one mutation is a single C call, and the function
that masks, which is replaced once, by another that gives the same bytes.

Where ``websockets`` is installed (the extra ``[speed]``), its C function masks: 25 times as fast as ``wsaccel``'s, and
the package is kept well. It is looked for when there is enough to mask to repay its import of 30 ms.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable

from .._threads.imports import importing

__all__ = ["accelerated", "apply_mask", "forget_keys", "mask_in_python", "new_key"]

_KEYS_AT_ONCE = 1024
"""Keys fetched by one ``os.urandom`` call; a call for each frame costs more than masking a short message."""

_INTEGER_LIMIT = 1024
"""Bytes up to which one XOR of two big integers is the fastest pure way; above, four table look-ups are (measured)."""

_PATIENCE = 12 * 2**20
"""Bytes after which the accelerator is looked for: masking them in Python takes about as long as its import, 30 ms."""

_BYTES_A_CALL = 256
"""Bytes that masking the shortest message costs as much as."""

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
        _pool.extend([entropy[i : i + 4] for i in range(4, len(entropy), 4)])
        return entropy[:4]


def forget_keys() -> None:
    """Empty the pool. Run in a forked child, which must not use the keys its parent will use."""
    _pool.clear()


def mask_in_python(data: bytes, key: bytes) -> bytes:
    """``apply_mask`` without the accelerator."""
    size = len(data)
    if size <= _INTEGER_LIMIT:
        mask = (key * (size // 4 + 1))[:size]
        return (int.from_bytes(data, "little") ^ int.from_bytes(mask, "little")).to_bytes(size, "little")
    masked = bytearray(size)
    for i in range(4):
        masked[i::4] = data[i::4].translate(_XOR_TABLES[key[i]])
    return bytes(masked)


def _mask_and_count(data: bytes, key: bytes) -> bytes:
    """Mask in Python until the accelerator pays, or is there anyway. Two threads at once count a little too few."""
    global _masked
    _masked += len(data) + _BYTES_A_CALL
    if _masked > _PATIENCE or "websockets.speedups" in sys.modules:
        _accelerate()
    return mask_in_python(data, key)


def _accelerate() -> None:
    """Look for the accelerator, unless somebody imports just now. An interrupt leaves nothing locked."""
    global apply_mask
    owned: list[bool] = []
    try:
        owned.extend(map(importing.acquire, (False,)))
        if owned[0]:
            apply_mask = mask_in_python  # for good, should the import fail
            apply_mask = accelerated() or mask_in_python
    finally:
        if owned and owned[0]:
            importing.release()


def accelerated() -> Callable[[bytes, bytes], bytes] | None:
    """The C function of ``websockets``; None where there is none, as on PyPy.

    A frame is being made meanwhile, so nobody waits here for ``importing``: a fork that is about to strike has it.
    """
    try:
        from websockets.speedups import apply_mask as fast
    except Exception:  # it is not there, or it is another package, or one too old for this Python: whatever it raises
        return None
    return fast


apply_mask: Callable[[bytes, bytes], bytes] = _mask_and_count
"""XOR bytes of any length with a repeated key of four bytes; doing it twice gives them back. To be called by its full
name, ``masking.apply_mask``, since it changes once the accelerator is there."""

_masked = 0

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=forget_keys)
