"""Processes: Celery, multiprocessing, gunicorn. Each process opens a client of its own.

Why: after a fork, two processes would read from one connection, and each would get a part of the messages. So the
child's copy of a client is closed, and its calls raise ``ForkedClient``; the parent's client is not affected.
How: open the client when a process starts, or, as here, when it first needs one. A fork copies
global variables and caches too, so the process id is part of the key.

In Celery (its default pool forks) ``get_client()`` works as it is, inside of tasks. To open it before the first task:

    @celery.signals.worker_process_init.connect
    def open_client(**kwargs):
        get_client(URL, os.getpid())

Change: the URL and the work. A client can't be sent to a process; ``functools.partial(wsclient.connect, url)`` can.
Run: python examples/cookbook/processes.py
"""

import atexit
import concurrent.futures
import functools
import json
import multiprocessing
import os

import wsclient
from wsclient.testing import Server


@functools.cache
def get_client(url, process):
    client = wsclient.connect(url)
    atexit.register(client.close)
    return client


def work(url, number):
    client = get_client(url, os.getpid())  # open from now on, for the next call in this process too
    return os.getpid(), client.request({"double": number}, timeout=30)["result"]


def answer(connection, text):
    message = json.loads(text)
    return {"id": message["id"], "result": 2 * message["double"]}


if __name__ == "__main__":
    with Server(answer) as server:
        with concurrent.futures.ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as processes:
            done = list(processes.map(functools.partial(work, server.url), range(10)))
        print("results:", *(result for _, result in done))
        print("a connection for each process:", server.opened.qsize() == len({process for process, _ in done}))
