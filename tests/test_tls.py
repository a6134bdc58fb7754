"""TLS: verified, and unharmed by threads that send while another receives."""

import os
import ssl
import threading
import time

import pytest

import wsclient

from .support import LONG, RawServer, Server
from .support.raw import frame

SECONDS = float(os.environ.get("WSCLIENT_TLS_SECONDS", "3"))
"""How long the stress with eight threads goes on; CI and releases give it 20."""


@pytest.fixture
def ca_file(authority, tmp_path):
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


def test_a_context_or_a_ca_file_is_trusted(server_tls, trusting, ca_file):
    with Server(tls=server_tls) as server:
        for options in ({"ssl_context": trusting}, {"ssl_ca": ca_file}):
            with wsclient.connect(server.url, **options) as client:
                assert client.request({"method": "add", "params": [1, 2]}, timeout=LONG)["result"] == 3


def test_an_unknown_authority_is_refused_for_good(server_tls):
    with Server(tls=server_tls) as server:
        client = wsclient.Client(server.url, retry_first=True)
        with pytest.raises(wsclient.TLSError, match="localhost") as caught:
            client.start()
        assert client.state is wsclient.State.FAILED
        assert isinstance(caught.value.last, ssl.SSLCertVerificationError)


def test_context_and_ca_exclude_each_other(trusting, ca_file):
    with pytest.raises(ValueError, match="exclude"):
        wsclient.Client("wss://localhost/", ssl_context=trusting, ssl_ca=ca_file)


def test_large_messages_cross_in_both_directions(server_tls, trusting):
    text = "ü" * 2**20
    with Server(lambda c, m: c.send(m), tls=server_tls, max_size=None) as server:
        with wsclient.connect(server.url, ssl_context=trusting) as client:
            assert client.request(text, match=lambda m: True, timeout=LONG) == text


def test_records_already_decrypted_are_not_forgotten(server_tls, trusting):
    """Many frames in one TLS record: after a short read the rest never shows in poll()."""
    with RawServer(tls=server_tls) as raw:
        client = wsclient.Client(raw.url, ssl_context=trusting, ping_interval=None)
        starter = threading.Thread(target=client.start)
        starter.start()
        peer = raw.accept().upgrade()
        starter.join(LONG)
        with client.listen() as stream:
            for _ in range(20):
                peer.send(b"".join(frame(2, bytes([n]) * 200) for n in range(75)))  # 15 KiB: nearly a whole record
            assert [stream.get(LONG)[0] for _ in range(1500)] == list(range(75)) * 20
        client.close(timeout=0)


def test_a_tls_hello_that_stalls_meets_the_open_timeout(raw):
    began = time.monotonic()
    with pytest.raises(wsclient.ConnectError, match=r"0\.3 s"):
        wsclient.connect(raw.url.replace("ws://", "wss://"), open_timeout=0.3)
    assert time.monotonic() - began < 5


def test_eight_threads_request_and_lose_no_connection(server_tls, trusting):
    """On CPython below 3.13 this broke healthy connections within seconds in the obvious version (cpython#77271)."""
    end = time.monotonic() + SECONDS
    answers = []

    def ask(client, thread):
        n = 0
        while time.monotonic() < end:
            n += 1
            size = 10 if n % 50 else 100_000
            message = {"method": "echo", "params": [thread, n, "x" * size]}
            assert client.request(message, timeout=LONG)["result"] == message["params"]
        answers.append(n)

    with Server(tls=server_tls) as server, wsclient.connect(server.url, ssl_context=trusting) as client:
        threads = [threading.Thread(target=ask, args=(client, thread)) for thread in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SECONDS + LONG)
        assert len(answers) == 8
        assert client.stats.connections == 1
        assert client.last_disconnect is None
        assert client.stats.requests_ok == sum(answers)
