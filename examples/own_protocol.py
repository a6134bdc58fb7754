"""A user-defined protocol: lines of text; a message has several lines or a part of one. Needs only `websockets`.

Run: python examples/own_protocol.py
"""

import itertools
import threading

from websockets.sync.server import serve

import wsclient


class Lines(wsclient.Protocol):
    """``VERB id text`` and a newline: ASK is answered by OK or NO, SUB by any number of MSG."""

    def __init__(self):
        self.numbers = itertools.count(1)

    def reset(self):
        self.rest = ""  # discards a partial line of the previous connection

    def new_id(self):
        return str(next(self.numbers))

    def encode_request(self, message, id):
        verb, text = message
        return f"{verb} {id} {text}\n"

    def decode(self, payload):
        *lines, self.rest = (self.rest + payload).split("\n")
        return [self.meaning(*line.split(" ", 2)) for line in lines]

    def meaning(self, verb, id="", text=""):
        if verb == "PING":
            return wsclient.Control(answer="PONG\n")
        if verb == "NO":
            return wsclient.Failure(id, wsclient.RemoteError(None, text))
        return {"OK": wsclient.Reply, "MSG": wsclient.Item}[verb](id, text)

    def stream_of(self, request, id, reply=None):
        return id if request[0] == "SUB" else None

    def unsubscribe(self, request, id, reply):
        return f"UNSUB {id}\n"


def server(connection):
    for line in connection:
        verb, id, text = (line.rstrip("\n") + "  ").split(" ", 2)
        if verb == "ASK":
            connection.send(f"PING\nOK {id} {text.strip()[::-1]}\n" if text.strip() else f"NO {id} nothing to turn\n")
        elif verb == "SUB":
            connection.send(f"MSG {id} one\nMSG {id} tw")  # a partial line; the rest follows
            connection.send(f"o\nMSG {id} three\n")


def main():
    with serve(server, "localhost", 0) as listener:
        threading.Thread(target=listener.serve_forever).start()
        with wsclient.connect(f"ws://localhost:{listener.socket.getsockname()[1]}/", protocol=Lines()) as client:
            print("answer:", client.request(("ASK", "stressed"), timeout=5))
            try:
                client.request(("ASK", ""), timeout=5)
            except wsclient.RemoteError as error:
                print("error:", error.message)
            with client.subscribe(("SUB", "numbers")) as numbers:
                print("items:", numbers.get(5), numbers.get(5), numbers.get(5))
        listener.shutdown()


if __name__ == "__main__":
    main()
