"""``on()`` and ``handle()``: registrations that can be removed, and decorators that return the function unchanged."""

import threading

import pytest

import wsclient

from ..support import LONG, eventually
from ..support.peers import open_against, start_call

URL = "ws://localhost:1/"


@pytest.fixture
def pair(raw):
    client, peer, _ = open_against(raw, protocol=wsclient.JsonRpc())
    yield client, peer
    client.close(timeout=0)


def send_event(peer, topic):
    peer.send_text(f'{{"method": "{topic}"}}')


@pytest.mark.parametrize("end", [wsclient.Registration.remove, wsclient.Registration.__call__])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_removed_function_gets_no_more_events_and_others_still_do(pair, end, workers):
    client, peer = pair
    removed, kept = [], []
    registration = client.on("tick", removed.append, workers=workers)
    client.on("tick", kept.append)
    send_event(peer, "tick")
    eventually(lambda: len(removed) == len(kept) == 1)
    for _ in range(3):
        assert end(registration) is None
    send_event(peer, "tick")
    eventually(lambda: len(kept) == 2)
    drained = start_call(lambda: client.drain(LONG))
    peer.finish()
    assert drained.result(LONG)
    assert len(removed) == 1


@pytest.mark.parametrize("workers", [0, 2])
def test_a_removed_handler_answers_no_calls_and_another_can_be_registered(pair, workers):
    client, peer = pair
    registration = client.handle("add", sum, workers=workers)
    peer.send_text('{"id": 1, "method": "add", "params": [1, 2]}')
    assert '"result":3' in peer.receive_text()
    registration.remove()
    peer.send_text('{"id": 2, "method": "add", "params": [1, 2]}')
    assert "-32601" in peer.receive_text()
    another = client.handle("add", max)
    registration.remove()  # a second removal: it must not remove the other handler
    peer.send_text('{"id": 3, "method": "add", "params": [1, 2]}')
    assert '"result":2' in peer.receive_text()
    another()


def test_without_a_function_both_are_decorators_that_return_it_unchanged(pair):
    client, peer = pair
    seen = []

    def note(message):
        seen.append(message)

    assert client.on("tick", workers=1)(note) is note
    assert client.handle("note")(note) is note
    send_event(peer, "tick")
    eventually(lambda: len(seen) == 1)
    with pytest.raises(ValueError, match="has a handler already"):
        client.handle("note", note)


@pytest.mark.parametrize("call", ["on", "handle"])
def test_none_is_refused_as_a_function(call):
    client = wsclient.Client(URL)
    with pytest.raises(TypeError, match=rf"^{call}\('x'\) takes a function, not None\.$"):
        getattr(client, call)("x", None)


def test_the_repr_of_a_registration_has_its_name_and_function():
    assert repr(wsclient.Client(URL).on("tick", print)) == "<Registration on('tick')>"


def test_threads_can_register_and_remove_at_the_same_time():
    client = wsclient.Client(URL)

    def work(n):
        for _ in range(200):
            client.on("tick", print).remove()
            client.handle(f"add{n}", print).remove()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    handlers = client._wsclient.context.handlers
    assert handlers.of_topic("tick") == ()
    assert handlers.of_method("add0") is None
