"""Many connections in one program: one client for each, opened and closed at the same time, one place for the messages.

Why: some servers limit what one connection may subscribe to; some programs watch hundreds of devices.
How: a client needs one thread, and a second one where it has hooks; some hundred clients are no problem. Open them in
a pool, so that a slow one delays no other. ``retry_first=True``: one that is unreachable now is tried again, as
after a loss. All put their messages into one queue. Their delays are random, so they do not reconnect all at once.

Change: ``urls``, and what is done with the messages. Descriptors: one for each connection, see ``ulimit -n``.
Run: python examples/cookbook/many_connections.py [NUMBER]
"""

import concurrent.futures
import contextlib
import functools
import queue
import sys

import wsclient
from wsclient.testing import Server

NUMBER = int(sys.argv[1]) if len(sys.argv) > 1 else 50


def open_all(urls, messages):
    def take(client, message):
        messages.put((client, message))

    opening = functools.partial(wsclient.connect, on_message=take, retry_first=True)
    with concurrent.futures.ThreadPoolExecutor(16) as threads:
        return list(threads.map(opening, urls))


def close_all(clients):
    for client in clients:
        client.close(wait=False)  # all at once
    for client in clients:
        client.wait_closed(10)


if __name__ == "__main__":
    messages = queue.Queue()
    with Server() as server, contextlib.ExitStack() as stack:
        clients = open_all([f"{server.url}/device/{number}" for number in range(NUMBER)], messages)
        stack.callback(close_all, clients)
        for number, client in enumerate(clients):
            client.send(f"hello {number}")
        received = {messages.get(timeout=30)[1] for client in clients}
        print("connections:", len(server.connections), "answers:", len(received))
    print("closed:", sum(client.state == wsclient.State.CLOSED for client in clients))
