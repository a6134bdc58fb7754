"""What may be typed at a ``FaultProxy`` that was started from a shell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from .proxy import FaultProxy

__all__ = ["QUIT", "carry_out"]

QUIT: Final = "quit"


class _Verb(NamedTuple):
    usage: str
    help: str
    kinds: Sequence[Callable[[str], Any]]  # what its words are turned into
    least: int  # words it needs
    method: str  # of the proxy


def _rate(word: str) -> float | None:
    return None if word == "off" else float(word)


def _direction(word: str) -> str | None:
    return None if word == "off" else word


_VERBS: Final = {
    verb.usage.split()[0]: verb
    for verb in (
        _Verb("cut", "end every connection with a FIN", (), 0, "cut"),
        _Verb("reset", "end every connection with a RST", (), 0, "reset"),
        _Verb("freeze", "nothing moves any more, and nobody is told: half-open", (), 0, "freeze"),
        _Verb("thaw", "what was frozen goes on", (), 0, "thaw"),
        _Verb("latency SECONDS [JITTER]", "delay every byte; 0 not at all", (float, float), 1, "latency"),
        _Verb("bandwidth BYTES_PER_SECOND|off", "slow down each way of each connection", (_rate,), 1, "bandwidth"),
        _Verb("cut-after BYTES up|down", "cut the line behind so many more bytes", (int, str), 2, "cut_after"),
        _Verb("drop up|down|both|off", "swallow what goes one way", (_direction,), 1, "drop_direction"),
        _Verb("refuse", "take no new connection", (), 0, "refuse"),
        _Verb("accept", "take new connections again", (), 0, "accept"),
    )
}  # fmt: skip


def carry_out(proxy: FaultProxy, line: str) -> str:
    """Do what a line says.

    Args:
        proxy: the proxy.
        line: a verb and its words.

    Returns:
        What to show: the figures, the help, or what is wrong with the line. ``QUIT`` if it is to end.
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
        return f"There is no verb {name!r}; try help."
    if not verb.least <= len(given) <= len(verb.kinds):
        return f"Usage: {verb.usage}"
    try:
        getattr(proxy, verb.method)(*(kind(word) for kind, word in zip(verb.kinds, given, strict=False)))
    except (ValueError, TypeError) as error:
        return f"{error} Usage: {verb.usage}"
    return _figures(proxy)


def _help() -> str:
    rows = [(verb.usage, verb.help) for verb in _VERBS.values()]
    rows += [("status", "the figures"), (QUIT, "end the proxy")]
    return "\n".join(f"{usage:32} {text}" for usage, text in rows)


def _figures(proxy: FaultProxy) -> str:
    stats = proxy.stats
    return (
        f"{stats.open} open, {stats.accepted} accepted, {stats.refused} refused, {stats.cut} cut, {stats.reset} reset; "
        f"{stats.bytes_up} bytes up, {stats.bytes_down} down, {stats.dropped} dropped"
    )
