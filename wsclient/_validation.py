"""Checks of single values that a caller gave. Each error names the option and says what it should be."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from typing import Any

__all__ = ["check_bool", "check_callable", "check_choice", "check_count", "check_seconds"]


def check_seconds(name: str, value: Any, *, zero: bool = False) -> float:
    """A length of time in seconds: a finite number above 0 (``zero=True``: 0 will do).

    Raises:
        TypeError: it is no number.
        ValueError: it is negative, infinite, NaN, or 0 where that makes no sense.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number of seconds, not {value!r}.")
    try:
        seconds = float(value)
    except OverflowError:
        seconds = math.inf
    if not math.isfinite(seconds) or seconds < 0 or (seconds == 0 and not zero):
        raise ValueError(f"{name} must be a finite number of seconds {'from' if zero else 'above'} 0, not {value!r}.")
    return seconds


def check_count(name: str, value: Any, *, zero: bool = False) -> int:
    """A whole number of at least 1 (``zero=True``: 0 will do)."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a whole number, not {value!r}.")
    if value < (0 if zero else 1):
        raise ValueError(f"{name} must be at least {0 if zero else 1}, not {value!r}.")
    return value


def check_choice(name: str, value: Any, choices: Sequence[str]) -> Any:
    """One of a few words."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, not {value!r}.")
    return value


def check_callable(name: str, value: Any) -> Any:
    """None or a plain function; a coroutine function would never be awaited here."""
    if value is None:
        return None
    if not callable(value):
        raise TypeError(f"{name} must be a function or None, not {value!r}.")
    if inspect.iscoroutinefunction(value) or inspect.iscoroutinefunction(getattr(value, "__call__", None)):  # noqa: B004
        raise TypeError(f"{name} must be a plain function: this client is not asynchronous and would never await it.")
    return value


def check_bool(name: str, value: bool) -> bool:
    """True or False, and nothing that merely counts as one of them."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, not {value!r}.")
    return value
