"""Profiles: named sets of shared options in ``profiles.toml``. The file need not contain a secret: ``env:NAME`` refers
to an environment variable, and ``cmd:COMMAND`` to the output of a command::

    [staging]
    url = "wss://staging.example.com/ws"
    protocol = "jsonrpc"
    headers = { X-Team = "blue", Authorization = "cmd:pass show staging/ws" }
    ca = "~/certs/staging-ca.pem"
    timeout = 5
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from .exits import CommandError

__all__ = ["load_profile", "profiles_path", "run_for_secret"]

_KEYS: Final[Mapping[str, type | tuple[type, ...]]] = {
    "url": str,
    "headers": dict,
    "auth": str,
    "token_cmd": str,
    "subprotocol": list,
    "origin": str,
    "protocol": str,
    "insecure": bool,
    "ca": str,
    "cert": str,
    "key": str,
    "server_name": str,
    "proxy": str,
    "timeout": (int, float),
    "retry": (str, int),
    "compression": bool,
    "max_size": int,
}
"""The members of a profile with their types. They are the shared options, with ``_`` instead of ``-``."""

_FILES: Final = ("ca", "cert", "key")
"""Members that are paths; ``~`` in them is the home folder."""

_COMMAND_TIMEOUT: Final = 60.0
"""Seconds until a command that prints a secret must have ended. It may be a password manager that asks the user for a
password."""


def profiles_path() -> Path:
    """Return the path of the file: in ``$XDG_CONFIG_HOME`` or ``~/.config``, on Windows in ``%APPDATA%``."""
    if sys.platform == "win32":  # pragma: no cover  (coverage is measured on Linux)
        folder = os.environ.get("APPDATA") or str(Path.home() / "AppData" / "Roaming")
    else:
        folder = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(folder) / "wsclient" / "profiles.toml"


def load_profile(name: str) -> dict[str, Any]:
    """Return the members of a profile; references to secrets are replaced by their values.

    Raises:
        CommandError: there is no such file or profile, the file is damaged, a member is unknown or has the wrong type,
            or a secret can't be read.
    """
    path = profiles_path()
    profiles = _read(path)
    if not isinstance(profiles.get(name), dict):
        known = ", ".join(sorted(profiles)) or "none"
        raise CommandError(f"There is no profile {name!r} in {path}; it has: {known}.")
    profile: dict[str, Any] = {}
    for member, value in profiles[name].items():
        where = f"profile {name!r}, {member!r}"
        kind = _KEYS.get(member)
        if kind is None:
            raise CommandError(f"{path}: {where} is unknown; known are: {', '.join(_KEYS)}.")
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise CommandError(f"{path}: {where} must not be of the type {type(value).__name__}.")
        profile[member] = _resolved(value, where)
    for member in _FILES:
        if member in profile:
            profile[member] = str(Path(profile[member]).expanduser())
    return profile


def run_for_secret(command: str) -> str:
    """Run a shell command and return what it prints, without white space at the ends.

    Raises:
        CommandError: it fails, prints nothing or takes too long. The text of the error contains the command and its
            stderr, but not its output.
    """
    try:
        done = subprocess.run(  # noqa: S602  (the user's own command)
            command, shell=True, capture_output=True, text=True, timeout=_COMMAND_TIMEOUT,
            stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise CommandError(f"The command {command!r} did not end within {_COMMAND_TIMEOUT:g} s.") from error
    if done.returncode:
        raise CommandError(f"The command {command!r} failed with exit code {done.returncode}: {done.stderr.strip()}")
    if not done.stdout.strip():
        raise CommandError(f"The command {command!r} printed nothing; it must print the secret on stdout.")
    return done.stdout.strip()


def _read(path: Path) -> dict[str, Any]:
    toml: Any = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    try:
        with path.open("rb") as file:
            found: dict[str, Any] = toml.load(file)
            return found
    except FileNotFoundError as error:
        raise CommandError(f"There are no profiles: {path} does not exist.") from error
    except OSError as error:
        raise CommandError(f"{path} can't be read: {error.strerror}.") from error
    except (toml.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CommandError(f"{path} is not TOML: {error}.") from error


def _resolved(value: Any, where: str) -> Any:
    if isinstance(value, dict):
        return {name: _resolved(one, where) for name, one in value.items()}
    if isinstance(value, list):
        return [_resolved(one, where) for one in value]
    if isinstance(value, str) and value.startswith("env:"):
        name = value[4:]
        if name not in os.environ:
            raise CommandError(f"The environment variable {name!r} of {where} is not set.")
        return os.environ[name]
    if isinstance(value, str) and value.startswith("cmd:"):
        return run_for_secret(value[4:])
    return value
