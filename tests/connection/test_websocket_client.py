"""What this library relies on in websocket-client: run with the oldest and the newest version allowed.

If one of these fails with a new version, check ``_connection.websocket_app``.
"""

import importlib.metadata
import logging
import socket
import threading

import pytest
import websocket

CALLBACKS = ("on_open", "on_reconnect", "on_message", "on_data", "on_error", "on_close", "on_ping", "on_pong")


class Line(websocket.WebSocket):
    """A ``WebSocket`` that connects in a different way."""

    def __init__(self, journal, sock):
        super().__init__(enable_multithread=False)
        self.journal = journal
        self.line = sock

    def connect(self, url, **options):
        self.journal.append("connect")
        self.sock = self.line

    def shutdown(self):
        self.journal.append("shutdown")
        self.sock = None

    def close(self, *args, **kwargs):
        self.journal.append("close")


class App(websocket.WebSocketApp):
    """The method: the header callable inserts our ``WebSocket``, ``create_dispatcher`` returns our loop."""

    def __init__(self, sock, **callbacks):
        super().__init__("ws://localhost/", header=self.arm, **callbacks)
        self.journal = []
        self.line = sock
        self.dispatcher_arguments = None

    def arm(self):
        self.journal.append("header")
        self.replaced = self.sock
        self.sock = Line(self.journal, self.line)
        return []

    def create_dispatcher(self, *args, **kwargs):
        self.dispatcher_arguments = (args, kwargs)
        return self

    def read(self, sock, read_callback, check_callback):
        self.journal.append(("read", sock))
        self.sock.shutdown()

    def send(self, sock, data):
        raise AssertionError("websocket-client sends a frame that the client did not give it")


@pytest.fixture
def line():
    near, far = socket.socketpair()
    with near, far:
        far.settimeout(10)
        yield near, far


def test_the_installed_version_was_reviewed():
    major, minor, patch = map(int, importlib.metadata.version("websocket-client").split(".")[:3])
    assert (1, 9, 2) <= (major, minor, patch) < (2, 0, 0)


def test_the_header_callable_runs_after_the_websocket_is_created_and_directly_before_it_connects(line):
    app = App(line[0])
    app.run_forever()
    assert app.journal[:2] == ["header", "connect"]
    assert isinstance(app.replaced, websocket.WebSocket)
    assert app.replaced is not app.sock
    assert app.replaced.sock is None  # it had opened no socket


def test_the_dispatcher_is_created_for_each_run_and_its_read_gets_the_socket(line):
    app = App(line[0])
    for _ in range(2):
        app.journal.clear()
        app.dispatcher_arguments = None
        app.run_forever()
        assert app.journal[2] == ("read", line[0])
        args, kwargs = app.dispatcher_arguments
        assert len(args) + len(kwargs) == 4  # ping_timeout, dispatcher, is_ssl, handleDisconnect


def test_read_gets_none_if_nothing_was_opened():
    app = App(None)
    app.run_forever()
    assert app.journal[2] == ("read", None)


def test_a_run_ends_when_read_returns_and_leaves_the_socket_open(line):
    near, far = line
    app = App(near)
    app.run_forever()
    assert app.journal[-2:] == ["shutdown", "close"]
    assert app.sock is None
    assert near.fileno() >= 0
    near.sendall(b"ours")
    assert far.recv(100) == b"ours"  # and no close frame before it


def test_one_app_can_run_any_number_of_times(line):
    app = App(line[0])
    before = threading.active_count()
    for _ in range(200):
        app.run_forever()
    assert app.journal.count("connect") == 200
    assert threading.active_count() == before


def test_callbacks_are_optional_and_nothing_above_info_level_is_logged(line, caplog):
    app = App(line[0])
    assert all(getattr(app, name) is None for name in CALLBACKS)
    with caplog.at_level(logging.DEBUG):
        app.run_forever()
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


def test_without_an_interval_an_app_starts_no_thread_and_sends_no_ping(line):
    names = []

    class Watching(App):
        def read(self, *args):
            names.extend(thread.name for thread in threading.enumerate())
            super().read(*args)

    before = [thread.name for thread in threading.enumerate()]
    Watching(line[0]).run_forever()
    assert names == before


def test_an_exception_inside_a_run_reaches_the_callbacks(line):
    """This is why nothing is raised into ``run_forever``: it would report a close, although nothing was opened."""

    class Failing(Line):
        def connect(self, url, **options):
            raise OSError("refused")

    class Refused(App):
        def arm(self):
            self.sock = Failing(self.journal, None)

    reported = []
    app = Refused(
        None, on_close=lambda *args: reported.append("close"), on_error=lambda *args: reported.append("error")
    )
    app.run_forever()
    assert reported == ["error", "close"]
