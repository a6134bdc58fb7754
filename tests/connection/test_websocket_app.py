"""One connection after the other on one ``WebSocketApp``: what happens when, and to whom the socket belongs."""

import gc
import logging
import socket
import threading

import pytest
import tenacity
import websocket

import wsclient
from wsclient._connection.websocket_app import Transport

from ..support import LONG
from ..support.figures import descriptors


@pytest.fixture
def line():
    near, far = socket.socketpair()
    with near, far:
        yield near


def test_what_was_opened_is_served_and_left_open(line):
    served = []
    assert Transport().run(lambda: line, lambda: served.append(line.fileno())) is None
    assert served == [line.fileno()]
    assert line.fileno() >= 0


def refuse():
    raise ConnectionRefusedError("nobody there")


def fall():
    raise ValueError("the loop fell")


def test_where_nothing_opens_nothing_is_served_and_the_error_comes_back():
    served = []
    error = Transport().run(refuse, lambda: served.append(1))
    assert isinstance(error, ConnectionRefusedError)
    assert served == []


def test_what_the_loop_raises_comes_back(line):
    error = Transport().run(lambda: line, fall)
    assert isinstance(error, ValueError)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, MemoryError])
def test_even_what_is_no_exception_comes_back_and_does_not_reach_the_app(line, kind):
    def raising():
        raise kind

    assert isinstance(Transport().run(lambda: line, raising), kind)
    assert isinstance(Transport().run(raising, lambda: None), kind)


def test_an_error_is_told_once_and_not_by_the_next_run(line):
    transport = Transport()
    transport.run(refuse, lambda: None)
    assert transport.run(lambda: line, lambda: None) is None


def test_a_thousand_connections_leave_threads_and_descriptors_as_they_were(line):
    transport = Transport()
    transport.run(lambda: line, lambda: None)
    gc.collect()  # of what other tests left
    before = threading.active_count(), descriptors()
    for n in range(1_000):
        transport.run((lambda: line) if n % 2 else refuse, lambda: None)
    assert (threading.active_count(), descriptors()) == before


def test_a_failure_with_secrets_in_it_is_logged_by_nobody(line, caplog):
    def leak():
        raise OSError("token=hunter2")

    with caplog.at_level(logging.DEBUG):
        Transport().run(leak, lambda: None)
        Transport().run(lambda: line, leak)
    assert "hunter2" not in caplog.text


def test_the_app_sends_nothing_by_itself(line):
    with pytest.raises(RuntimeError, match="please report"):
        Transport().send(line, b"x")


def test_global_settings_of_websocket_client_do_not_reach_us(line, monkeypatch):
    """Another library in the process may have set them for itself."""
    monkeypatch.setattr(websocket._app, "RECONNECT", 5)
    timeout = websocket.getdefaulttimeout()
    websocket.setdefaulttimeout(0.01)
    try:
        assert isinstance(Transport().run(refuse, lambda: None), ConnectionRefusedError)
        assert Transport().run(lambda: line, lambda: None) is None
        assert line.gettimeout() is None
    finally:
        websocket.setdefaulttimeout(timeout)


def test_two_clients_share_no_cookie_and_neither_does_one_with_itself(raw):
    """websocket-client keeps one jar for the whole process, and sends out of it what another connection was given."""
    set_cookies = ("Set-Cookie: session=secret; Domain=127.0.0.1", "Set-Cookie: other=1; Path=/")
    given = []
    for _ in range(2):
        at_once = wsclient.Reconnect(wait=tenacity.wait_none())
        client = wsclient.Client(raw.url, reconnect=at_once, on_session=lambda _, s: given.append(s.headers))
        starter = threading.Thread(target=client.start)
        starter.start()
        first = raw.accept().upgrade(*set_cookies)
        starter.join(LONG)
        client.reconnect()
        second = raw.accept().upgrade(*set_cookies)
        assert first.header("Cookie") is None
        assert second.header("Cookie") is None
        client.close(timeout=0)
    assert given[0].get_all("Set-Cookie") == [line.partition(": ")[2] for line in set_cookies]
    assert not websocket._handshake.CookieJar.jar
