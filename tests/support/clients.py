"""Options, requests and threads of clients of a ``Server``."""

import threading

import tenacity

import wsclient

from . import LONG

FAST = {"reconnect": wsclient.Reconnect(wait=tenacity.wait_fixed(0.02)), "ping_interval": 0.2, "ping_timeout": 2.0}


def add(*numbers):
    return {"method": "add", "params": numbers}


def threads(name):
    """The kinds of threads of the client with this name: ``io``, ``hooks``, ``worker-…``.

    Without the thread that handles log records: it exists only while there are some, and ends a moment later.
    """
    ours = [thread.name for thread in threading.enumerate() if thread.name.startswith(f"{name}-")]
    return sorted(kind for thread in ours if (kind := thread.removeprefix(f"{name}-")) != "log")


def request_sum(client):
    """Send a request, and check its reply."""
    assert client.request(add(1, 2), timeout=LONG)["result"] == 3
