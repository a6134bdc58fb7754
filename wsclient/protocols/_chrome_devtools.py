"""The Chrome DevTools Protocol (chromedevtools.github.io/devtools-protocol), with flat sessions."""

from __future__ import annotations

import typing
from typing import Any

from .._options import DEFAULT
from ._commands import Commands

__all__ = ["ChromeDevTools"]


class _Caller(typing.Protocol):
    """A client, or a session during the set-up of a connection."""

    def call(self, method: str, params: Any = None, *, timeout: float | None = DEFAULT) -> Any: ...


class ChromeDevTools(Commands):
    """The Chrome DevTools Protocol: ``client.call("Domain.method", params)`` returns the result::

        browser = wsclient.connect(url, protocol=ChromeDevTools())  # the URL that Chromium prints at its start
        page = ChromeDevTools.attach(browser)
        browser.on("Page.loadEventFired", lambda event: loaded.put(event["sessionId"]))
        browser.call("Page.enable", {"session": page})
        browser.call("Page.navigate", {"session": page, "url": "https://example.org"})

    One connection serves the browser and all its pages. A command for a page, a worker or a frame contains the id of
    its session, which ``attach()`` returns. Pass this id to ``call()`` as the param ``session``; ``call()`` sends it as
    ``sessionId``. No method of the protocol has a param with the name ``session``. In a whole message, as ``request()``
    and ``subscribe()`` take it, the member ``sessionId`` stands beside ``method``.

    The topic of an event is its method; ``event["sessionId"]`` is its session, ``event["params"]`` its content. A
    domain sends events after its method ``enable`` was called. ``subscribe()`` needs ``match=``, since an event does
    not contain the id of a command.

    An error is raised as a ``RemoteError``. A command whose target is closed before the answer is never answered, so
    it ends at its timeout; the event ``Target.detachedFromTarget`` reports that a session is gone. Sessions end with
    the connection, and the URL changes with each start of the browser: give the client a function as its URL, and call
    ``attach()`` in ``on_session``.

    The rules are those of chromedevtools.github.io/devtools-protocol, domain Target (``attachToTarget``, ``flatten``),
    and of github.com/aslushnikov/getting-started-with-cdp ("Targets & Sessions"). It is tested with Chromium.
    """

    def __init__(self) -> None:
        super().__init__(result="result", error="error")

    @staticmethod
    def attach(caller: _Caller, target: str | None = None) -> str:
        """Attach a flat session to a target.

        Args:
            caller: the client; or in ``on_session`` the session of the connection that is being set up.
            target: the target's id, as in ``Target.getTargets``; None to open a page with ``about:blank``.

        Returns:
            The session's id, for the param ``session`` of ``call()``.

        Raises:
            RemoteError: there is no such target.
            Exception: the other errors of ``call()``.
        """
        if target is None:
            target = caller.call("Target.createTarget", {"url": "about:blank"})["targetId"]
        id: str = caller.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        return id

    def _command(self, method: str, params: dict[str, Any] | None) -> dict[str, Any]:
        if params is None:
            return {"method": method}
        if "session" not in params:
            return {"method": method, "params": params}
        session = params["session"]
        if not isinstance(session, str):
            raise TypeError(f"The param session must be the id that attach() returned, not {type(session).__name__}.")
        others = {name: value for name, value in params.items() if name != "session"}
        return {"method": method, "params": others, "sessionId": session}
