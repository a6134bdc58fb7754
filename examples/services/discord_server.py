"""A server with the rules of Discord's gateway, as they were documented in November 2026.

https://docs.discord.com/developers/events/gateway and .../topics/opcodes-and-status-codes

* The first message is Hello (10) with the heartbeat interval. The client sends Heartbeat (1) in each interval, each is
  acknowledged (11); without one the connection is closed (4009). It identifies itself (2) and gets READY with a session
  id and a URL, or it resumes (6) a session from a sequence number (4007): it gets later events again, then RESUMED.
* Invalid Session (9): the client resumes again (``d`` is true), or disconnects and identifies itself (false).
* A session ends when the client closes with 1000 or 1001; after any other end of the connection it can be resumed.
* A message has at most 4096 bytes (4002), and at most 120 come in 60 s (4008). More close codes: wrong opcode (4001),
  not identified (4003), identified twice (4005), and wrong token (4004), after which a client must not reconnect.
"""

import contextlib
import json
import threading
import time
import uuid

from websockets.exceptions import ConnectionClosed

DISPATCH, HEARTBEAT, IDENTIFY, PRESENCE, RESUME, RECONNECT, INVALID_SESSION, HELLO, ACK = 0, 1, 2, 3, 6, 7, 9, 10, 11


class Refused(Exception):
    """Its argument is a close code."""


class Session:
    def __init__(self, connection):
        self.id, self.connection, self.events, self.lock = uuid.uuid4().hex, connection, [], threading.Lock()

    def dispatch(self, name, data):
        with self.lock, contextlib.suppress(ConnectionClosed):  # the events stay for RESUME
            self.events.append({"op": DISPATCH, "t": name, "d": data, "s": len(self.events) + 1})
            self.connection.send(json.dumps(self.events[-1]))

    def resume(self, connection, seq):
        with self.lock:
            self.connection = connection
            for event in self.events[seq:]:
                connection.send(json.dumps(event))
        self.dispatch("RESUMED", {})


class Gateway:
    """``invalid`` has the ``d`` of Invalid Session for the next RESUMEs. A ``silent`` gateway acknowledges nothing."""

    def __init__(self, token, *, interval=41.25, tolerance=1.5, messages=120, per=60):
        self.token, self.interval, self.tolerance, self.messages, self.per = token, interval, tolerance, messages, per
        self.sessions, self.invalid, self.silent = {}, [], False

    def handle(self, connection):
        connection.send(json.dumps({"op": HELLO, "d": {"heartbeat_interval": int(self.interval * 1000)}}))
        times, session, beat = [], None, time.monotonic()
        try:
            while True:
                text = connection.recv(timeout=max(0, beat + self.tolerance * self.interval - time.monotonic()))
                now = time.monotonic()
                times = [at for at in times if at > now - self.per] + [now]
                op, data = self.parse(text)
                if len(times) > self.messages:
                    raise Refused(4008)
                if op == HEARTBEAT:
                    beat = now
                    if not self.silent:
                        connection.send(json.dumps({"op": ACK}))
                else:
                    session = self.take(connection, session, op, data)
        except TimeoutError:
            connection.close(4009)
        except Refused as refused:
            connection.close(refused.args[0])
        except ConnectionClosed as closed:
            if session and session.connection is connection and closed.rcvd and closed.rcvd.code in (1000, 1001):
                del self.sessions[session.id]

    def parse(self, text):
        try:
            message = json.loads(text if len(text) <= 4096 else "")
            return message["op"], message.get("d")
        except (ValueError, TypeError, KeyError):
            raise Refused(4002) from None

    def take(self, connection, session, op, data):
        """Answer a message, and return the session of the connection after it."""
        if op not in (IDENTIFY, PRESENCE, RESUME):
            raise Refused(4001)
        if (op == PRESENCE) is (session is None):
            raise Refused(4003 if session is None else 4005)
        if op == PRESENCE:
            return session
        if data["token"] != self.token:
            raise Refused(4004)
        if op == IDENTIFY:
            session = Session(connection)
            self.sessions[session.id] = session
            url = f"ws://{connection.request.headers['Host']}/resume"
            session.dispatch("READY", {"session_id": session.id, "resume_gateway_url": url})
        elif self.invalid or data["session_id"] not in self.sessions:
            again = self.invalid.pop(0) if self.invalid else False
            connection.send(json.dumps({"op": INVALID_SESSION, "d": again}))
        else:
            session = self.sessions[data["session_id"]]
            if not 0 <= data["seq"] <= len(session.events):
                raise Refused(4007)
            session.resume(connection, data["seq"])
        return session

    def dispatch(self, name, data):
        """Send an event to all sessions."""
        for session in list(self.sessions.values()):
            session.dispatch(name, data)

    def reconnect(self):
        """Ask the clients to reconnect (7), and close their connections, as before a restart."""
        for session in list(self.sessions.values()):
            with contextlib.suppress(ConnectionClosed):
                session.connection.send(json.dumps({"op": RECONNECT}))
                session.connection.close(4000)
