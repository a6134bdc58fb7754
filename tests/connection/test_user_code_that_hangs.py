"""User code that does not return during the setup of a connection: ``close()`` is bounded, and the connection ends."""

import contextlib
import re
import socket
import threading
import time

import pytest

import wsclient
from wsclient import JsonId, State

from ..support import LONG, SHORT, SLACK, eventually
from ..support.clients import threads
from ..support.raw import RawServer, frame

EARLY = frame(1, b'{"early": true}')
"""A message that the server sends in the same write as its 101 response."""


@contextlib.contextmanager
def starting(client):
    """Start the client in a separate thread, since ``start()`` returns only when the client is open or closed."""

    def run():
        with contextlib.suppress(wsclient.WebSocketClientError):
            client.start()

    thread = threading.Thread(target=run)
    thread.start()
    yield
    thread.join(LONG)
    assert not thread.is_alive()


def close_during(hang, client):
    """Close the client while the function blocks."""
    assert hang.entered.wait(LONG)
    began = time.monotonic()
    client.close(timeout=SHORT)
    assert time.monotonic() - began < SHORT + 1 + SLACK
    assert client.state is State.CLOSED


def read_to_the_end(hang, peer):
    """The peer reads to the end of the connection (``TimeoutError`` if it does not end), while the function blocks."""
    sent = peer.until_closed()
    assert not hang.returned.is_set()
    return sent


def hanging(hang, *methods):
    """A user-defined protocol, with methods that block."""
    return type("Hanging", (JsonId,), {name: lambda self, *arguments: hang(*arguments) for name in methods})()


@pytest.mark.parametrize("method", ["reset", "decode", "on_session"])
def test_close_is_bounded_while_a_protocol_method_hangs(raw, hang, method):
    client = wsclient.Client(raw.url, protocol=hanging(hang, method))
    with starting(client):
        peer = raw.accept().upgrade(then=EARLY)
        close_during(hang, client)
        read_to_the_end(hang, peer)


@pytest.mark.parametrize("method", ["reset", "decode"])
def test_a_client_closed_during_a_method_that_hangs_does_not_open_when_the_method_returns(raw, hang, method):
    opened = []
    client = wsclient.Client(raw.url, protocol=hanging(hang, method), on_open=opened.append, name="hanging")
    with starting(client):
        peer = raw.accept().upgrade(then=EARLY)
        close_during(hang, client)
        read_to_the_end(hang, peer)
    io_threads = [thread for thread in threading.enumerate() if thread.name == "hanging-io"]
    hang.release()
    for thread in io_threads:
        thread.join(LONG)
        assert not thread.is_alive()
    assert not opened
    assert client.stats.connections == 0
    assert client.state is State.CLOSED


def test_close_is_bounded_while_a_match_function_hangs(raw, hang):
    client = wsclient.Client(raw.url)
    client.submit({"a": 1}, match=hang)
    with starting(client):
        peer = raw.accept().upgrade()
        peer.receive_text()
        peer.send(EARLY)
        close_during(hang, client)
        read_to_the_end(hang, peer)


def test_close_is_bounded_while_on_session_hangs(raw, hang):
    client = wsclient.Client(raw.url, on_session=hang)
    with starting(client):
        peer = raw.accept().upgrade(then=EARLY)
        close_during(hang, client)
        read_to_the_end(hang, peer)


def test_close_is_bounded_while_a_heartbeat_function_hangs(raw, hang):
    protocol = JsonId()
    protocol.heartbeat = (0.01, hang)
    client = wsclient.Client(raw.url, protocol=protocol)
    with starting(client):
        peer = raw.accept().upgrade()
        close_during(hang, client)
        read_to_the_end(hang, peer)


@pytest.mark.parametrize(
    "options",
    [
        lambda hang: {"heartbeat": wsclient.Heartbeat(hang, 0.01)},
        lambda hang: {"quiet": wsclient.Quiet(30, counts=hang)},
        lambda hang: {"quiet": wsclient.Quiet(0.01, active=hang)},
    ],
    ids=["heartbeat", "counts", "active"],
)
def test_close_is_bounded_while_a_function_of_an_option_object_hangs(raw, hang, options):
    client = wsclient.Client(raw.url, **options(hang))
    with starting(client):
        peer = raw.accept().upgrade(then=EARLY)
        close_during(hang, client)
        read_to_the_end(hang, peer)


@pytest.mark.parametrize("option", ["url", "headers"])
def test_close_is_bounded_while_an_option_function_hangs(raw, hang, option):
    client = wsclient.Client(**{"url": raw.url, option: hang})
    with starting(client):
        close_during(hang, client)
    hang.result = raw.url if option == "url" else {}
    hang.release()
    with pytest.raises(TimeoutError):
        raw.accept(timeout=SHORT)


@pytest.mark.parametrize("option", ["url", "headers"])
def test_a_slow_option_function_is_logged_with_its_age_repeatedly_until_the_client_is_closed(
    raw, hang, option, caplog, monkeypatch
):
    monkeypatch.setattr("wsclient._connection.overdue.SLOW_REPEAT", 0.01)
    client = wsclient.Client(**{"url": raw.url, option: hang}, open_timeout=0.05, name="slow")

    def ages():
        texts = [record.getMessage() for record in caplog.records if f"the {option} function" in record.getMessage()]
        assert all(text.startswith("slow: ") and "open_timeout=0.05 s" in text for text in texts)
        return [float(re.search(r"has not returned for ([\d.]+) s", text)[1]) for text in texts]

    with starting(client):
        eventually(lambda: len(set(ages())) > 1)
        close_during(hang, client)
    assert ages() == sorted(ages())
    assert ages()[0] >= 0.05
    assert {record.levelname for record in caplog.records} == {"WARNING"}
    # The thread that logs ends with the client, although the function still hangs.
    eventually(lambda: "deadlines" not in threads("slow"))


def test_an_option_function_within_open_timeout_is_not_logged(server, caplog):
    with wsclient.connect(lambda: server.url, headers=dict, open_timeout=LONG):
        pass
    assert not caplog.records


def test_a_socket_that_is_returned_too_late_is_closed(raw, hang):
    client = wsclient.Client(raw.url, sock=hang)
    with starting(client):
        close_during(hang, client)
    hang.result = socket.create_connection(("127.0.0.1", raw.port))
    peer = raw.accept()
    hang.release()
    peer.until_closed()


def test_close_is_bounded_while_a_name_lookup_for_a_proxy_hangs(hang, hanging_lookup, caplog):
    """With ``socks5`` the client looks up the server's name while it is connected to the proxy."""
    hanging_lookup("far.invalid")
    with RawServer() as proxy:
        client = wsclient.Client("ws://far.invalid/", proxy=f"socks5://127.0.0.1:{proxy.port}")
        with starting(client):
            peer = proxy.accept()
            peer.exactly(3)
            peer.send(b"\5\0")
            close_during(hang, client)
            read_to_the_end(hang, peer)
    assert "abandoned" not in caplog.text
