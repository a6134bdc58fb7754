"""The limits on peer input: the check of each limit, and its effect when it is set through the public option."""

import dataclasses
import math
import socket
import threading

import pytest

import wsclient
from wsclient import ConnectError, HandshakeError, Limits, MessageTooBig, ProxyError
from wsclient._network.connector import Connector
from wsclient._network.options import NetworkOptions
from wsclient._options import (
    ATTEMPT_DELAY,
    DEFAULT_LIMITS,
    MAX_BATCH,
    MAX_BODY_BYTES,
    MAX_FRAGMENTS,
    MAX_HEAD_BYTES,
    MAX_HEADERS,
    MAX_INFLATED_BYTES,
    MAX_REDIRECTS,
)

from .support import LONG, SHORT
from .support.raw import frame
from .support.sockets import Silent
from .support.stage import Watcher, answer_with_bytes, redirect, respond, until_the_end, upgrade

TEXT, CONTINUATION, CLOSE = 1, 0, 8

NAMES = [field.name for field in dataclasses.fields(Limits)]


def connected(url, **limits):
    """Connect once with these limits, and close."""
    client = wsclient.Client(url, limits=Limits(**limits), reconnect=None)
    client.start()
    client.close(timeout=0)


# --- each limit alone ------------------------------------------------------------------------------------------------

COUNTS = [
    "max_fragments", "max_batch", "max_inflated_bytes", "max_head_bytes", "max_headers", "max_body_bytes",
    "max_redirects",
]  # fmt: skip
MAY_BE_ZERO = ["max_body_bytes", "max_redirects"]


def test_the_limits_have_these_defaults():
    values = {name: getattr(Limits(), name) for name in NAMES}
    assert values == {
        "max_fragments": 131_072,
        "max_batch": 100_000,
        "max_inflated_bytes": 1_048_576,
        "max_head_bytes": 65_536,
        "max_headers": 128,
        "max_body_bytes": 65_536,
        "max_redirects": 5,
        "attempt_delay": 0.25,
    }
    assert values == {name: getattr(DEFAULT_LIMITS, name) for name in NAMES}
    assert values == {
        "max_fragments": MAX_FRAGMENTS,
        "max_batch": MAX_BATCH,
        "max_inflated_bytes": MAX_INFLATED_BYTES,
        "max_head_bytes": MAX_HEAD_BYTES,
        "max_headers": MAX_HEADERS,
        "max_body_bytes": MAX_BODY_BYTES,
        "max_redirects": MAX_REDIRECTS,
        "attempt_delay": ATTEMPT_DELAY,
    }


@pytest.mark.parametrize("name", COUNTS)
def test_a_limit_is_kept_and_does_not_change_the_others(name):
    for value in [1, 7, 10**12]:
        limits = Limits(**{name: value})
        assert getattr(limits, name) == value
        for other in set(NAMES) - {name}:
            assert getattr(limits, other) == getattr(DEFAULT_LIMITS, other)


@pytest.mark.parametrize("name", COUNTS)
def test_a_limit_must_be_an_integer(name):
    for value in [1.0, 1.5, "5", b"5", None, True, False, math.inf, [5]]:
        with pytest.raises(TypeError, match=rf"^{name} must be a whole number, not "):
            Limits(**{name: value})


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("value", [-1, -(10**12)])
def test_a_negative_limit_is_refused(name, value):
    with pytest.raises(ValueError, match=rf"^{name} must be at least {int(name not in MAY_BE_ZERO)}, not {value}\.$"):
        Limits(**{name: value})


@pytest.mark.parametrize("name", MAY_BE_ZERO)
def test_these_limits_can_be_zero(name):
    assert getattr(Limits(**{name: 0}), name) == 0


@pytest.mark.parametrize("name", sorted(set(COUNTS) - set(MAY_BE_ZERO)))
def test_these_limits_cannot_be_zero(name):
    with pytest.raises(ValueError, match=rf"^{name} must be at least 1, not 0\.$"):
        Limits(**{name: 0})


