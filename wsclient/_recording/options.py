"""The options of a recording. This module is loaded with every client; the other modules of this package are not."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

__all__ = ["Recording", "checked_recording"]


@dataclass(frozen=True)
class Recording:
    """The file of a recording, and what to redact in it; the value of ``record=``, which may also be a path alone.

    Args:
        path: the file; ``start()`` creates it, or overwrites it if it exists. In both cases only its owner may read it
            afterwards (mode 0600; on Windows the permissions of the folder apply). Its folder must exist. Only one
            client may write to it. Instead of a path, it may be a function. The client then calls this function with
            the data that it would write to the file: one or several complete lines, as bytes. The function is called on
            the I/O thread, so it must be short; if it raises, the recording ends. It gets a received message before the
            client delivers the message.
        redact: names of JSON members and headers whose values are secret, in addition to names that end with password,
            passwd, pwd, passphrase, passcode, token, secret, api_key, access_key, secret_key, private_key,
            authorization, auth, bearer, jwt, credential(s), cookie(s), session or session_id. Case, ``_``, ``-`` and
            other punctuation are ignored.
        keep: names that end like one of those, but whose values are not secret.

    Some secrets are redacted whatever ``redact`` and ``keep`` contain: the headers ``Cookie``, ``Set-Cookie`` and those
    that end with ``Authorization``; user, password and query values of the server's URL; and the end of a long
    subprotocol, which may be a token. All other secrets are found by their names only, so a secret in a list, in text
    that is not JSON or in the path of a URL is recorded. If the redaction of one message would take more than about a
    second (a million members), the rest of the message is replaced. JSON strings inside JSON strings are searched to a
    depth of 16 levels; a deeper string is replaced.
    """

    path: str | os.PathLike[str] | Callable[[bytes], object]
    redact: Sequence[str] = ()
    keep: Sequence[str] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", _checked_path(self.path))  # absolute: the program may change its directory
        object.__setattr__(self, "redact", _checked_names("redact", self.redact))
        object.__setattr__(self, "keep", _checked_names("keep", self.keep))


def checked_recording(record: Any) -> Recording:
    """Validate a value of the ``record=`` option; the caller has handled None.

    Raises:
        TypeError: it is not a path, a function or a ``Recording``.
        ValueError: no file can be written at the path.
    """
    return record if isinstance(record, Recording) else Recording(record)


def _checked_path(path: Any) -> str | Callable[[bytes], object]:
    if callable(path):
        return cast("Callable[[bytes], object]", path)
    if not isinstance(path, (str, os.PathLike)) or not isinstance(os.fspath(path), str):
        raise TypeError(f"record must be a path, a function, a wsclient.Recording or None, not {path!r}.")
    whole = os.path.abspath(os.fspath(path))
    folder = os.path.dirname(whole)
    if not os.fspath(path) or "\0" in whole:
        raise ValueError(f"record must be the path of a file, not {os.fspath(path)!r}.")
    if not os.path.isdir(folder):
        raise ValueError(f"record: the folder {folder!r} does not exist; create it first.")
    if os.path.exists(whole):
        mode = os.stat(whole).st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISCHR(mode):
            raise ValueError(f"record: {whole!r} is not a regular file, so it can't be overwritten.")
    return whole


def _checked_names(option: str, names: Any) -> tuple[str, ...]:
    # The error does not show the names: a caller may have passed secret values by mistake.
    if isinstance(names, str) or not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"{option} must be a list of names, not {type(names).__name__}.")
    for name in names:
        # Without a letter or a digit, `redaction.normal` would return an empty string. Every name ends with the empty
        # string, so `redact` would make all values secret.
        if not any(map(str.isalnum, name)):
            raise ValueError(f"{option} contains {name!r}, but each name must have a letter or a digit.")
    return tuple(names)
