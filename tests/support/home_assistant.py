"""A stand-in for Home Assistant's WebSocket API, for machines without Home Assistant.

Its rules are those of developers.home-assistant.io/docs/api/websocket (``docs/api/websocket.md`` of
github.com/home-assistant/developers.home-assistant at 058c2c7e, read on 30 November 2026): the phases, the forms of
messages, subscriptions, errors. What that text leaves out is as in github.com/home-assistant/core,
``homeassistant/components/websocket_api`` (``http.py`` at 019d9c64, ``connection.py``, ``const.py``): a refused login
closes with 1000, ids must rise (``id_reuse``), a message may be an array of commands, and after ``supported_features``
with ``coalesce_messages`` the server sends arrays.
"""

from .standin import put, take

VERSION = "2026.11.0"


class Home:
    """``handle`` serves one connection. ``visits`` are those that have logged in."""

    def __init__(self, token="secret", *, knows_features=True):
        self.token = token
        self.knows_features = knows_features
        self.visits = []
        self.tokens = []

    def handle(self, connection):
        put(connection, {"type": "auth_required", "ha_version": VERSION})
        login = take(connection)
        self.tokens.append(login.get("access_token"))
        if login.get("type") != "auth" or login["access_token"] != self.token:
            put(connection, {"type": "auth_invalid", "message": "Invalid access token or password"})
            return
        put(connection, {"type": "auth_ok", "ha_version": VERSION})
        visit = Visit(self, connection)
        self.visits.append(visit)
        while True:
            commands = take(connection)
            for command in commands if isinstance(commands, list) else [commands]:
                visit.obey(command)
            visit.write()

    def fire(self, name, data):
        """An event of the house, for the subscriptions of all connections."""
        for visit in self.visits:
            visit.fire(name, data)
            visit.write()


class Visit:
    """One connection: its last id, its features, its subscriptions, and the messages to write."""

    def __init__(self, home, connection):
        self.home, self.connection = home, connection
        self.last, self.features, self.subscriptions, self.out = 0, {}, {}, []
        self.types = []

    def obey(self, command):
        id, kind = command.get("id"), command.get("type")
        if type(id) is not int or id <= 0 or not isinstance(kind, str):
            self.fail(id, "invalid_format", "Message incorrectly formatted.")
            return
        if id <= self.last:
            self.fail(id, "id_reuse", "Identifier values have to increase.")
            return
        self.last = id
        self.types.append(kind)
        if kind == "ping":
            self.out.append({"id": id, "type": "pong"})
        elif kind == "supported_features" and self.home.knows_features:
            self.features = command["features"]
            self.succeed(id)
        elif kind in ("subscribe_events", "subscribe_trigger"):
            self.subscriptions[id] = command.get("event_type")
            self.succeed(id)
        elif kind == "unsubscribe_events":
            if self.subscriptions.pop(command["subscription"], self) is self:
                self.fail(id, "not_found", "Subscription not found.")
            else:
                self.succeed(id)
        elif kind == "get_states":
            self.succeed(id, [{"entity_id": "light.kitchen", "state": "on"}])
        elif kind == "fire_event":
            self.fire(command["event_type"], command.get("event_data", {}))
            self.succeed(id, {"context": {"id": "1", "parent_id": None, "user_id": None}})
        else:
            self.fail(id, "unknown_command", "Unknown command.")

    def fire(self, name, data):
        for id, wanted in self.subscriptions.items():
            if wanted in (None, name):
                self.out.append({"id": id, "type": "event", "event": {"event_type": name, "data": data}})

    def succeed(self, id, result=None):
        self.out.append({"id": id, "type": "result", "success": True, "result": result})

    def fail(self, id, code, message):
        error = {"code": code, "message": message}
        self.out.append({"id": id, "type": "result", "success": False, "error": error})

    def write(self):
        out, self.out = self.out, []
        if "coalesce_messages" in self.features and len(out) > 1:
            put(self.connection, out)
        else:
            for message in out:
                put(self.connection, message)
