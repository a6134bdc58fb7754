"""Move from ``WebSocketApp`` of websocket-client. This library is built on it; the names of the hooks are the same.

Before:

    app = websocket.WebSocketApp(url, header=["X-Key: 1"], on_open=..., on_message=take, on_close=..., on_error=...)
    threading.Thread(target=app.run_forever, kwargs={"ping_interval": 20, "ping_timeout": 10, "reconnect": 5}).start()
    app.send(json.dumps({"op": "add"}))             # raises if the connection is lost at this moment

After:

    client = wsclient.connect(url, headers={"X-Key": "1"}, on_open=..., on_message=take, on_close=..., on_error=...)
    client.send({"op": "add"})                      # waits in a queue until it can be sent

Change: no thread of your own: ``connect()`` returns when the connection is open, or raises. ``client.run_forever()``
still exists for programs that do nothing else. JSON objects come decoded (``json=None``: as they came). Hooks run on
their own thread, so one that takes long does not delay the pings. ``request()`` returns the answer to a message.
``sslopt={"ca_certs": path}`` becomes ``ssl_ca=path``; ``http_proxy_host=...`` becomes ``proxy=url``.

Why: reconnects with back-off, a queue, requests, and a ``close()`` that returns in time.
How: replace one after the other; both libraries may be used in one program.
Run: python examples/cookbook/from_websocketapp.py
"""

import json
import queue

import wsclient
from wsclient.testing import Server


def answer(connection, text):
    message = json.loads(text)
    return {"id": message["id"], "sum": sum(message["add"])} if "id" in message else {"news": message}


if __name__ == "__main__":
    seen = queue.Queue()
    with (
        Server(answer) as server,
        wsclient.connect(
            server.url,
            on_open=lambda client: seen.put("open"),
            on_message=lambda client, message: seen.put(message),
            on_close=lambda client, code, reason: seen.put(f"closed: {code}"),
        ) as client,
    ):
        client.send({"op": "hello"})
        print(seen.get(timeout=30))
        print(seen.get(timeout=30))
        print("sum:", client.request({"add": [1, 2]})["sum"])
    print(seen.get(timeout=30))
