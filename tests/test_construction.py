"""Making a client: everything is checked, nothing is opened, nothing is shared."""

import gc
import threading
import weakref

import pytest

import wsclient


def test_a_client_that_is_only_made_has_no_thread_and_needs_no_goodbye():
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
    ],
    ids=str,
)
def test_every_option_is_checked_at_once_and_named(options, error):
    with pytest.raises(error, match=next(reversed(options)) if "url" not in options else "url"):
        wsclient.Client(options.pop("url", "ws://localhost/"), **options)


def test_options_are_keyword_only():
    with pytest.raises(TypeError):
        wsclient.Client("ws://localhost/", wsclient.JsonId())


def test_a_protocol_serves_one_client():
    protocol = wsclient.JsonId()
    first = wsclient.Client("ws://localhost/", protocol=protocol)
    assert first.protocol is protocol
    with pytest.raises(ValueError, match=r"^protocol serves another client already; make one for each client\.$"):
        wsclient.Client("ws://localhost/", protocol=protocol)


def test_without_a_protocol_each_client_gets_one_of_its_own():
    first, second = wsclient.Client("ws://localhost/"), wsclient.Client("ws://localhost/")
    assert isinstance(first.protocol, wsclient.JsonId)
    assert first.protocol is not second.protocol


def test_a_protocol_that_encodes_by_id_is_asked_for_one_before_any_other_thread_asks():
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


def test_a_protocol_without_requests_may_have_no_ids():
    client = wsclient.Client("ws://localhost/", protocol=wsclient.Protocol())
    client.send("fine")
    client.close()
