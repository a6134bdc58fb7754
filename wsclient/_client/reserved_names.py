"""The names of a client: those that are taken, and those of hooks, which may be assigned.

A subclass or an attribute that covers a public name by accident (``self.state = ...``) would break the client in ways
that are hard to see; here it gets an error that says so. A hook may be overridden, passed or assigned; as a function it
gets the client as its first argument, as with websocket-client's ``WebSocketApp``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from .._connection.context import Core
from .._connection.lifecycle import Lifecycle
from .._receiving.hooks import HOOKS
from .._validation import check_callable

if TYPE_CHECKING:
    from .._models import Attempt
    from ..protocols._session import Session

__all__ = ["PUBLIC_NAMES", "Inside", "Named"]

PUBLIC_NAMES: Final = frozenset({
    "call", "close", "drain", "flush", "handle", "last_disconnect", "latency", "listen", "notify", "on", "protocol",
    "reconnect", "request", "request_many", "run_forever", "send", "start", "state", "stats", "stream", "submit",
    "subscribe", "wait_closed", "wait_until", *HOOKS,
})  # fmt: skip
"""Every public name of a client, those yet to come included."""

_OUR_MODULES: Final = frozenset(
    f"{__package__}.{name}" for name in ("reserved_names", "construction", "messaging", "client")
)
_INTERNAL: Final = frozenset({"_wsclient", "_begin", "_set_hook"})


class Inside(NamedTuple):
    """What a client is made of."""

    core: Core
    lifecycle: Lifecycle


class Named:
    """Guards the names of the client that inherits from it, and keeps all its internals behind one of them."""

    _wsclient: Inside

    # --- hooks, to override ------------------------------------------------------------------------------------------

    def on_open(self) -> None:
        """The first connection is open; what is sent here belongs to it alone."""

    def on_reconnect(self) -> None:
        """A later connection is open; by default the same as ``on_open``."""
        hook = self._wsclient.core.hooks.get("on_open")
        if hook is not None:
            hook()

    def on_message(self, message: Any) -> None:
        """A message came that answers no request: decoded JSON, ``str`` or ``bytes``."""

    def on_close(self, code: int | None, reason: str | None) -> None:
        """A connection that was open has ended; None and None if no close frame came. Once per connection."""

    def on_error(self, error: BaseException) -> None:
        """A hook raised, the peer broke the protocol, or the client failed for good."""

    def on_ping(self, data: bytes) -> None:
        """The peer sent a ping; it is answered already."""

    def on_pong(self, data: bytes) -> None:
        """The peer sent a pong, asked for or not."""

    def on_session(self, session: Session) -> None:
        """Set up a connection before anything else is sent on it: log in, resume. Runs on the I/O thread."""

    def on_connect_error(self, attempt: Attempt) -> None:
        """An attempt to connect failed."""

    # --- the guard --------------------------------------------------------------------------------------------------

    def _begin(self, inside: Inside, hooks: Mapping[str, Callable[..., object] | None]) -> None:
        object.__setattr__(self, "_wsclient", inside)
        for name in HOOKS:
            self._set_hook(name, hooks[name])

    def _set_hook(self, name: str, function: Callable[..., object] | None) -> None:
        hooks = self._wsclient.core.hooks
        check_callable(name, function)
        if function is not None:
            object.__setattr__(self, name, function)
            hooks.set(name, partial(function, self))
            return
        self.__dict__.pop(name, None)
        hooks.set(name, getattr(self, name) if _is_overridden(type(self), name) else None)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for base in cls.__mro__[: cls.__mro__.index(Named)]:
            if not _is_ours(base):
                for name, value in vars(base).items():
                    _check_name(base, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in HOOKS:
            self._set_hook(name, value)
        elif name in PUBLIC_NAMES or name in _INTERNAL:
            raise AttributeError(f"{name!r} is a name of wsclient.Client itself; give your attribute another one.")
        else:
            object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        if name == "_wsclient":
            raise RuntimeError(f"{type(self).__name__}.__init__() must call super().__init__(url, ...) first.")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


def _is_overridden(cls: type, name: str) -> bool:
    """Whether a class of the user's has the hook."""
    return not _is_ours(next(base for base in cls.__mro__ if name in vars(base)))


def _is_ours(cls: type) -> bool:
    return cls.__module__ in _OUR_MODULES


def _check_name(cls: type, name: str, value: Any) -> None:
    if name in HOOKS:
        check_callable(f"{cls.__name__}.{name}", value)
    elif name in PUBLIC_NAMES or name in _INTERNAL:
        if getattr(value, "__override__", False):  # marked with typing.override (PEP 698): it is meant
            return
        raise TypeError(
            f"{cls.__name__}.{name} would cover a name of wsclient.Client itself; choose another one, or mark it with "
            "@typing.override if that is what you want."
        )
