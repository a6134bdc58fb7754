"""Creates the file of a recording. Only the user of this process may read it, since it contains messages."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable
from typing import Final, Protocol

__all__ = ["File", "create", "function_file", "write_whole"]

_MODE: Final = 0o600
"""Only the owner may read and write the file."""

_FLAGS: Final = os.O_WRONLY | os.O_CREAT | getattr(os, "O_BINARY", 0)

_HAS_OWNERS: Final = hasattr(os, "geteuid")
"""Whether files have owners and modes. On Windows they don't: there the permissions of the folder apply."""


class File(Protocol):
    """What a recording needs of its file."""

    def write(self, data: memoryview, /) -> int | None:
        """Write some of the data, and return how many bytes."""

    def truncate(self, size: int, /) -> int:
        """Cut the file to this size in bytes."""

    def close(self) -> None:
        """Close it."""


def write_whole(file: File, data: bytes) -> None:
    """Write all of the data; the file has no buffer, so one call may write a part of it.

    Raises:
        OSError: the file can't be written.
    """
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) or 0 :]


class _FunctionFile:
    """A ``File`` whose ``write`` calls a function with the data."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[[bytes], object]) -> None:
        self._function = function

    def write(self, data: memoryview, /) -> int:
        self._function(bytes(data))
        return len(data)

    def truncate(self, size: int, /) -> int:
        return size

    def close(self) -> None:
        """Nothing to close."""


def function_file(function: Callable[[bytes], object]) -> File:
    """Return a ``File`` that passes the data to a function."""
    return _FunctionFile(function)


def create(path: str) -> io.FileIO:
    """Create a file with the mode 0600, or empty the existing one. If the mode of the existing file gives any
    permission to its group or to others, the file gets the mode 0600 too.

    Returns:
        The file, without a buffer. A device such as ``/dev/stdout`` keeps its mode.

    Raises:
        PermissionError: the path is a symbolic link that another user has made, so the other user could choose which
            file is overwritten; or the file belongs to another user, so this process can't change its mode.
        OSError: the file can't be written.
    """
    try:
        return io.FileIO(os.open(path, _FLAGS | os.O_EXCL, _MODE), "wb")
    except FileExistsError:
        pass
    if _HAS_OWNERS:  # pragma: no branch  (not on Windows)
        _check_link(path)
    file = io.FileIO(os.open(path, _FLAGS, _MODE), "wb")
    try:
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            if _HAS_OWNERS:  # pragma: no branch  (not on Windows)
                _make_private(file.fileno())
            file.truncate(0)  # not by O_TRUNC: a file that is refused keeps its content
    except BaseException:
        file.close()
        raise
    return file


def _check_link(path: str) -> None:
    found = os.lstat(path)
    # In a folder such as /tmp any user can make a link.
    if stat.S_ISLNK(found.st_mode) and found.st_uid not in (0, os.geteuid()):
        raise PermissionError(f"it is a symbolic link of another user, uid {found.st_uid}; remove it")


def _make_private(descriptor: int) -> None:
    found = os.fstat(descriptor)
    if not stat.S_IMODE(found.st_mode) & 0o077:
        return
    try:
        os.fchmod(descriptor, _MODE)
    except PermissionError:
        if found.st_uid != os.geteuid():
            raise PermissionError(
                f"the file belongs to another user, uid {found.st_uid}, who could read it; remove it"
            ) from None
        # This user owns the file, and an owner may change the mode. It failed nevertheless, so the file system has no
        # modes (FAT, some network drives).
