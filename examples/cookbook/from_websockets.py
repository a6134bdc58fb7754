"""Move from ``websockets.sync.client``, or from ``websocket.create_connection()``: from ``recv()`` to requests.

Before:

    with websockets.sync.client.connect(url) as ws:
        ws.send(json.dumps({"id": 1, "add": [1, 2]}))
        while True:                                 # is it the answer, or something else?
            message = json.loads(ws.recv(timeout=10))
            if message.get("id") == 1:
                break
        for text in ws:                             # ends when the connection is lost
            print(json.loads(text))

After:

    with wsclient.connect(url) as client:
        message = client.request({"add": [1, 2]}, timeout=10)
        with client.listen() as messages:           # goes on after a reconnect
            for message in messages:
                print(message)

Change: a message that answers nothing is received by ``listen()``; begin it before the message that makes the server
send: ``listen()`` does not bring what came earlier. ``additional_headers=`` becomes ``headers=``, ``ssl=`` becomes
``ssl_context=``, ``max_size=`` ``max_message_size=``. ``ConnectionClosed`` becomes ``ConnectionLost``, which only a
request in flight raises. Servers stay with ``websockets``: this library is a client.

Why: several threads may ask at the same time, and a lost connection is no end.
How: first ``send()`` and ``recv()`` in pairs become ``request()``; then loops over ``ws`` become ``listen()``.
Run: python examples/cookbook/from_websockets.py
"""

import json

import wsclient
from wsclient.testing import Server


def answer(connection, text):
    message = json.loads(text)
    connection.send(json.dumps({"news": "somebody adds"}))  # before the answer
    return {"id": message["id"], "sum": sum(message["add"])}


if __name__ == "__main__":
    with Server(answer) as server, wsclient.connect(server.url) as client, client.listen() as messages:
        print("sum:", client.request({"add": [1, 2]}, timeout=10)["sum"])
        server.cut_all()
        print("sum:", client.request({"add": [3, 4]}, timeout=10, idempotent=True)["sum"])
        print(messages.get(timeout=10))
        print(messages.get(timeout=10), "gaps:", messages.gaps)
