"""Fixtures, and the watch over what a test leaves behind."""

import os
import socket
import ssl
import threading

import pytest
import trustme

from wsclient import _processes

from .support import LONG, FaultProxy, RawServer, Server, eventually
from .support.peers import open_against


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    """No proxy of the machine's gets between the tests and their servers on loopback."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def nothing_left():
    """A test leaves no client open and no thread of one behind; if it failed, the next ones don't suffer for it."""
    yield
    forgotten = list(_processes._residents.values())
    for client in forgotten:
        client.close(1000, "", 0, wait=True)
    eventually(lambda: not client_threads(), LONG)
    assert not forgotten, f"the test left {forgotten} open"


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


@pytest.fixture(scope="module")
def authority():
    """Signs certificates that only ``trusting`` believes."""
    return trustme.CA()


@pytest.fixture(scope="module")
def server_tls(authority):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def trusting(authority):
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture
def dead():
    """A port that nobody listens at."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


@pytest.fixture
def against(raw):
    """Opens a client as ``open_against`` does, and closes it in the end."""
    clients = []

    def open_one(**options):
        client, peer, seen = open_against(raw, **options)
        clients.append(client)
        return client, peer, seen

    yield open_one
    for client in clients:
        client.close(timeout=0)


@pytest.fixture
def figures(request):
    """Lines for the end of the report: what a test has measured."""

    def record(*lines):
        request.node.user_properties.append(("figures", "\n".join(lines)))

    return record


def pytest_terminal_summary(terminalreporter):
    """Show the figures the tests have recorded, passed or not."""
    reports = [report for name in ("passed", "failed") for report in terminalreporter.getreports(name)]
    texts = [text for report in reports for name, text in getattr(report, "user_properties", ()) if name == "figures"]
    if texts:
        terminalreporter.section("figures")
        for text in texts:
            terminalreporter.write_line(text)