@pytest.mark.parametrize("value", [0.001, 1, 2.5, 86400])
def test_the_delay_is_a_number_of_seconds(value):
    limits = Limits(attempt_delay=value)
    assert limits.attempt_delay == value
    assert type(limits.attempt_delay) is float


@pytest.mark.parametrize("value", [0, 0.0, -1, math.nan, math.inf, -math.inf])
def test_a_delay_that_cannot_be_waited_for_is_refused(value):
    with pytest.raises(ValueError, match=r"^attempt_delay must be a finite number of seconds above 0, not "):
        Limits(attempt_delay=value)


@pytest.mark.parametrize("value", ["1", None, True, False, [1], 1j], ids=repr)
def test_a_delay_of_another_type_is_refused(value):
    with pytest.raises(TypeError, match=r"^attempt_delay must be a number of seconds, not "):
        Limits(attempt_delay=value)


def test_limits_are_keyword_arguments():
    with pytest.raises(TypeError):
        Limits(5)
    with pytest.raises(TypeError):
        Limits(max_cookies=5)


def test_an_unknown_limit_is_refused():
    with pytest.raises(AttributeError):
        Limits().max_redirect = 5
    with pytest.raises(AttributeError):
        DEFAULT_LIMITS.max_redirects = 0  # all clients share it


def test_the_repr_of_limits_is_an_expression():
    limits = Limits(max_redirects=0, attempt_delay=1.5)
    assert repr(limits).startswith("Limits(")
    twin = eval(repr(limits))
    for name in NAMES:
        assert getattr(twin, name) == getattr(limits, name)
    assert repr(twin) == repr(limits)


# --- fragments -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pieces", [3, 4])
def test_a_message_in_more_fragments_than_allowed_closes_the_connection(raw, pieces):
    client = wsclient.Client(raw.url, limits=Limits(max_fragments=3), reconnect=None, json=None)
    starter = threading.Thread(target=client.start)
    starter.start()
    peer = raw.accept().upgrade()
    starter.join(LONG)
    with client.listen() as stream:
        middle = [frame(CONTINUATION, b"x", fin=False)] * (pieces - 2)
        peer.send(b"".join([frame(TEXT, b"x", fin=False), *middle, frame(CONTINUATION, b"x")]))
        if pieces == 3:
            assert stream.get(LONG) == "xxx"
            client.close(timeout=0)
            return
        assert peer.receive_frame() == (CLOSE, (1009).to_bytes(2, "big"))
        peer.finish()
        assert client.wait_closed(LONG)
    last = client.last_disconnect
    assert (last.initiator, last.code) == ("local", 1009)
    assert isinstance(last.error, MessageTooBig)
    assert "more than 3 fragments; raise max_fragments of limits=" in str(last.error)


# --- the head of a response ------------------------------------------------------------------------------------------


def long_upgrade(size):
    """Answer with a head of this many bytes."""

    def act(peer):
        peer.receive_head()
        answer = (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {peer.accept()}\r\nX: "
        )
        peer.send(f"{answer}{'x' * (size - len(answer) - 4)}\r\n\r\n".encode())
        until_the_end(peer)

    return act


@pytest.mark.parametrize("most", [500, 200_000])
def test_a_head_can_have_exactly_the_maximum_number_of_bytes(stage, most):
    connected(stage(long_upgrade(most)).url, max_head_bytes=most)
    with pytest.raises(HandshakeError, match=rf"^The server sent a response whose headers exceed {most} bytes\.$"):
        connected(stage(long_upgrade(most + 1)).url, max_head_bytes=most)


@pytest.mark.parametrize("most", [5, 500])
def test_a_head_can_have_exactly_the_maximum_number_of_lines(stage, most):
    lines = [f"X-{n}: x" for n in range(most - 3)]  # three belong to the upgrade
    connected(stage(upgrade(*lines)).url, max_headers=most)
    with pytest.raises(HandshakeError, match=rf"^The server sent a response with more than {most} headers\.$"):
        connected(stage(upgrade(*lines, "X: x")).url, max_headers=most)


