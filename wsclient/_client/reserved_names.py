"""The public names of a client, and the checks that a subclass or an attribute hides none of them by accident.

A subclass or an attribute that hides a public name (``self.state = ...``) would break the client in ways that are hard
to find; the checks raise an error that contains the name. A hook may be overridden, passed as an option or assigned; as
a function it receives the client as its first argument, as with websocket-client's ``WebSocketApp``.
"""

from __future__ import annotations

from typing import Any, Final

from .._receiving.hooks import HOOKS
from .._validation import check_callable

__all__ = ["PUBLIC_NAMES", "check_attribute", "check_subclass", "is_overridden"]

PUBLIC_NAMES: Final = frozenset({
    "call", "clear_queue", "close", "connection", "drain", "flush", "handle", "last_disconnect", "last_error",
    "latency", "listen", "memo", "notify", "on", "pause_sending", "ping", "protocol", "reconnect", "renew", "request",
    "request_many", "run_forever", "send", "start", "state", "stats", "stream", "submit", "subscribe", "wait_closed",
    "wait_until", *HOOKS,
})  # fmt: skip
"""Every public name of a client."""

_INTERNAL: Final = frozenset({"_set_hook", "_wsclient"})


def check_attribute(name: str) -> None:
    """Refuse an attribute that would hide a name of the client.

    Args:
        name: the name of an attribute that is not a hook.

    Raises:
        AttributeError: the client uses this name itself.
    """
    if name in PUBLIC_NAMES or name in _INTERNAL:
        raise AttributeError(f"{name!r} is a name of wsclient.Client itself; give your attribute another one.")


def check_subclass(cls: type, client: type) -> None:
    """Refuse a subclass that hides a name of the client; the subclass's mixins are checked too.

    Args:
        cls: the subclass.
        client: the class ``Client``.

    Raises:
        TypeError: it hides a name without ``typing.override`` (PEP 698), or a hook is not a plain function.
    """
    for base in cls.__mro__[: cls.__mro__.index(client)]:
        for name, value in vars(base).items():
            _check_member(base, name, value)


def is_overridden(cls: type, hook: str, client: type) -> bool:
    """Return whether a class before ``client`` in the method resolution order of ``cls`` defines the hook."""
    return next(base for base in cls.__mro__ if hook in vars(base)) is not client


def _check_member(cls: type, name: str, value: Any) -> None:
    if name in HOOKS:
        check_callable(f"{cls.__name__}.{name}", value)
    elif (name in PUBLIC_NAMES or name in _INTERNAL) and not getattr(value, "__override__", False):
        raise TypeError(
            f"{cls.__name__}.{name} would hide a name of wsclient.Client itself; choose another one, or mark it with "
            "@typing.override if that is intended."
        )
