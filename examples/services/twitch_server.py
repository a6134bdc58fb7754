"""A server with the rules of Twitch's EventSub over WebSocket, as they were documented in November 2026.

https://dev.twitch.tv/docs/eventsub/handling-websocket-events/ and, for the close codes, Twitch's own mock server:
https://github.com/twitchdev/twitch-cli/blob/main/internal/events/websocket/mock_server/close_messages.go

* The first message is ``session_welcome`` with the session's id. The client subscribes by HTTP, with this id, within
  10 s (4003). It must not send messages (4001). A message comes at least every 10 s: ``session_keepalive``.
* Before a server restarts, it sends ``session_reconnect`` with a URL. The new connection has the same subscriptions.
  The old one gets events until the new one's welcome; the client closes it within 30 s (4004). A URL is valid for one
  connection (4007).
"""

import contextlib
import json
import threading
import time
import uuid
from urllib.parse import parse_qs, urlsplit

from websockets.exceptions import ConnectionClosed


class Session:
    def __init__(self, connection):
        self.connection, self.id = connection, uuid.uuid4().hex
        self.subscriptions, self.used, self.sent = set(), False, time.monotonic()

    def send(self, kind, payload):
        self.sent = time.monotonic()
        metadata = {"message_id": uuid.uuid4().hex, "message_type": kind}
        with contextlib.suppress(ConnectionClosed):
            self.connection.send(json.dumps({"metadata": metadata, "payload": payload}))

    def announce(self, kind, status, **more):
        self.send(kind, {"session": {"id": self.id, "status": status, "reconnect_url": None} | more})


class EventSub:
    def __init__(self, *, keepalive=10, unused=10, grace=30):
        self.keepalive, self.unused, self.grace = keepalive, unused, grace
        self.sessions, self.replaced, self.lock = {}, {}, threading.Lock()

    def handle(self, connection):
        session = Session(connection)
        token = parse_qs(urlsplit(connection.request.path).query).get("reconnect_id", [None])[0]
        with self.lock:  # no event comes between the welcome and the move of the subscriptions
            old = self.replaced.pop(token, None)
            if token and old is None:
                return connection.close(4007, "invalid reconnect attempt")
            session.announce("session_welcome", "connected", keepalive_timeout_seconds=self.keepalive)
            if old is not None:
                session.subscriptions, old.subscriptions, session.used = old.subscriptions, set(), True
            self.sessions[session.id] = session
        welcomed = session.sent
        try:
            while True:
                unused = float("inf") if session.used else welcomed + self.unused
                try:
                    connection.recv(timeout=max(0, min(unused, session.sent + self.keepalive) - time.monotonic()))
                    return connection.close(4001, "sent inbound traffic")
                except TimeoutError:
                    if not session.used and time.monotonic() >= unused:
                        return connection.close(4003, "connection unused")
                    if time.monotonic() >= session.sent + self.keepalive:
                        session.send("session_keepalive", {})
        finally:
            del self.sessions[session.id]

    def subscribe(self, request):
        """``POST /helix/eventsub/subscriptions``."""
        with self.lock:
            session = self.sessions.get(request["transport"]["session_id"])
        if session is None:
            return 400, {"message": "websocket transport session does not exist or has already disconnected"}
        if request["type"] in session.subscriptions:
            return 409, {"message": "subscription already exists"}
        session.subscriptions.add(request["type"])
        session.used = True
        return 202, {"data": [{"type": request["type"], "status": "enabled"}]}

    def publish(self, kind, event):
        """Send an event to the sessions that subscribed to its type."""
        with self.lock:
            for session in [one for one in self.sessions.values() if kind in one.subscriptions]:
                session.send("notification", {"subscription": {"type": kind}, "event": event})

    def reconnect(self):
        """Ask all clients to reconnect, as before a restart."""
        with self.lock:
            sessions = list(self.sessions.values())
        for session in sessions:
            token = uuid.uuid4().hex
            self.replaced[token] = session
            url = f"ws://{session.connection.request.headers['Host']}/ws?reconnect_id={token}"
            session.announce("session_reconnect", "reconnecting", reconnect_url=url)
            timer = threading.Timer(self.grace, self.expire, (token, session))
            timer.daemon = True
            timer.start()

    def expire(self, token, session):
        self.replaced.pop(token, None)
        session.connection.close(4004, "client reconnect grace time expired")