@pytest.mark.parametrize(
    ("limits", "why"),
    [({"max_head_bytes": 200}, "headers exceed 200 bytes"), ({"max_headers": 2}, "more than 2 headers")],
    ids=str,
)
def test_the_same_limits_apply_to_the_response_of_a_proxy(stage, limits, why):
    answer = b"HTTP/1.1 200 OK\r\nVia: a\r\nVia: b\r\nX: " + b"x" * 200 + b"\r\n\r\n"
    proxy = stage(answer_with_bytes(answer))
    client = wsclient.Client(
        "ws://example.org/", proxy=f"http://127.0.0.1:{proxy.port}", limits=Limits(**limits), reconnect=None
    )
    with pytest.raises(ProxyError, match=rf"^The proxy sent a response .*{why}"):
        client.start()


# --- bodies ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("most", "kept"), [(0, b""), (2, b"go"), (7, b"go away"), (100, b"go away")])
def test_the_body_of_a_rejection_is_kept_up_to_the_limit(stage, most, kept):
    with pytest.raises(HandshakeError, match="403 Forbidden") as caught:
        connected(stage(respond("403 Forbidden", body=b"go away")).url, max_body_bytes=most)
    assert caught.value.body == kept


def test_the_limit_of_a_body_can_be_increased(stage):
    body = b"x" * (MAX_BODY_BYTES + 1000)
    with pytest.raises(HandshakeError) as caught:
        connected(stage(respond("403 Forbidden", body=body)).url, max_body_bytes=2**20)
    assert caught.value.body == body


def test_with_limit_zero_no_body_is_read(stage):
    watcher = Watcher()
    server = stage(answer_with_bytes(b"HTTP/1.1 500 Oops\r\nContent-Length: 100\r\n\r\n"))
    options = NetworkOptions(LONG, LONG, None, None, None, None, None, limits=Limits(max_body_bytes=0))
    with pytest.raises(HandshakeError, match="500 Oops"):
        Connector(options, (), watcher).open(server.url, {})
    assert len(set(watcher.deadlines)) == 1, "it waited for a body, with a separate timeout"
    assert not watcher.open()
    watcher.close()


# --- redirects -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [0, 1, 7])
def test_exactly_the_maximum_number_of_redirects_is_followed(stage, most):
    here = stage(*[redirect(f"/{n}") for n in range(most)], upgrade())
    connected(here.url, max_redirects=most)
    assert len(here.peers) == most + 1
    there = stage(*[redirect(f"/{n}") for n in range(most + 1)], upgrade())
    with pytest.raises(HandshakeError, match=rf"^The server redirected more than {most} times\.$") as caught:
        connected(there.url, max_redirects=most)
    assert caught.value.status == 302
    assert len(there.peers) == most + 1


# --- addresses -------------------------------------------------------------------------------------------------------


@pytest.fixture
def two_addresses(monkeypatch, server):
    """The name ``two.example`` has an address that does not answer, and that of a server."""
    silent = Silent()
    look_up = socket.getaddrinfo

    def getaddrinfo(host, *args, **options):
        if host != "two.example":
            return look_up(host, *args, **options)
        addresses = [silent.address[1], ("127.0.0.1", server.port)]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield "ws://two.example/"
    silent.close()


def test_with_a_short_delay_the_next_address_is_tried_soon(two_addresses):
    with wsclient.connect(two_addresses, limits=Limits(attempt_delay=0.001), reconnect=None) as client:
        assert client.request({"method": "add", "params": [1, 2]}, timeout=LONG)["result"] == 3


def test_within_a_long_delay_the_next_address_is_not_tried(two_addresses, server):
    client = wsclient.Client(
        two_addresses, limits=Limits(attempt_delay=10 * LONG), open_timeout=3 * SHORT, reconnect=None
    )
    with pytest.raises(ConnectError, match=r"was not open within 0\.6 s"):
        client.start()
    assert server.opened.empty()
