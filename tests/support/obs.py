"""A stand-in for obs-websocket 5, for machines without OBS Studio.

Its rules are those of github.com/obsproject/obs-websocket, ``docs/generated/protocol.md`` (5.0.0, at 00079872, read on
30 November 2026): "Connection steps", "Creating an authentication string", "Message Types (OpCodes)",
"WebSocketCloseCode", "EventSubscription".
"""

import base64
import hashlib
import json

from .standin import put, take

SALT = "lM1GncleQOaCu9lT1yeUZhFYnqhsLLP1G5lAGo3ixaI="
CHALLENGE = "+IxH4CnCiqpX1rM9scsNynZzbOe4KhDeYcTNS3PDaeY="
ALL = 2**11 - 1
"""``EventSubscription::All``: the categories that are not of high volume."""

SCENES = 1 << 2
VOLUME_METERS = 1 << 16
CODES = {"missing field": 4003, "op code": 4006, "not identified": 4007, "identified already": 4008, "password": 4009,
         "version": 4010}  # fmt: skip


def digest(text):
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


class Refused(Exception):
    """Closes the connection with the code of this reason."""


class Obs:
    """``handle`` serves one connection. ``masks`` has the event mask of each connection that is identified."""

    def __init__(self, password=None, *, rpc_version=1):
        self.password = password
        self.rpc_version = rpc_version
        self.scenes = ["Intro", "Talk"]
        self.masks = {}
        self.identified = []

    def handle(self, connection):
        hello = {"obsWebSocketVersion": "5.7.0", "rpcVersion": self.rpc_version}
        if self.password is not None:
            hello["authentication"] = {"challenge": CHALLENGE, "salt": SALT}
        put(connection, {"op": 0, "d": hello})
        try:
            while True:
                self.obey(connection, take(connection))
        except Refused as reason:
            connection.close(CODES[str(reason)], str(reason))
        finally:
            self.masks.pop(connection, None)

    def obey(self, connection, message):
        code, data = message.get("op"), message.get("d")
        if connection not in self.masks:
            if code != 1:
                raise Refused("not identified")
            if data["rpcVersion"] != self.rpc_version:
                raise Refused("version")
            if self.password is not None and data.get("authentication") != digest(
                digest(self.password + SALT) + CHALLENGE
            ):
                raise Refused("password")
            self.identified.append(data)
        if code == 1 and connection in self.masks:
            raise Refused("identified already")
        if code in (1, 3):
            self.masks[connection] = data.get("eventSubscriptions", ALL)
            put(connection, {"op": 2, "d": {"negotiatedRpcVersion": 1}})
        elif code in (6, 8) and not isinstance(data.get("requestId"), str):
            raise Refused("missing field")
        elif code == 6:
            put(connection, {"op": 7, "d": self.response(data)})
        elif code == 8:
            results = []
            for request in data["requests"]:
                results.append(self.response(request))
                if data.get("haltOnFailure") and not results[-1]["requestStatus"]["result"]:
                    break
            put(connection, {"op": 9, "d": {"requestId": data["requestId"], "results": results}})
        else:
            raise Refused("op code")

    def response(self, request):
        kind, data = request["requestType"], request.get("requestData", {})
        response = {name: request[name] for name in ("requestType", "requestId") if name in request}
        if kind == "GetSceneList":
            return {**response, "requestStatus": {"result": True, "code": 100}, "responseData": {"scenes": self.scenes}}
        if kind != "SetCurrentProgramScene":
            return {**response, "requestStatus": {"result": False, "code": 204, "comment": "No such request."}}
        if data["sceneName"] not in self.scenes:
            return {**response, "requestStatus": {"result": False, "code": 600}}
        self.emit("CurrentProgramSceneChanged", SCENES, {"sceneName": data["sceneName"]})
        return {**response, "requestStatus": {"result": True, "code": 100}}

    def emit(self, kind, intent, data):
        for connection, mask in list(self.masks.items()):
            if mask & intent:
                event = {"eventType": kind, "eventIntent": intent, "eventData": data}
                connection.send(json.dumps({"op": 5, "d": event}))
