"""The construction of a client: all options are checked, nothing is opened or shared."""

import gc
import socket
import threading
import weakref

import pytest

import wsclient


def test_a_client_that_was_never_started_has_no_thread_and_needs_no_close():
    before = threading.active_count()
    client = wsclient.Client("ws://localhost:1/", on_message=print)
    assert client.state is wsclient.State.NEW
    assert threading.active_count() == before
    gone = weakref.ref(client)
    del client
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"url": "http://localhost/"}, ValueError),
        ({"protocol": "json"}, TypeError),
        ({"protocol": wsclient.JsonId}, TypeError),
        ({"reconnect": 5}, TypeError),
        ({"reconnect": None, "retry_first": True}, ValueError),
        ({"on_message": "print"}, TypeError),
        ({"ping_interval": -1}, ValueError),
        ({"compression": "gzip"}, ValueError),
        ({"compression": 1}, TypeError),
        ({"sock": "socket"}, TypeError),
        ({"limits": None}, TypeError),
    ],
    ids=str,
)
def test_every_option_is_checked_at_construction_and_named_in_the_error(options, error):
    with pytest.raises(error, match=next(reversed(options)) if "url" not in options else "url"):
        wsclient.Client(options.pop("url", "ws://localhost/"), **options)


@pytest.mark.parametrize(
    "options",
    [
        {"compression": None},
        {"compression": "deflate"},
        {"compression": wsclient.Deflate(level=1)},
        {"sock": socket.socket},
        {"limits": wsclient.Limits(max_redirects=0)},
    ],
    ids=str,
)
def test_valid_options_are_accepted(options):
    assert wsclient.Client("ws://localhost/", **options).state is wsclient.State.NEW


def test_a_socket_option_excludes_a_proxy_and_a_source_address():
    for others in ({"proxy": "http://proxy"}, {"source_address": "127.0.0.1"}):
        with pytest.raises(ValueError, match=r"^sock .* excludes proxy= and source_address="):
            wsclient.Client("ws://localhost/", sock=socket.socket, **others)


def test_a_client_that_is_never_started_does_not_close_its_socket():
    near, far = socket.socketpair()
    with near, far:
        client = wsclient.Client("ws://localhost/", sock=near)
        client.close()
        del client
        gc.collect()
        far.sendall(b"x")
        assert near.recv(1) == b"x"


def test_options_are_keyword_only():
    with pytest.raises(TypeError):
        wsclient.Client("ws://localhost/", wsclient.JsonId())


def test_a_protocol_object_serves_one_client():
    protocol = wsclient.JsonId()
    first = wsclient.Client("ws://localhost/", protocol=protocol)
    assert first.protocol is protocol
    with pytest.raises(ValueError, match=r"^protocol serves another client already; make one for each client\.$"):
        wsclient.Client("ws://localhost/", protocol=protocol)


def test_without_the_protocol_option_each_client_gets_a_separate_protocol():
    first, second = wsclient.Client("ws://localhost/"), wsclient.Client("ws://localhost/")
    assert isinstance(first.protocol, wsclient.JsonId)
    assert first.protocol is not second.protocol


def test_a_protocol_that_encodes_by_id_is_tried_with_one_id_before_other_threads_use_it():
    class Counting(wsclient.Protocol):
        def __init__(self):
            self.asked = 0

        def new_id(self):
            self.asked += 1
            return self.asked

        def encode_request(self, message, id):
            return f"{id} {message}"

    protocol = Counting()
    client = wsclient.Client("ws://localhost/", protocol=protocol)
    assert protocol.asked == 1
    for _ in range(10):
        client.submit("ask")
    assert protocol.asked == 1
    client.close()


def test_a_protocol_without_requests_can_have_no_ids():
    client = wsclient.Client("ws://localhost/", protocol=wsclient.Protocol())
    client.send("fine")
    client.close()


@pytest.mark.parametrize("codes", [None, 4401, [4401], "4401"])
def test_fatal_close_codes_of_a_protocol_that_are_not_a_set_are_refused_at_construction(codes):
    class Own(wsclient.JsonId):
        fatal_codes = codes

    with pytest.raises(TypeError, match=r"^fatal_codes of .* must be a set of close codes, not"):
        wsclient.Client("ws://localhost/", protocol=Own())
