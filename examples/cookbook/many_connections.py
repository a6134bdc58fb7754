"""Many connections in one program: one client for each, opened and closed at the same time, one place for the messages.

Why: some servers limit what one connection may subscribe to; some programs watch hundreds of devices.
How: a client needs one thread, and a second one where it has hooks; some hundred clients are no problem. Open them in
a pool, so that a slow one delays few others; one that is refused is reported, and the others are used. All put their
messages into one queue. After a restart of the server their delays are random, so they do not connect all at once.

Change: ``urls``, and what is done with the messages. Descriptors: one for each connection, see ``ulimit -n``.
Run: python examples/cookbook/many_connections.py [NUMBER]
"""

import concurrent.futures
import contextlib
import queue
import sys

import wsclient
from wsclient.testing import Server

NUMBER = int(sys.argv[1]) if len(sys.argv) > 1 else 50


def open_all(urls, messages):
    def take(client, message):
        messages.put((client, message))

    clients = [wsclient.Client(url, on_message=take) for url in urls]
    with concurrent.futures.ThreadPoolExecutor(16) as threads:
        errors = [opening.exception() for opening in [threads.submit(client.start) for client in clients]]
    opened = [client for client, error in zip(clients, errors, strict=True) if error is None]
    return opened, [error for error in errors if error is not None]


def close_all(clients):
    for client in clients:
        client.close(wait=False)  # all at once
    for client in clients:
        client.wait_closed(10)


if __name__ == "__main__":
    messages = queue.Queue()
    with Server() as server, contextlib.ExitStack() as stack:
        server.reject(404)  # one of them
        clients, errors = open_all([f"{server.url}/device/{number}" for number in range(NUMBER)], messages)
        print("not opened:", *(type(error).__name__ for error in errors))
        stack.callback(close_all, clients)
        for number, client in enumerate(clients):
            client.send(f"hello {number}")
        received = {messages.get(timeout=30)[1] for client in clients}
        print("connections:", len(server.connections), "answers:", len(received))
    print("closed:", sum(client.state == wsclient.State.CLOSED for client in clients))
