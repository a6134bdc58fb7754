"""The base of presets for servers that answer every message of the client."""

from __future__ import annotations

from typing import Any

from ._json_id import JsonId

__all__ = ["Commands"]


class Commands(JsonId):
    """Correlation by id for a protocol in which each message of the client is a command: it has an id and an answer,
    and its parameters are an object.
    """

    def build(self, method: str, params: Any, notify: bool) -> Any:
        """The message of a command.

        Raises:
            TypeError: ``notify`` is True, or ``params`` is neither a ``dict`` nor None.
        """
        name = type(self).__name__
        if notify:
            raise TypeError(f"{name} has no notifications, since the server answers every command; use call().")
        if params is not None and not isinstance(params, dict):
            raise TypeError(f"The params of {method} must be a dict, as {name} requires, not {type(params).__name__}.")
        return self._command(method, params)

    def _command(self, method: str, params: dict[str, Any] | None) -> dict[str, Any]:
        """The message of a command, without its id. The params must not be changed."""
        raise NotImplementedError
