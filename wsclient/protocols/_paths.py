"""Keys into JSON objects: one name, or a path of them into nested objects."""

from __future__ import annotations

from typing import Any, Final

__all__ = ["NOTHING", "Path", "checked_path", "found", "placed"]

Path = str | tuple[str, ...]


class _Nothing:
    """The type of ``NOTHING``."""


NOTHING: Final[Any] = _Nothing()
"""What is found where a path leads nowhere; a ``None`` found there is JSON's null."""


def checked_path(name: str, path: Any) -> tuple[str, ...]:
    """An option that is a path, as a tuple of names.

    Raises:
        TypeError: it is neither a name nor a tuple of names.
    """
    names = (path,) if isinstance(path, str) else path
    if not isinstance(names, tuple) or not names or not all(isinstance(one, str) and one for one in names):
        raise TypeError(f"{name} must be the name of a member, or a tuple of names into nested ones, not {path!r}.")
    return names


def found(message: Any, path: tuple[str, ...]) -> Any:
    """What stands there in a decoded message; ``NOTHING`` if the path leads nowhere."""
    for name in path:
        if not isinstance(message, dict) or name not in message:
            return NOTHING
        message = message[name]
    return message


def placed(message: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """The message with a value at the path; the caller's own objects are left as they are.

    Raises:
        TypeError: something else than an object stands on the way.
    """
    name, *rest = path
    if not rest:
        return {**message, name: value}
    inner = message.get(name, {})
    if not isinstance(inner, dict):
        raise TypeError(f"The request's {name!r} must be an object, since its id belongs inside; it is {inner!r}.")
    return {**message, name: placed(inner, tuple(rest), value)}
