"""Answer the calls of the server: it asks, your function's result is the answer.

Why: in JSON-RPC, language servers, OCPP and others both sides call each other.
How: ``client.handle("method")`` registers a function. What it returns is sent back with the id of the call; what it
raises is sent as an error (``RemoteError`` with your code). ``workers=1`` runs it on a thread of its own, so that
neither the hooks nor other methods wait for it; it may call ``client.request()``.

Change: the protocol (``JsonRpc()`` here), the methods and what they do.
Run: python examples/cookbook/answer_server.py
"""

import json

import wsclient
from wsclient.testing import Server

buying = {}  # of the server: the id of the purchase that waits for a confirmation


def serve(connection, text):
    message = json.loads(text)
    if message.get("method") == "buy":
        buying[connection] = message["id"]
        return {"jsonrpc": "2.0", "id": "q1", "method": "confirm", "params": message["params"]}
    result = "bought" if "result" in message else f"not bought: {message['error']['message']}"
    return {"jsonrpc": "2.0", "id": buying.pop(connection), "result": result}


if __name__ == "__main__":
    with Server(serve) as server, wsclient.connect(server.url, protocol=wsclient.JsonRpc()) as client:

        @client.handle("confirm", workers=1)
        def confirm(params):
            if params["price"] > 100:
                raise wsclient.RemoteError(1, "too expensive")
            return True

        print(client.call("buy", {"price": 99}))
        print(client.call("buy", {"price": 101}))
