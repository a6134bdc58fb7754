"""Subscribe, load a snapshot, apply the updates; after a lost connection catch up with a new snapshot.

Why: updates say what changed. They make sense only with the state before them, and if none is missing.
How: subscribe first, so that nothing is missed between the two. Then the snapshot; its number says which updates it
contains already. The subscription continues after a reconnect, and ``on_gap`` is called, on your thread, before the
first update that follows the gap: there the snapshot is loaded again.

Change: the two messages, ``match=`` (whose message is it?), and the names of the fields.
Run: python examples/cookbook/snapshot.py
"""

import json

import wsclient
from wsclient.testing import Server

state = {"seq": 0, "prices": {}}  # of the server


def answer(connection, text):
    message = json.loads(text)
    return {"id": message["id"], **state} if message["op"] == "snapshot" else None


def change(server, coin, price):
    state["seq"] += 1
    state["prices"][coin] = price
    server.send_all(json.dumps({"seq": state["seq"], "coin": coin, "price": price}))


class Book:
    def __init__(self, client):
        self.client = client
        self.updates = client.subscribe({"op": "subscribe"}, match=lambda message: "coin" in message, on_gap=self.load)
        self.load()

    def load(self, updates=None):
        snapshot = self.client.request({"op": "snapshot"}, idempotent=True)
        self.seq, self.prices = snapshot["seq"], snapshot["prices"]

    def follow(self):
        update = self.updates.get(timeout=30)
        if update["seq"] > self.seq:  # else it is in the snapshot
            self.seq = update["seq"]
            self.prices[update["coin"]] = update["price"]
        return self.prices


if __name__ == "__main__":
    with Server(answer) as server, wsclient.connect(server.url) as client:
        change(server, "btc", 1)
        book = Book(client)
        change(server, "eth", 2)
        print(book.follow())
        server.stop()
        change(server, "btc", 3)  # while no client is connected
        server.start()
        server.wait_for(3)  # subscribe, snapshot; on the new connection: subscribe
        change(server, "eth", 4)
        print(book.follow())
        print("gaps:", book.updates.gaps)
