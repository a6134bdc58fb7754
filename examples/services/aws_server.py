"""A server with the rules of WebSocket APIs in Amazon API Gateway, as they were documented in November 2026.

https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html
and .../apigateway-websocket-api-overview.html (close codes)

* A connection is closed (1001) after 10 min without a message in either direction, and after 2 h in any case. Pings and
  pongs are no messages.
* ``action`` of a message chooses the function that is called (``$default`` if none has this name). What it returns is
  sent to the client. Without a function for it, the answer is "Forbidden"; if the function raises, "Internal server
  error". Functions run at the same time; their results come in any order, also after the connection was replaced.
* A message has at most 128 KB, a frame 32 KB (1009). Binary messages are refused (1003).
* The token in the URL is checked when the connection is opened, and never again.
"""

import contextlib
import json
import threading
import time
import uuid
from http import HTTPStatus
from urllib.parse import parse_qs, urlsplit

from websockets.exceptions import ConnectionClosed

FRAME = 32 * 1024  # bytes
MESSAGE = 128 * 1024  # ``max_size`` of the server


class Gateway:
    """``routes``: a function of ``(connection_id, body)`` for each action; ``authorize(token)``: is the token valid?"""

    def __init__(self, routes, *, authorize=lambda token: True, idle=600, lifetime=7200):
        self.routes, self.authorize, self.idle, self.lifetime = routes, authorize, idle, lifetime
        self.connections = {}  # by connection id: ``[connection, time of its latest message]``

    def connect(self, connection, request):
        """``process_request`` of the server: refuses a connection without a valid token."""
        token = parse_qs(urlsplit(request.path).query).get("token", [None])[0]
        return None if self.authorize(token) else connection.respond(HTTPStatus.FORBIDDEN, "Forbidden")

    def judge(self, connection, frame):
        """Called for each frame, see ``serving.Watched``."""
        return (1009, "Message or frame too big") if len(frame.data) > FRAME else None

    def handle(self, connection):
        me, began = uuid.uuid4().hex, time.monotonic()
        entry = self.connections[me] = [connection, began]
        try:
            while (left := min(began + self.lifetime, entry[1] + self.idle) - time.monotonic()) > 0:
                with contextlib.suppress(TimeoutError):
                    message = connection.recv(timeout=left)
                    entry[1] = time.monotonic()
                    if isinstance(message, bytes):
                        return connection.close(1003, "Binary messages are not supported")
                    threading.Thread(target=self.invoke, args=(me, message), daemon=True).start()
            connection.close(1001, "Going away")
        finally:
            del self.connections[me]

    def invoke(self, me, message):
        try:
            body = json.loads(message)
            action = body["action"]
        except (ValueError, TypeError, KeyError):
            body, action = message, "$default"
        route, error = self.routes.get(action, self.routes.get("$default")), "Forbidden"
        try:
            answer = route(me, body) if route else None
        except Exception:
            route, error = None, "Internal server error"
        if route is None:
            answer = {"message": error, "connectionId": me, "requestId": uuid.uuid4().hex}
        if answer is not None:
            self.post(me, answer)

    def post(self, connection_id, data):
        """``POST /@connections/{connection_id}``; returns the HTTP status: 410 for a connection that has ended."""
        try:
            entry = self.connections[connection_id]
            entry[0].send(json.dumps(data))
        except (KeyError, ConnectionClosed):
            return 410
        entry[1] = time.monotonic()
        return 200
