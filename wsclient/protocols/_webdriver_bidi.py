"""WebDriver BiDi (www.w3.org/TR/webdriver-bidi)."""

from __future__ import annotations

import copy
from typing import Any

from ._commands import Commands
from ._incoming import Request
from ._session import Session

__all__ = ["WebDriverBiDi"]


class WebDriverBiDi(Commands):
    """WebDriver BiDi: ``client.call("module.command", params)`` returns the result::

        with client.subscribe({"method": "session.subscribe", "params": {"events": ["log.entryAdded"]}}) as entries:
            client.call("browsingContext.navigate", {"context": context, "url": url, "wait": "complete"})
            text = entries.get(timeout=10)["params"]["text"]

    A session is made in one of two ways. In the first way, another program makes a WebDriver session with the
    capability ``webSocketUrl: true``. The answer of the browser contains a URL under the name of this capability; the
    client connects to this URL. When the session is not needed any more, the other program ends it. In the second way,
    with ``capabilities=``, the client makes a session itself (``session.new``) at a URL that ends with ``/session``.
    The client ends it (``session.end``) when the client is closed. The answer to ``session.new`` is in
    ``client.memo["session.new"]``.

    A lost connection does not end its session. To use the session again, a client that makes its session needs a
    function as its URL, which returns a URL with the session's id. Otherwise a reconnect makes a second session, which
    a browser that permits one session refuses. A browser that has restarted refuses the URL, since it does not have the
    session any more; then the function ``forget`` makes the next attempt make another session::

        def url():
            made = client.memo.get("session.new")
            return f"{base}/session/{made['sessionId']}" if made else f"{base}/session"

        def forget(error):
            if isinstance(error, wsclient.HandshakeError) and client.memo.pop("session.new", None):
                return True
            return None

        again = wsclient.Reconnect(should_retry=forget)
        client = wsclient.Client(url, protocol=WebDriverBiDi(capabilities={}), reconnect=again)

    Firefox (as of version 153) does not follow the specification if the client has made the session: a request for the
    URL of the session is answered with 404, and another session is refused with ``"session not created"``. So after a
    lost connection the client tries again until Firefox has restarted; ``client.reconnect()`` loses the session, too.
    By its source code (``remote/webdriver-bidi/WebDriverBiDi.sys.mjs``) Firefox keeps the URL of a session that was
    made over HTTP.

    An error is raised as a ``RemoteError``: its code is a string such as ``"no such frame"``, its data the stack trace.

    The topic of an event is its method, such as ``log.entryAdded``, for ``client.on()``. ``client.subscribe()``
    recognises its messages if ``session.subscribe`` names one event and no contexts; with several events, a whole
    module (``"log"``) or contexts it needs ``match=``. When the subscription is closed, the client ends it in the
    browser by its id, so other subscriptions to the same event continue.

    The rules are those of www.w3.org/TR/webdriver-bidi, sections "Protocol" and "The session Module". It is tested
    with chromedriver and Chromium, and with Firefox ESR 153.

    Args:
        capabilities: the param ``capabilities`` of ``session.new``, such as ``{"alwaysMatch": {...}}``; None if the
            URL is that of a session.
    """

    def __init__(self, *, capabilities: dict[str, Any] | None = None) -> None:
        if capabilities is not None and not isinstance(capabilities, dict):
            raise TypeError(f"capabilities must be a dict or None, not {type(capabilities).__name__}.")
        super().__init__(result="result", error=_error_of)
        self._capabilities = copy.deepcopy(capabilities)

    def on_session(self, session: Session) -> None:
        """With ``capabilities=``, make a session, unless the URL leads to the one that was made before.

        Raises:
            RemoteError: the browser refused it.
        """
        if self._capabilities is None:
            return
        made = session.memo.get("session.new")
        if made is None or not session.connection.url.endswith(f"/session/{made['sessionId']}"):
            session.memo["session.new"] = session.call("session.new", {"capabilities": self._capabilities})

    def goodbye(self) -> Request | None:
        """``session.end``, if the client makes its sessions (``capabilities=``)."""
        return None if self._capabilities is None else Request(self._command("session.end", None))

    def stream_of(self, request: Any, id: Any, reply: Any = None) -> Any | None:
        """The event's name, if the request subscribes to one event in all contexts. None before the reply, so that the
        reply is awaited.
        """
        params = request.get("params") if isinstance(request, dict) else None
        if reply is None or not isinstance(params, dict) or request.get("method") != "session.subscribe":
            return None
        events = params.get("events")
        event = events[0] if isinstance(events, (list, tuple)) and len(events) == 1 else None
        is_one = isinstance(event, str) and "." in event
        return event if is_one and not params.get("contexts") and not params.get("userContexts") else None

    def unsubscribe(self, request: Any, id: Any, reply: Any) -> Request | None:
        """``session.unsubscribe`` with the id in the reply; for browsers that have no ids yet, with the same params."""
        if not isinstance(request, dict) or request.get("method") != "session.subscribe":
            return None
        key = reply.get("subscription") if isinstance(reply, dict) else None
        params = request.get("params") if key is None else {"subscriptions": [key]}
        return Request(self._command("session.unsubscribe", params))

    def _command(self, method: str, params: dict[str, Any] | None) -> dict[str, Any]:
        return {"method": method, "params": {} if params is None else params}  # the params are required

    def _event(self, message: Any) -> Any:
        event = super()._event(message)
        event.stream = event.topic
        return event


def _error_of(reply: dict[str, Any]) -> dict[str, Any] | None:
    """The error in a reply; its three members are beside the id."""
    if reply.get("type") != "error":
        return None
    return {"code": reply.get("error"), "message": reply.get("message", ""), "data": reply.get("stacktrace")}
