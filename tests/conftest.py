"""Fixtures, and the watch over what a test leaves behind."""

import contextlib
import os
import socket
import ssl

import pytest
import trustme

from wsclient.testing._leaks import Belongings, close_clients, left_since, told

from .support import LONG, FaultProxy, RawServer, Server
from .support.peers import open_against
from .support.stage import Stage, Watcher


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    """No proxy of the machine's gets between the tests and their servers on loopback."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def nothing_left():
    """A test leaves no client open and no thread of one behind; if it failed, the next ones don't suffer for it."""
    before = Belongings.of_clients()
    yield
    left = left_since(before, LONG, Belongings.of_clients)
    if left:
        words = told(left)
        close_clients(left.clients)
        pytest.fail(words, pytrace=False)


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
def watcher():
    watcher = Watcher()
    yield watcher
    watcher.close()


@pytest.fixture
def stage():
    """``stage(act, ...)`` is a server that plays them."""
    with contextlib.ExitStack() as stack:
        yield lambda *acts, tls=None: stack.enter_context(Stage(*acts, tls=tls))


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
