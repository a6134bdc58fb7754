"""nginx in front of a server: it terminates TLS, cuts idle connections, and answers if the upstream is down.

A real nginx with a test configuration; its master and its worker form a process group.
"""

import concurrent.futures
import contextlib
import queue
import secrets
import threading
import time

import pytest

import wsclient
from wsclient import HandshakeError, State

from ..support import LONG, Server, eventually, json_handler
from ..support.nginx import NGINX, Nginx
from ..support.program import free_port

pytestmark = pytest.mark.skipif(NGINX is None, reason="NGINX IS MISSING: a client behind nginx is not tested here")

ADD = {"method": "add", "params": [1, 2]}

IDLE = 2
"""Seconds after which nginx cuts an idle connection here; 60 by default, often 5 in production."""


# --- nginx -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def launch(tmp_path, authority, trusting):
    """``launch(port)`` starts an nginx in front of that port."""
    with contextlib.ExitStack() as stack:
        yield lambda port, **options: stack.enter_context(Nginx(tmp_path, port, authority, trusting, **options))


@pytest.fixture
def nginx(launch, server):
    return launch(server.port)


def add(client):
    """Check that the client works; the request is repeated if the connection is cut, which helps on a slow machine."""
    assert client.request(ADD, timeout=LONG, idempotent=True)["result"] == 3


def echo(client, message):
    return client.request({"method": "echo", "params": message}, timeout=LONG)["result"]


def submit(client):
    return client.submit(ADD, timeout=LONG, idempotent=True)


# --- messages --------------------------------------------------------------------------------------------------------


def test_a_request_gets_its_reply_over_tls_that_ends_at_nginx(nginx):
    with nginx.client() as client:
        assert client.request(ADD, timeout=LONG) == {"id": 1, "result": 3}
        assert client.stats.connections == 1


def test_a_megabyte_passes_nginx_in_both_directions(nginx):
    noise = secrets.token_bytes(1_000_000)
    with nginx.client() as client:
        assert client.request(noise, match=lambda message: isinstance(message, bytes), timeout=LONG) == noise
        assert echo(client, "x" * 1_000_000) == "x" * 1_000_000
        assert client.stats.connections == 1


def test_compressible_text_passes_nginx_in_both_directions(nginx):
    """nginx forwards extensions, so text is compressed end to end if both ends support it."""
    text = "".join(f"{number}: the quick brown fox jumps over the lazy dog\n" for number in range(2_200))
    assert len(text) > 100_000
    with nginx.client() as client:
        for _ in range(3):
            assert client.request(text, match=lambda message: isinstance(message, str), timeout=LONG) == text
            assert echo(client, text) == text


def test_many_threads_share_one_connection_through_nginx(nginx):
    with nginx.client() as client, concurrent.futures.ThreadPoolExecutor(8) as pool:
        texts = [str(number) * 10 ** (number % 5) for number in range(100)]
        assert list(pool.map(lambda text: echo(client, text), texts)) == texts
        assert client.stats.connections == 1


# --- idle connections ------------------------------------------------------------------------------------------------


def test_nginx_cuts_an_idle_connection_and_the_client_reconnects(launch, server):
    nginx = launch(server.port, idle=IDLE)
    closes = queue.Queue()
    with nginx.client(ping_interval=None, on_close=lambda _, *told: closes.put(told)) as client:
        add(client)
        assert closes.get(timeout=LONG) == (None, None)
        assert client.last_disconnect.initiator == "network"
        assert client.last_disconnect.idle > IDLE / 2
        add(client)
        assert client.stats.connections >= 2


def test_the_keepalive_keeps_a_connection_open_that_nginx_would_cut(launch, server):
    nginx = launch(server.port, idle=IDLE)
    cut = threading.Event()
    with nginx.client(ping_interval=IDLE / 8, on_close=lambda *_: cut.set()) as client:
        assert not cut.wait(2.25 * IDLE)
        add(client)
        assert client.stats.connections == 1


# --- restarts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["SIGTERM", "SIGKILL"])
def test_the_client_survives_a_restart_of_nginx(nginx, how):
    with nginx.client() as client:
        add(client)
        nginx.stop(how)
        eventually(lambda: client.state is State.WAITING)
        meanwhile = submit(client)
        assert not meanwhile.done()
        nginx.start()
        assert meanwhile.result(LONG)["result"] == 3
        assert client.stats.connections == 2


