"""A server can't write lines of its own into the log or an error text, nor control the terminal that shows them."""

import logging
import struct

import pytest

import wsclient

from ..support import LONG, RawServer, eventually
from ..support.stage import redirect, upgrade

EVIL = "x\r\nCRITICAL root: forged\x1b[2J\x0b\x85\u2028\u202e\0"


def is_one_line(text):
    return text.isprintable()


@pytest.fixture
def texts(caplog):
    """The texts of all log records of the client, tracebacks excluded."""
    caplog.set_level(logging.DEBUG, logger="wsclient")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "wsclient"]


def test_a_close_reason_is_escaped_in_the_log_and_in_errors_and_complete_elsewhere(texts):
    closes, asked = [], []

    def script(peer):
        peer.upgrade()
        asked.append(peer.receive_frame())
        peer.send_frame(8, struct.pack("!H", 4000) + EVIL.encode())

    hooks = {"on_close": lambda client, code, reason: closes.append(reason)}
    with RawServer(script) as server, wsclient.connect(server.url, reconnect=None, **hooks) as client:
        with pytest.raises(wsclient.ConnectionLost) as caught:
            client.request({"method": "x"}, timeout=LONG)
        client.wait_closed(LONG)
        eventually(lambda: closes)
        disconnect = client.last_disconnect
    assert closes == [EVIL]
    assert disconnect.reason == EVIL
    assert is_one_line(str(caught.value))
    assert "forged\\x1b[2J" in str(caught.value)
    assert any("forged\\x1b[2J" in text for text in texts())
    assert all(map(is_one_line, texts()))


def test_an_error_of_the_server_is_escaped_and_cut(texts, server):
    error = {"code": EVIL, "message": EVIL + "y" * 100_000}
    server.handler = lambda connection, message: {"id": 1, "error": error}
    seen = []

    def on_session(client, session):
        session.request({"op": "login"}, timeout=LONG)

    client = wsclient.Client(
        server.url, protocol=wsclient.JsonId("id", error="error"), on_session=on_session, reconnect=None,
        on_connect_error=lambda client, attempt: seen.append(attempt.error),
    )  # fmt: skip
    with pytest.raises(wsclient.ConnectError) as caught:
        client.start()
    assert is_one_line(str(caught.value))
    assert len(str(caught.value)) < 2000
    assert any("forged\\x1b[2J" in text for text in texts())
    assert all(is_one_line(text) and len(text) < 3000 for text in texts())
    remote = caught.value.__cause__
    assert remote.message == error["message"]
    assert remote.code == EVIL


@pytest.mark.parametrize("raised", [wsclient.SessionError, ValueError], ids=["ours", "other"])
def test_an_error_of_the_users_code_with_a_text_of_the_server_is_one_line(texts, server, raised):
    def on_session(client, session):
        raise raised("refused: " + EVIL + "y" * 100_000)

    with pytest.raises(wsclient.ConnectError):
        wsclient.connect(server.url, on_session=on_session, reconnect=None)
    assert any("attempt 1 failed: " in text for text in texts())
    assert all(is_one_line(text) and len(text) < 3000 for text in texts())


def test_a_message_that_cannot_be_decoded_is_one_line(texts, server):
    class Raising(wsclient.JsonId):
        def decode(self, message):
            raise ValueError(f"unknown: {message}")

    server.handler = None
    with wsclient.connect(server.url, protocol=Raising()) as client:
        client.send(EVIL)
        eventually(lambda: any("could not be decoded" in text for text in texts()))
    assert all(map(is_one_line, texts()))


@pytest.mark.parametrize("status", ["101 Switching", "503 \x1b[31mbusy\x85", "302 Found"])
def test_the_head_of_a_response_is_one_line(stage, texts, status):
    if status.startswith("101"):
        server = stage(upgrade("Sec-WebSocket-Protocol: a\x1b[2J\x85"))
    elif status.startswith("302"):
        server = stage(redirect("http://127.0.0.1:1/\x85\u202e".encode().decode("latin-1") + "y" * 5000))
    else:
        server = stage(lambda peer: peer.respond(status))
    with pytest.raises(wsclient.ConnectError) as caught:
        wsclient.connect(server.url, subprotocols=["chat"], reconnect=None, open_timeout=LONG)
    assert is_one_line(str(caught.value))
    assert len(str(caught.value)) < 1000
    assert texts()
    assert all(map(is_one_line, texts()))
