"""Watch a feed that goes quiet: the server answers pings, but sends nothing any more.

Why: a server whose feed hangs still answers pings, so no keepalive notices it.
How: ``quiet=Quiet(after=30)`` replaces a connection that has brought no message for 30 s, and subscribes again.
``counts=`` says which messages count: not the server's own "I am alive". ``active=`` may say that nothing is expected
now (the market is closed); ``action="report"`` only calls ``on_quiet``.

Change: the seconds (some times the longest pause that is normal), ``counts``, and the subscription.
Run: python examples/cookbook/quiet_feed.py [SECONDS]
"""

import itertools
import json
import sys

import wsclient
from wsclient.testing import Server

AFTER = float(sys.argv[1]) if len(sys.argv) > 1 else 0.5
prices = itertools.count(100)
silences = []


def feed(connection, text):
    for price in itertools.islice(prices, 2):  # then it hangs
        connection.send(json.dumps({"type": "trade", "price": price}))
    return {"type": "alive"}


if __name__ == "__main__":
    quiet = wsclient.Quiet(AFTER, counts=lambda message: message["type"] != "alive")
    with (
        Server(feed) as server,
        wsclient.connect(server.url, quiet=quiet, on_quiet=lambda client, seconds: silences.append(seconds)) as client,
    ):
        for trade in itertools.islice(client.subscribe({"op": "trades"}, match=lambda m: m["type"] == "trade"), 4):
            print("price:", trade["price"])
        print("the connection was replaced because of:", client.last_disconnect.initiator)
    print("silences:", len(silences))
