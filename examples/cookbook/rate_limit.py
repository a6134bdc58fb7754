"""Survive a rate limit: do not exceed it, and wait when the server says so.

Why: servers answer too many messages with an error, with a closed connection, or with a ban of hours.
How: ``SendQueue(rate=, burst=)`` spreads the messages over time, on each connection; each thread may send at any
moment. If the server nevertheless refuses one (other programs may use the same account), ``pause_sending()`` holds back
all messages of this client, and the refused one is sent again. Log-ins in ``on_session`` are not held back.

Change: ``rate`` and ``burst`` (a bit less than the server permits), and how the server says "too many".
Run: python examples/cookbook/rate_limit.py
"""

import concurrent.futures
import json
import time

import wsclient
from wsclient.testing import Server

refused = []  # by the server: one message, in this example


def answer(connection, text):
    message = json.loads(text)
    if message["number"] == 7 and not refused:
        refused.append(message)
        return {"id": message["id"], "status": 429, "retry_after": 0.3}
    return {"id": message["id"], "status": 200}


def ask(client, number):
    while True:
        reply = client.request({"number": number})
        if reply["status"] != 429:
            return reply["status"]
        client.pause_sending(reply["retry_after"])


if __name__ == "__main__":
    slowly = wsclient.SendQueue(rate=20, burst=5)  # 5 at once, then 20 messages per second
    with Server(answer) as server, wsclient.connect(server.url, send_queue=slowly) as client:
        with concurrent.futures.ThreadPoolExecutor(20) as threads:
            began = time.monotonic()
            answers = list(threads.map(lambda number: ask(client, number), range(20)))
        print("answered:", answers.count(200), "refused:", len(refused))
        print("not faster than 20 per second:", time.monotonic() - began >= (20 - 5) / 20)
