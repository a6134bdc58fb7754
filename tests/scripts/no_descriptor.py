"""Clients in a process that has no file descriptor left; prints what each of them does.

python -m tests.scripts.no_descriptor URL
"""

import json
import logging
import os
import resource
import sys
import threading

import tenacity

import wsclient
from tests.support import LONG, eventually
from tests.support.sockets import use_all_descriptors
from wsclient import State

SOON = wsclient.Reconnect(wait=tenacity.wait_fixed(0.05))


def release(taken):
    while taken:
        os.close(taken.pop())


def note(*values):
    print(json.dumps(values, default=lambda state: state.value), flush=True)


def first_attempt(url):
    """A client without ``retry_first``."""
    taken = use_all_descriptors()
    client = wsclient.Client(url)
    try:
        client.start()
    except wsclient.ConnectError as error:
        note(str(error), type(error.__cause__).__name__, client.state)
    release(taken)


def start_without_descriptors(url):
    """A client with ``retry_first`` that has failed twice, the thread that starts it, and the used descriptors."""
    failed = []
    taken = use_all_descriptors()
    client = wsclient.Client(
        url, retry_first=True, reconnect=SOON, on_connect_error=lambda _, attempt: failed.append(attempt.error)
    )
    starter = threading.Thread(target=client.start)
    starter.start()
    eventually(lambda: len(failed) > 1)
    return client, starter, taken


def later_attempts(url):
    client, starter, taken = start_without_descriptors(url)
    release(taken)
    starter.join(LONG)
    note(client.state, client.request({"method": "add", "params": [1, 2]})["result"])
    client.close()


def closed_meanwhile(url):
    taken = use_all_descriptors()
    failed = threading.Event()
    client = wsclient.Client(
        url,
        retry_first=True,
        reconnect=wsclient.Reconnect(wait=tenacity.wait_fixed(1000)),
        on_connect_error=lambda _, attempt: failed.set(),
    )
    starter = threading.Thread(target=start_and_ignore, args=(client,))
    starter.start()
    assert failed.wait(LONG)
    client.close()
    starter.join(LONG)
    note(client.state)
    release(taken)


def start_and_ignore(client):
    try:
        client.start()
    except wsclient.ClientClosed:
        pass


def reconnected(address):
    """A client whose reconnect finds no descriptor."""
    taken, failed, counts = [], [], [0]

    def url():
        counts[0] += 1
        if 1 < counts[0] < 4:
            taken.extend(use_all_descriptors())
        else:
            release(taken)
        return address

    client = wsclient.connect(url, reconnect=SOON, on_connect_error=lambda _, attempt: failed.append(attempt.error))
    client.reconnect()
    eventually(lambda: client.stats.connections == 2 and client.state is State.OPEN)
    note(len(failed), "Too many open files" in str(failed[0]))
    client.close()


logged = []
handler = logging.Handler()
handler.emit = logged.append
logging.getLogger("wsclient").addHandler(handler)
with wsclient.connect(sys.argv[1]) as warm:  # imports all modules
    warm.request({"method": "add", "params": [1, 2]})
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
for scenario in (first_attempt, later_attempts, closed_meanwhile, reconnected):
    scenario(sys.argv[1])
note([record.getMessage() for record in logged if record.levelno >= logging.ERROR])
