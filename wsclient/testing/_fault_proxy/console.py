"""The commands of a ``FaultProxy`` that was started from a shell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from .proxy import FaultProxy

__all__ = ["QUIT", "carry_out"]

QUIT: Final = "quit"


class _Verb(NamedTuple):
    """A command.

    Attributes:
        usage: its name and arguments.
        help: what it does.
        kinds: the conversions of its arguments.
        least: how many arguments are required.
        method: the name of the proxy's method.
    """

    usage: str
    help: str
    kinds: Sequence[Callable[[str], Any]]
    least: int
    method: str


def _rate(word: str) -> float | None:
    return None if word == "off" else float(word)


def _direction(word: str) -> str | None:
    return None if word == "off" else word


_VERBS: Final = {
    verb.usage.split()[0]: verb
    for verb in (
        _Verb("cut", "end every connection with a FIN", (), 0, "cut"),
        _Verb("reset", "end every connection with a RST", (), 0, "reset"),
        _Verb("freeze", "forward nothing, without ending connections (half-open)", (), 0, "freeze"),
        _Verb("thaw", "forward again what was frozen", (), 0, "thaw"),
        _Verb("latency SECONDS [JITTER]", "delay every byte; 0 for no delay", (float, float), 1, "latency"),
        _Verb("bandwidth BYTES_PER_SECOND|off", "limit each direction of each connection", (_rate,), 1, "bandwidth"),
        _Verb("cut-after BYTES up|down", "cut the connection after so many more bytes", (int, str), 2, "cut_after"),
        _Verb("drop up|down|both|off", "discard the bytes of a direction", (_direction,), 1, "drop_direction"),
        _Verb("refuse", "refuse new connections", (), 0, "refuse"),
        _Verb("accept", "accept new connections again", (), 0, "accept"),
    )
}  # fmt: skip


def carry_out(proxy: FaultProxy, line: str) -> str:
    """Execute a command.

    Args:
        proxy: the proxy.
        line: a command with its arguments.

    Returns:
        The text to show: the proxy's counts, the help, or the error in the line. ``QUIT`` if the proxy must end.
    """
    words = line.split()
    if not words:
        return ""
    name, *given = words
    if name in (QUIT, "exit"):
        return QUIT
    if name == "help":
        return _help()
    if name == "status":
        return _figures(proxy)
    verb = _VERBS.get(name)
    if verb is None:
        return f"There is no command {name!r}; type help for the commands."
    if not verb.least <= len(given) <= len(verb.kinds):
        return f"Usage: {verb.usage}"
    try:
        getattr(proxy, verb.method)(*(kind(word) for kind, word in zip(verb.kinds, given, strict=False)))
    except (ValueError, TypeError) as error:
        return f"{error} Usage: {verb.usage}"
    return _figures(proxy)


def _help() -> str:
    rows = [(verb.usage, verb.help) for verb in _VERBS.values()]
    rows += [("status", "show the counts"), (QUIT, "end the proxy")]
    return "\n".join(f"{usage:32} {text}" for usage, text in rows)


def _figures(proxy: FaultProxy) -> str:
    stats = proxy.stats
    return (
        f"{stats.open} open, {stats.accepted} accepted, {stats.refused} refused, {stats.cut} cut, {stats.reset} reset; "
        f"{stats.bytes_up} bytes up, {stats.bytes_down} down, {stats.dropped} dropped"
    )
