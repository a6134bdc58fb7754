"""The size of the next read from the socket. Pure, except for ``_keep_memory``, which affects ``malloc``.

Each read allocates a new object. This costs little if ``malloc`` keeps freed memory, and one page fault per 4 KiB if
``malloc`` returns it to the operating system; see ``_keep_memory``.
"""

from __future__ import annotations

import functools
import os
from typing import Final

__all__ = ["LARGE_READ_SIZE", "READ_SIZE", "next_read_size"]

READ_SIZE: Final = 64 * 1024
"""Bytes per read. This is enough for hundreds of small messages, and small enough not to delay other work."""

LARGE_READ_SIZE: Final = 1024 * 1024
"""Bytes per read while messages are large. Between two reads another thread may run, and the switch costs as much as
reading 64 KiB. Measured with messages of 64 KiB: 51 µs per message with reads of 256 KiB, 37 µs with 1 MiB, and not
less with 2 MiB."""

_LARGE: Final = 1024
"""Messages are large if the average message of a read has at least this many bytes."""

_LONGEST_HEADER: Final = 10
"""Largest header of an unmasked frame, in bytes (RFC 6455 §5.2)."""

_FREED_BLOCK: Final = 4 * 1024 * 1024
"""Size of the block that ``_keep_memory`` frees, in bytes. ``malloc`` then keeps up to twice this size at the top of
each heap, which is enough for several reads and messages of 1 MiB. Measured with messages of 1 MiB: up to 145 page
faults per message without the block, up to 26 with a block of 2 MiB, none with 4 MiB."""


def next_read_size(size: int, messages: int, missing: int) -> int:
    """The largest number of bytes to read next.

    Args:
        size: bytes of the last read.
        messages: how many messages the last read completed.
        missing: bytes of the present frame that are not received yet.
    """
    if size < READ_SIZE or size < messages * _LARGE:
        return READ_SIZE
    _keep_memory()
    # Read the rest of this frame and the header of the next frame (if the rest is not larger than LARGE_READ_SIZE). The
    # read after that then begins with the next frame's payload.
    if missing > LARGE_READ_SIZE // 2:
        return min(missing, LARGE_READ_SIZE) + _LONGEST_HEADER
    return LARGE_READ_SIZE


@functools.cache
def _keep_memory() -> None:
    """Make ``malloc`` keep the freed memory of large messages for the next ones. Effective once per process.

    The GNU C library has two limits, both 128 KiB at first. A block that is at least as large as the first limit is
    allocated with ``mmap()``, and returned to the operating system as soon as it is freed. The second limit applies to
    the free memory that is kept at the top of a heap. When a block that was allocated with ``mmap()`` is freed, the
    first limit rises to the block's size, and the second limit to twice this size (mallopt(3), ``M_MMAP_THRESHOLD``).
    So this function allocates and frees a block. It never writes to the block, so the block occupies no physical
    memory. With other C libraries this has no effect. The environment variable ``WSCLIENT_KEEP_MEMORY=0`` switches it
    off.
    """
    if os.environ.get("WSCLIENT_KEEP_MEMORY") != "0":
        bytes(_FREED_BLOCK)