@pytest.mark.parametrize("how", ["SIGTERM", "SIGKILL"])
def test_of_the_requests_in_flight_only_the_idempotent_ones_are_sent_again(launch, how):
    answers = threading.Event()

    def handler(connection, message):
        if answers.is_set():
            json_handler(connection, message)

    with Server(handler) as server:
        nginx = launch(server.port)
        with nginx.client() as client:
            again, once = submit(client), client.submit(ADD, timeout=LONG)
            server.wait_for(2)
            nginx.stop(how)
            with pytest.raises(wsclient.ConnectionLost) as caught:
                once.result(LONG)
            assert caught.value.sent is True
            assert not again.done()
            answers.set()
            nginx.start()
            assert again.result(LONG)["result"] == 3
            assert len(server.received) == 3


def test_a_reload_of_nginx_keeps_an_open_connection(nginx):
    with nginx.client() as client:
        add(client)
        nginx.reload()
        add(client)
        with nginx.client() as newcomer:
            add(newcomer)
        assert client.stats.connections == 1


def test_the_client_reconnects_when_a_reloaded_nginx_closes_old_connections(launch, server):
    nginx = launch(server.port, main="worker_shutdown_timeout 100ms;")
    closes = queue.Queue()
    with nginx.client(on_close=lambda _, *told: closes.put(told)) as client:
        add(client)
        nginx.reload()
        assert closes.get(timeout=LONG) == (None, None)
        add(client)
        assert client.stats.connections == 2


# --- responses of nginx in place of the server -----------------------------------------------------------------------


def check_502(error):
    assert isinstance(error, HandshakeError)
    assert error.status == 502
    assert b"502 Bad Gateway" in error.body
    assert error.headers["server"].startswith("nginx")
    assert error.retry


def test_a_502_is_reported_by_the_first_attempt(launch, dead):
    with pytest.raises(HandshakeError) as caught:
        launch(dead).client().start()
    check_502(caught.value)


def test_502s_are_retried_until_the_upstream_is_up(launch):
    port = free_port()
    failures = queue.Queue()
    client = launch(port).client(retry_first=True, on_connect_error=lambda _, attempt: failures.put(attempt))
    starter = threading.Thread(target=client.start)
    starter.start()
    for number in (1, 2, 3):
        attempt = failures.get(timeout=LONG)
        check_502(attempt.error)
        assert (attempt.number, attempt.next_delay) == (number, 0.05)
    with Server(port=port):
        starter.join(LONG)
        assert client.state is State.OPEN
        add(client)
        assert client.stats.connections == 1
        client.close()


def test_the_client_survives_a_restart_of_the_upstream(launch):
    failures, closed = queue.Queue(), threading.Event()
    with Server(port=free_port()) as server:
        nginx = launch(server.port)
        with nginx.client(
            on_connect_error=lambda _, attempt: failures.put(attempt.error), on_close=lambda *_: closed.set()
        ) as client:
            add(client)
            server.stop()
            assert closed.wait(LONG)
            for _ in range(2):
                check_502(failures.get(timeout=LONG))
            meanwhile = submit(client)
            server.start()
            assert meanwhile.result(LONG)["result"] == 3
            assert client.stats.connections >= 2


def test_a_429_is_not_fatal_and_its_retry_after_is_obeyed(nginx):
    failures = queue.Queue()
    with nginx.client("one") as first:
        client = nginx.client("one", retry_first=True, on_connect_error=lambda _, attempt: failures.put(attempt))
        began = time.monotonic()
        starter = threading.Thread(target=client.start)
        starter.start()
        attempt = failures.get(timeout=LONG)
        assert isinstance(attempt.error, HandshakeError)
        assert attempt.error.status == 429
        assert attempt.next_delay >= 2
        add(first)
    starter.join(LONG)  # there is room now, but the client must wait
    assert client.state is State.OPEN
    assert time.monotonic() - began >= 2 * client.stats.failed_attempts
    add(client)
    client.close()
