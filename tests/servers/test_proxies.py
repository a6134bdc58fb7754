"""Proxies of other projects: tinyproxy (HTTP), microsocks and Dante (SOCKS).

They listen on loopback only, and log the requested targets.
"""

import concurrent.futures
import contextlib
import queue
import re
import secrets
import socket
import threading
import time

import pytest
import tenacity

import wsclient
from wsclient import ProxyError, State

from ..support import LONG, SHORT, SLACK, Server, eventually
from ..support.program import Program, find, free_port

SOON = wsclient.Reconnect(wait=tenacity.wait_fixed(0.05))
ADD = {"method": "add", "params": [1, 2]}


class Proxy(Program):
    """A proxy. Its log contains the requested targets, as host and port, or as address and port."""

    def __init__(self, home, login=None, allowed=None):
        self.port = free_port()
        super().__init__(home, self.command(home, login, allowed))

    def url(self, login="", scheme=None):
        return f"{scheme or self.scheme}://{login and f'{login}@'}127.0.0.1:{self.port}"

    def times(self, port):
        """How often a port was requested."""
        return len(re.findall(rf"[:.]{port}\b", self.output))

    def freeze(self):
        """The system still accepts its connections, and it does not answer."""
        self.signal_all("SIGSTOP")

    def thaw(self):
        self.signal_all("SIGCONT")


class TinyProxy(Proxy):
    scheme = "http"
    program = find("tinyproxy")

    def command(self, home, login, allowed):
        lines = [f"Port {self.port}", "Listen 127.0.0.1", "Timeout 600", "MaxClients 100", "LogLevel Connect"]
        if login is not None:
            lines.append("BasicAuth {} {}".format(*login))
        if allowed is not None:
            lines.append(f"ConnectPort {allowed}")
        (home / "tinyproxy.conf").write_text("\n".join([*lines, ""]))
        return [self.program, "-d", "-c", "tinyproxy.conf"]


class MicroSocks(Proxy):
    scheme = "socks5h"
    program = find("microsocks")

    def command(self, home, login, allowed):
        # With -b it uses an IPv4 address of a name that has others too.
        command = [self.program, "-i", "127.0.0.1", "-b", "127.0.0.1", "-p", str(self.port)]
        return command if login is None else [*command, "-u", login[0], "-P", login[1]]


DANTE = """
logoutput: stderr
internal: 127.0.0.1 port = %d
external: 127.0.0.1
clientmethod: none
socksmethod: none
client pass { from: 127.0.0.0/8 to: 0.0.0.0/0 }
socks pass { from: 127.0.0.0/8 to: 0.0.0.0/0 log: connect }
"""


class Dante(Proxy):
    """Its users are those of the system, so it is tested without authentication."""

    scheme = "socks5h"
    program = find("danted") or find("sockd")

    def command(self, home, login, allowed):
        (home / "dante.conf").write_text(DANTE % self.port)
        return [self.program, "-f", "dante.conf", "-p", "dante.pid"]


PROXIES = {"tinyproxy": TinyProxy, "microsocks": MicroSocks, "dante": Dante}


@pytest.fixture
def launch(tmp_path):
    """``launch(name, ...)`` starts a proxy."""
    with contextlib.ExitStack() as stack:

        def launch(name, **options):
            if PROXIES[name].program is None:
                pytest.skip(f"{name.upper()} IS MISSING: the client is not tested through it")
            return stack.enter_context(PROXIES[name](tmp_path, **options))

        yield launch


@pytest.fixture(params=PROXIES)
def relay(request, launch):
    """Each of the proxies, without authentication."""
    return launch(request.param)


@pytest.fixture(params=["ws", "wss"])
def behind(request, server_tls):
    """A server behind a proxy, without TLS and with it."""
    with Server(tls=server_tls if request.param == "wss" else None) as server:
        yield server


def add(client):
    """Check that the client works; the request is repeated if the connection is cut, which helps on a slow machine."""
    assert client.request(ADD, timeout=LONG, idempotent=True)["result"] == 3


def submit(client):
    return client.submit(ADD, timeout=LONG, idempotent=True)


def echo(client, message):
    return client.request(message, match=lambda reply: isinstance(reply, type(message)), timeout=LONG)


# --- messages --------------------------------------------------------------------------------------------------------


def test_requests_and_large_messages_pass_through_a_proxy(relay, behind, trusting):
    noise = secrets.token_bytes(1_000_000)
    with wsclient.connect(behind.url, proxy=relay.url(), ssl_context=trusting) as client:
        assert client.request(ADD, timeout=LONG) == {"id": 1, "result": 3}
        assert echo(client, noise) == noise
        assert echo(client, "ü" * 100_000) == "ü" * 100_000
        assert client.stats.connections == 1
    eventually(lambda: relay.times(behind.port) == 1)


def test_many_threads_share_one_connection(relay, server):
    with wsclient.connect(server.url, proxy=relay.url()) as client, concurrent.futures.ThreadPoolExecutor(8) as pool:
        numbers = range(200)
        replies = pool.map(lambda n: client.request({"method": "add", "params": [n, n]}, timeout=LONG), numbers)
        assert [reply["result"] for reply in replies] == [2 * n for n in numbers]
        assert client.stats.connections == 1


