"""Paths into JSON objects: the name of one member, or a tuple of names that leads into nested objects."""

from __future__ import annotations

from typing import Any, Final

__all__ = ["NOTHING", "Path", "checked_path", "found", "placed"]

Path = str | tuple[str, ...]


class _Nothing:
    """The type of ``NOTHING``."""


NOTHING: Final[Any] = _Nothing()
"""The result of ``found`` if there is no value at the path; ``None`` is JSON's null."""


def checked_path(name: str, path: Any) -> tuple[str, ...]:
    """Validate an option that is a path.

    Args:
        name: the option's name, for the error text.
        path: the option's value: one name or a tuple of names.

    Returns:
        The path as a tuple of names.

    Raises:
        TypeError: the value is neither a name nor a tuple of names.
    """
    names = (path,) if isinstance(path, str) else path
    if not isinstance(names, tuple) or not names or not all(isinstance(one, str) and one for one in names):
        raise TypeError(
            f"{name} must be the name of a member, or a tuple of names that leads into nested objects, not {path!r}."
        )
    return names


def found(message: Any, path: tuple[str, ...]) -> Any:
    """The value at a path in a decoded message; ``NOTHING`` if there is none."""
    for name in path:
        if not isinstance(message, dict) or name not in message:
            return NOTHING
        message = message[name]
    return message


def placed(message: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """A copy of the message with a value at the path; the message and its nested objects are not changed.

    Raises:
        TypeError: a member on the path is not an object.
    """
    name, *rest = path
    if not rest:
        return {**message, name: value}
    inner = message.get(name, {})
    if not isinstance(inner, dict):
        raise TypeError(
            f"The request's {name!r} must be an object, because the request's id is stored in it, not "
            f"{type(inner).__name__}."
        )
    return {**message, name: placed(inner, tuple(rest), value)}
