"""Fixtures, and the watch over what a test leaves behind."""

import os
import threading

import pytest

from .support import LONG, FaultProxy, RawServer, Server, eventually


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    """No proxy of the machine's gets between the tests and their servers on loopback."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def no_thread_left():
    """A test leaves no thread of a client behind."""
    yield
    eventually(lambda: not client_threads(), LONG)


def client_threads():
    return [thread for thread in threading.enumerate() if thread.name.endswith(("-io", "-hooks"))]


@pytest.fixture
def server():
    with Server() as server:
        yield server


@pytest.fixture
def mute_server():
    """Takes messages and answers nothing."""
    with Server(lambda connection, message: None) as server:
        yield server


@pytest.fixture
def raw():
    with RawServer() as raw:
        yield raw


@pytest.fixture
def proxy(server):
    with FaultProxy(server.port) as proxy:
        yield proxy