# --- reconnecting ----------------------------------------------------------------------------------------------------


def test_the_client_reconnects_through_the_proxy_when_the_server_cuts_the_connection(relay, behind, trusting):
    with wsclient.connect(behind.url, proxy=relay.url(), ssl_context=trusting, reconnect=SOON) as client:
        for times in (1, 2, 3):
            add(client)
            eventually(lambda times=times: relay.times(behind.port) == times)
            assert client.stats.connections == times
            behind.cut_all()
            eventually(lambda times=times: client.stats.connections > times)


def test_a_server_that_is_down_behind_the_proxy_is_retried_until_it_is_running(relay):
    port = free_port()
    failures = queue.Queue()
    client = wsclient.Client(
        f"ws://127.0.0.1:{port}/",
        proxy=relay.url(),
        reconnect=SOON,
        retry_first=True,
        on_connect_error=lambda _, attempt: failures.put(attempt),
    )
    starter = threading.Thread(target=client.start)
    starter.start()
    for number in (1, 2, 3):
        attempt = failures.get(timeout=LONG)
        assert isinstance(attempt.error, ProxyError)
        assert "refused a tunnel" in str(attempt.error)
        assert attempt.number == number
    with Server(port=port):
        starter.join(LONG)
        assert client.state is State.OPEN
        add(client)
        client.close()


def test_the_client_reconnects_after_a_restart_of_the_proxy(relay, behind, trusting):
    failures = queue.Queue()
    with wsclient.connect(
        behind.url,
        proxy=relay.url(),
        ssl_context=trusting,
        reconnect=SOON,
        on_connect_error=lambda _, attempt: failures.put(attempt.error),
    ) as client:
        add(client)
        relay.stop()
        error = failures.get(timeout=LONG)
        assert isinstance(error, ProxyError)
        meanwhile = submit(client)
        assert not meanwhile.done()
        relay.start()
        assert meanwhile.result(LONG)["result"] == 3
        assert client.stats.connections == 2


# --- a proxy that hangs ----------------------------------------------------------------------------------------------


def took_too_long(error):
    return isinstance(error, ProxyError) and "took too long" in str(error) and isinstance(error.last, TimeoutError)


def test_a_proxy_that_hangs_ends_at_the_open_timeout(relay, server):
    relay.freeze()
    client = wsclient.Client(server.url, proxy=relay.url(), open_timeout=SHORT)
    began = time.monotonic()
    with pytest.raises(ProxyError) as caught:
        client.start(LONG)
    assert took_too_long(caught.value)
    assert caught.value.retry
    assert SHORT <= time.monotonic() - began < LONG


def test_a_proxy_that_hangs_for_a_while_is_detected_and_retried(relay, server):
    failures = queue.Queue()
    with wsclient.connect(
        server.url,
        proxy=relay.url(),
        reconnect=SOON,
        open_timeout=0.5,
        ping_interval=0.3,
        ping_timeout=1.0,
        retry_first=True,
        on_connect_error=lambda _, attempt: failures.put(attempt.error),
    ) as client:
        add(client)
        while not failures.empty():  # on a busy machine the first attempt may take more than half a second
            failures.get()
        relay.freeze()
        while not took_too_long(failures.get(timeout=LONG)):
            pass
        assert client.last_disconnect.initiator == "keepalive"
        meanwhile = submit(client)
        relay.thaw()
        assert meanwhile.result(LONG)["result"] == 3


def test_close_is_bounded_while_the_proxy_hangs(relay, server):
    with wsclient.connect(server.url, proxy=relay.url()) as client:
        add(client)
        relay.freeze()
        began = time.monotonic()
        client.close(timeout=SHORT)
        assert time.monotonic() - began < SHORT + 1 + SLACK
        assert client.state is State.CLOSED


# --- authentication and permission -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tinyproxy", "microsocks"])
def test_the_credentials_of_the_proxy_url_are_used(launch, server, name):
    relay = launch(name, login=("me", "secret"))
    with wsclient.connect(server.url, proxy=relay.url("me:secret"), reconnect=SOON) as client:
        add(client)
        server.cut_all()
        eventually(lambda: client.stats.connections == 2)
        add(client)


def test_special_characters_in_a_password_are_quoted_in_the_url(launch, server):
    relay = launch("microsocks", login=("me", "s:cr@t"))  # tinyproxy supports letters and digits only
    with wsclient.connect(server.url, proxy=relay.url("me:s%3Acr%40t")) as client:
        add(client)


WRONG = [
    ("tinyproxy", "", "407 Proxy Authentication Required"),
    ("tinyproxy", "me:hush", "401 Unauthorized"),
    ("tinyproxy", "you:secret", "401 Unauthorized"),
    ("microsocks", "", "No acceptable authentication methods"),
    ("microsocks", "me:hush", "authentication failure"),
    ("microsocks", "you:secret", "authentication failure"),
]


