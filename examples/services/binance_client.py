"""A client of a feed with Binance's rules: paced, and renewed before the server ends the connection.

Run: python binance_client.py
"""

import threading

from binance_server import Feed
from serving import running

import wsclient

SYMBOLS = ("btcusdt", "ethusdt", "bnbusdt")


class Streams(wsclient.JsonId):
    """``/stream``: each event has the name of its stream. A subscription is complete when its reply has come."""

    def __init__(self):
        super().__init__(stream="stream")

    def stream_of(self, request, id, reply=None):
        return None if reply is None else request["params"][0]

    def unsubscribe(self, request, id, reply):
        return wsclient.Request({"method": "UNSUBSCRIBE", "params": request["params"]})


def open_feed(url, *, rate=4, lifetime=24 * 3600, **options):
    """A client that sends 4 messages per second: 5 are allowed, and pongs are among them."""
    renew = wsclient.Renew(every=0.8 * lifetime, on=is_shutdown)  # ``every`` varies by a tenth
    options |= {"protocol": Streams(), "send_queue": wsclient.SendQueue(rate=rate), "renew": renew}
    return wsclient.connect(f"{url}/stream", **options)


def is_shutdown(message):
    return message.get("stream") == "!serverShutdown"


def subscribe(client, symbol):
    """The trades of a symbol, also on the next connections; each trade once, while there are two."""
    message = {"method": "SUBSCRIBE", "params": [f"{symbol}@trade"]}
    return client.subscribe(message, identity=lambda event: event["data"]["t"])


def make_trades(feed, count):
    for number in range(count):
        feed.trade(SYMBOLS[number % len(SYMBOLS)], "1.0")
        if number == count // 3:
            feed.shut_down()
        threading.Event().wait(0.005)


def main():
    feed = Feed(per=0.1)  # 5 messages in 0.1 s, so that this example takes seconds
    with running(feed.handle, judge=feed.judge) as url, open_feed(url, rate=10) as client:
        streams = [subscribe(client, symbol) for symbol in SYMBOLS]
        threading.Thread(target=make_trades, args=(feed, 100 * len(SYMBOLS))).start()
        for symbol, stream in zip(SYMBOLS, streams, strict=True):
            trades = [stream.get(timeout=10)["data"] for _ in range(100)]
            numbers = sorted(trade["t"] for trade in trades)  # while there are two connections, the order may differ
            complete = numbers == list(range(numbers[0], numbers[-1] + 1, len(SYMBOLS)))
            print(f"{symbol}: {len(trades)} trades, complete: {complete}, {stream.gaps} gaps")
        print(f"{client.stats.renewals} renewal, last disconnect: {client.last_disconnect}")


if __name__ == "__main__":
    main()
