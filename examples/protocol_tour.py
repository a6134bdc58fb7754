"""WebSocket from the client's side, from the upgrade to the close code: python examples/protocol_tour.py"""

import threading

from websockets.sync.server import serve

import wsclient


def guide(connection):
    connection.send("you did not ask: either side may speak at any time")
    [connection.send(message) for message in connection]


class Tourist(wsclient.Client):
    def on_session(self, session):  # called after the response 101, before any message
        print("upgraded to", session.headers["Upgrade"])

    def on_close(self, code, reason):
        print("closed with", code, reason)


if __name__ == "__main__":
    with serve(guide, "localhost", 0, origins=["https://example.org"]) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"ws://localhost:{server.socket.getsockname()[1]}/"
        client = Tourist(url, origin="https://example.org")
        with client.listen() as messages, client:  # listens before the client starts, so no message is missed
            print("got", messages.get(timeout=5))
            for message in ("a text frame", b"a binary frame", {"JSON": "in a text frame"}):
                client.send(message)
                print("got", messages.get(timeout=5))
            client.flush()
            print("a ping was answered:", client.latency > 0)
            client.close(1000, "the tour is over")
        try:
            wsclient.connect(url, origin="https://elsewhere.org")
        except wsclient.HandshakeError as error:
            print("another origin is refused with HTTP", error.status)
