"""Several connections in sequence on one ``WebSocketApp``: the order of the calls, and the ownership of the socket."""

import gc
import logging
import socket
import threading

import pytest
import tenacity
import websocket

import wsclient
from wsclient._connection.websocket_app import AppRunner

from ..support import LONG
from ..support.figures import descriptors


@pytest.fixture
def sock():
    near, far = socket.socketpair()
    with near, far:
        yield near


def test_an_opened_connection_is_served_and_left_open(sock):
    served = []
    assert AppRunner().run(lambda: sock, lambda: served.append(sock.fileno())) is None
    assert served == [sock.fileno()]
    assert sock.fileno() >= 0


def refuse():
    raise ConnectionRefusedError("no listener")


def raise_error():
    raise ValueError("the loop fell")


def test_if_opening_fails_nothing_is_served_and_the_error_is_raised():
    served = []
    error = AppRunner().run(refuse, lambda: served.append(1))
    assert isinstance(error, ConnectionRefusedError)
    assert served == []


def test_an_exception_of_the_loop_is_raised(sock):
    error = AppRunner().run(lambda: sock, raise_error)
    assert isinstance(error, ValueError)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, MemoryError])
def test_a_base_exception_is_raised_too_and_does_not_reach_the_app(sock, kind):
    def raising():
        raise kind

    assert isinstance(AppRunner().run(lambda: sock, raising), kind)
    assert isinstance(AppRunner().run(raising, lambda: None), kind)


def test_an_error_is_raised_once_and_not_by_the_next_run(sock):
    runner = AppRunner()
    runner.run(refuse, lambda: None)
    assert runner.run(lambda: sock, lambda: None) is None


@pytest.mark.slow
def test_a_thousand_connections_leave_threads_and_descriptors_unchanged(sock):
    runner = AppRunner()
    runner.run(lambda: sock, lambda: None)
    gc.collect()  # of objects from other tests
    before = threading.active_count(), descriptors()
    for n in range(1_000):
        runner.run((lambda: sock) if n % 2 else refuse, lambda: None)
    assert (threading.active_count(), descriptors()) == before


def test_an_error_with_secrets_in_its_text_is_not_logged(sock, caplog):
    def leak():
        raise OSError("token=hunter2")

    with caplog.at_level(logging.DEBUG):
        AppRunner().run(leak, lambda: None)
        AppRunner().run(lambda: sock, leak)
    assert "hunter2" not in caplog.text


def test_the_app_sends_nothing_itself(sock):
    with pytest.raises(RuntimeError, match="please report"):
        AppRunner().send(sock, b"x")


def test_global_settings_of_websocket_client_have_no_effect(sock, monkeypatch):
    """Another library in the process may have set them for its own use."""
    monkeypatch.setattr(websocket._app, "RECONNECT", 5)
    timeout = websocket.getdefaulttimeout()
    websocket.setdefaulttimeout(0.01)
    try:
        assert isinstance(AppRunner().run(refuse, lambda: None), ConnectionRefusedError)
        assert AppRunner().run(lambda: sock, lambda: None) is None
        assert sock.gettimeout() is None
    finally:
        websocket.setdefaulttimeout(timeout)


def test_cookies_are_shared_neither_between_clients_nor_between_connections(raw):
    """websocket-client has one cookie jar for the whole process, and sends from it what another connection received."""
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
