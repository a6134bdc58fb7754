"""``--protocol``: the message protocol by its name."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

from .. import protocols
from ..protocols import Fifo, JsonId, Protocol
from .exits import CommandError

__all__ = ["NAMES", "UndecodedJson", "may_log_in", "protocol_of", "uncorrelated"]

_CLASSES: Final[Mapping[str, str]] = {
    "jsonrpc": "JsonRpc",
    "cdp": "ChromeDevTools",
    "fifo": "Fifo",
    "graphql": "GraphQLTransportWs",
    "ha": "HomeAssistant",
    "obs": "ObsWebSocket",
    "phoenix": "Phoenix",
    "bidi": "WebDriverBiDi",
    "jupyter": "JupyterKernel",
    "ocpp": "Ocpp",
    "openai": "OpenAIRealtime",
}
NAMES: Final = (*_CLASSES, "id=FIELD", "package.module:Class")
"""What ``--protocol`` accepts."""

_SECRETS: Final[Mapping[str, str]] = {"ha": "HASS_TOKEN", "obs": "OBS_WEBSOCKET_PASSWORD"}
"""Protocols that log in with messages, and the environment variable of their secret. ``HASS_TOKEN`` is also the name
that Home Assistant's own command line uses."""


class UndecodedJson:
    """A JSON codec that encodes messages, but does not decode received texts."""

    @staticmethod
    def dumps(value: Any) -> str:
        """Encode a message."""
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

    @staticmethod
    def loads(text: str) -> str:
        """Return the text."""
        return text


def uncorrelated() -> Protocol:
    """Return a protocol without requests: every message that arrives is an event."""
    return Fifo(event=_is_event)


def _is_event(message: object) -> bool:
    return True


def may_log_in(name: str) -> bool:
    """Return whether a protocol sends a secret when a connection opens, or may do so because it is the user's own.

    Args:
        name: one of ``NAMES``.
    """
    return name in _SECRETS or ":" in name


def protocol_of(name: str, secret: Callable[[], str] | None = None) -> Protocol:
    """Return a new protocol object.

    Args:
        name: one of ``NAMES``.
        secret: returns the secret of ``--token-cmd``; it replaces the environment variable.

    Raises:
        CommandError: there is no such protocol, or its secret is missing.
    """
    if name.startswith("id="):
        return JsonId(tuple(name[3:].split(".")) if "." in name else name[3:])
    if ":" in name:
        return _imported(name)
    kind = _CLASSES.get(name)
    if kind is None:
        raise CommandError(f"There is no protocol {name!r}; known are: {', '.join(NAMES)}.")
    made: Any = getattr(protocols, kind)
    variable = _SECRETS.get(name)
    if variable is None:
        return made()  # type: ignore[no-any-return]
    value = secret if secret is not None else os.environ.get(variable)
    if value is None and name == "ha":
        raise CommandError(f"The protocol ha needs a token: set {variable}, or use --token-cmd.")
    if callable(value) and name == "obs":
        value = value()
    return made(value)  # type: ignore[no-any-return]


def _imported(name: str) -> Protocol:
    module, _, attribute = name.partition(":")
    folder = os.getcwd()
    sys.path.insert(0, folder)  # a module in the current folder, as with `python -m`
    try:
        found = importlib.import_module(module)
        made: Any = found
        for part in attribute.split("."):
            made = getattr(made, part)
    except (ImportError, AttributeError) as error:
        raise CommandError(f"The protocol {name!r} can't be imported: {error}.") from error
    finally:
        with contextlib.suppress(ValueError):  # the module has removed it
            sys.path.remove(folder)
    made = made() if callable(made) else made
    if not isinstance(made, Protocol):
        raise CommandError(f"{name!r} is not a wsclient.Protocol, but {type(made).__name__}.")
    return made