@pytest.mark.parametrize(("name", "login", "why"), WRONG)
def test_wrong_credentials_are_a_proxy_error_with_the_reason(launch, server, name, login, why):
    relay = launch(name, login=("me", "secret"))
    with pytest.raises(ProxyError, match=why) as caught:
        wsclient.connect(server.url, proxy=relay.url(login))
    assert "hush" not in str(caught.value)
    assert not server.connections


@pytest.mark.parametrize("login", ["", "me:hush"])
def test_an_http_proxy_that_rejects_the_credentials_ends_the_client(launch, server, login):
    relay = launch("tinyproxy", login=("me", "secret"))
    fails_for_good(wsclient.Client(server.url, proxy=relay.url(login), reconnect=SOON, retry_first=True))


def test_an_http_proxy_that_forbids_the_port_ends_the_client(launch, server):
    relay = launch("tinyproxy", allowed=443)
    client = wsclient.Client(server.url, proxy=relay.url(), reconnect=SOON, retry_first=True)
    assert "403" in str(fails_for_good(client))


def test_an_http_proxy_that_allows_the_port_forwards_the_connection(launch, server):
    relay = launch("tinyproxy", allowed=server.port)
    with wsclient.connect(server.url, proxy=relay.url()) as client:
        add(client)


def fails_for_good(client):
    """The client's first attempt is its last; return the error."""
    with pytest.raises(ProxyError) as caught:
        client.start(LONG)
    assert client.state is State.FAILED
    assert client.stats.failed_attempts == 1
    return caught.value


# --- name lookups ----------------------------------------------------------------------------------------------------


@pytest.fixture
def asked(monkeypatch):
    """The names that are looked up in this process; ``here.test`` is known only here."""
    names = []
    look_up = socket.getaddrinfo

    def getaddrinfo(host, *args, **options):
        names.append(host)
        return look_up("127.0.0.1" if host == "here.test" else host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return names


@pytest.mark.parametrize(
    ("name", "scheme"),
    [("tinyproxy", "http"), ("microsocks", "socks5h"), ("dante", "socks5h")],
)
def test_the_proxy_looks_up_the_name(launch, server, asked, name, scheme):
    relay = launch(name)
    with wsclient.connect(f"ws://localhost:{server.port}/", proxy=relay.url(scheme=scheme)) as client:
        add(client)
    assert "localhost" not in asked
    eventually(lambda: relay.times(server.port) == 1)


@pytest.mark.parametrize(("name", "scheme"), [("microsocks", "socks5"), ("dante", "socks5"), ("dante", "socks4")])
def test_with_socks5_and_socks4_the_client_looks_up_the_name(launch, server, asked, name, scheme):
    relay = launch(name)
    with wsclient.connect(f"ws://here.test:{server.port}/", proxy=relay.url(scheme=scheme)) as client:
        add(client)
    assert "here.test" in asked
    eventually(lambda: relay.times(server.port) == 1)


def test_a_name_that_the_proxy_cannot_resolve_is_a_proxy_error(launch, server, asked):
    relay = launch("microsocks")
    with pytest.raises(ProxyError, match="refused a tunnel"):
        wsclient.connect(f"ws://here.test:{server.port}/", proxy=relay.url())


# --- the environment -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "scheme", "name"),
    [
        ("HTTP_PROXY", "ws", "tinyproxy"),
        ("HTTPS_PROXY", "wss", "tinyproxy"),
        ("ALL_PROXY", "ws", "microsocks"),
        ("all_proxy", "wss", "microsocks"),
    ],
)
def test_the_proxy_is_taken_from_the_environment(launch, server_tls, trusting, monkeypatch, variable, scheme, name):
    relay = launch(name, login=("me", "secret"))
    monkeypatch.setenv(variable, relay.url("me:secret"))
    with Server(tls=server_tls if scheme == "wss" else None) as server:
        with wsclient.connect(server.url, proxy="env", ssl_context=trusting) as client:
            add(client)
        eventually(lambda: relay.times(server.port) == 1)


@pytest.mark.parametrize("exempt", ["127.0.0.1", "example.org,127.0.0.1", "*"])
def test_no_proxy_exempts_a_server(launch, server, monkeypatch, exempt):
    relay = launch("tinyproxy")
    monkeypatch.setenv("ALL_PROXY", relay.url())
    relay.stop()
    with pytest.raises(ProxyError, match="can't be reached"):
        wsclient.connect(server.url, proxy="env")
    monkeypatch.setenv("NO_PROXY", exempt)
    with wsclient.connect(server.url, proxy="env") as client:
        add(client)


def test_a_proxy_receives_no_request_for_an_exempt_server(launch, server, monkeypatch):
    relay = launch("tinyproxy")
    monkeypatch.setenv("HTTP_PROXY", relay.url())
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for seen in (0, 1):
        with wsclient.connect(server.url) as client:
            add(client)
        eventually(lambda seen=seen: relay.times(server.port) == seen)
        monkeypatch.delenv("NO_PROXY", raising=False)
