"""Checks of single values of options. Each error text contains the option's name and says what the value must be."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from typing import Any

__all__ = [
    "check_bool",
    "check_callable",
    "check_choice",
    "check_count",
    "check_fraction",
    "check_rate",
    "check_seconds",
]


def check_seconds(name: str, value: Any, *, zero: bool = False) -> float:
    """Check a duration in seconds: a finite number above 0; with ``zero=True``, 0 is allowed too.

    Raises:
        TypeError: it is not a number.
        ValueError: it is negative, infinite or NaN, or 0 without ``zero=True``.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number of seconds, not {value!r}.")
    try:
        seconds = float(value)
    except OverflowError:
        seconds = math.inf
    if not math.isfinite(seconds) or seconds < 0 or (seconds == 0 and not zero):
        raise ValueError(
            f"{name} must be a finite number of seconds{', at least' if zero else ' above'} 0, not {value!r}."
        )
    return seconds


def check_rate(name: str, value: Any) -> float | None:
    """Check a number per second: finite and above 0; or None, for no limit."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number per second or None, not {value!r}.")
    if not 0 < value < math.inf:
        raise ValueError(f"{name} must be a finite number per second above 0, or None, not {value!r}.")
    return float(value)


def check_count(name: str, value: Any, *, zero: bool = False) -> int:
    """Check a whole number: at least 1; with ``zero=True``, 0 is allowed too."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a whole number, not {value!r}.")
    if value < (0 if zero else 1):
        raise ValueError(f"{name} must be at least {0 if zero else 1}, not {value!r}.")
    return value


def check_fraction(name: str, value: Any) -> float:
    """Check a number from 0 to below 1.

    Raises:
        TypeError: it is not a number.
        ValueError: it is outside of this range, or NaN.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number, not {value!r}.")
    if not 0 <= value < 1:
        raise ValueError(f"{name} must be at least 0 and below 1, not {value!r}.")
    return float(value)


def check_choice(name: str, value: Any, choices: Sequence[str]) -> Any:
    """Check that the value is one of the choices."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, not {value!r}.")
    return value


def check_callable(name: str, value: Any) -> Any:
    """Check that the value is None or a function. A coroutine function is rejected, since it would never be awaited."""
    if value is None:
        return None
    if not callable(value):
        raise TypeError(f"{name} must be a function or None, not {value!r}.")
    if inspect.iscoroutinefunction(value) or inspect.iscoroutinefunction(getattr(value, "__call__", None)):  # noqa: B004
        raise TypeError(f"{name} must be a plain function: this client is not asynchronous and would never await it.")
    return value


def check_bool(name: str, value: bool) -> bool:
    """Check that the value is True or False, and not an object that merely counts as true or false, such as 1."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, not {value!r}.")
    return value
