"""The public calls that return a stream: what they refuse, and when a stream begins and ends."""

import threading

import pytest

import wsclient

from ..support import LONG, SHORT, eventually


@pytest.fixture
def client(server):
    with wsclient.connect(server.url) as client:
        yield client


def test_each_stream_receives_the_messages_that_answer_no_request(server):
    client = wsclient.Client(server.url)
    everything = client.listen()  # receives messages from here on, before start
    evens = client.listen(lambda m: m % 2 == 0)
    with client:
        for n in range(6):
            client.send(f"[{n}]")
        client.request({"method": "echo", "params": 1}, timeout=LONG)
        assert [everything.get(LONG) for _ in range(6)] == [[n] for n in range(6)]
        with pytest.raises(TimeoutError):
            everything.get(0)
    with pytest.raises(TypeError):  # its own function raised: [0] % 2
        evens.get(LONG)


def test_a_stream_ends_when_the_client_closes(client):
    stream = client.listen()
    client.send("one")
    messages = []
    reader = threading.Thread(target=lambda: messages.extend(stream))
    reader.start()
    eventually(lambda: messages == ["one"])
    client.close()
    reader.join(LONG)
    assert not reader.is_alive()
    with pytest.raises(wsclient.ClientClosed):
        stream.get()
    with pytest.raises(wsclient.ClientClosed) as caught:  # the traceback keeps the stream alive
        client.listen()
    assert not client._wsclient.context.streams.listening, caught


def test_a_closed_stream_receives_no_more_messages(client):
    with client.listen() as stream:
        client.send("one")
        assert stream.get(LONG) == "one"
    client.send("two")
    client.flush(LONG)
    assert list(stream) == []


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"key": len}, ValueError, "overflow='latest' only"),
        ({"key": 1, "overflow": "latest"}, TypeError, "key"),
        ({"overflow": "newest"}, ValueError, "overflow"),
        ({"maxsize": 0}, ValueError, "maxsize"),
        ({"match": 1}, TypeError, "match"),
    ],
)
def test_an_invalid_option_is_refused_and_leaves_no_stream(client, options, error, words):
    with pytest.raises(error, match=words):
        client.listen(**options)
    assert not client._wsclient.context.streams.listening


def test_stream_and_subscribe_need_a_running_client(server):
    client = wsclient.Client(server.url)
    for call in (client.stream, client.subscribe):
        with pytest.raises(wsclient.ClientNotStarted, match=r"does not run yet"):
            call({"op": "x"})


def test_a_request_that_cannot_be_queued_leaves_no_stream(server):
    queue = wsclient.SendQueue(max_bytes=50, overflow="raise")
    with wsclient.connect(server.url, send_queue=queue, protocol=wsclient.JsonRpc()) as client:
        context = client._wsclient.context
        for call in (client.stream, client.subscribe):
            with pytest.raises(wsclient.MessageTooBig) as caught:  # keeps the stream alive
                call({"method": "x" * 100}, timeout=SHORT)
            assert not context.streams.fed, caught
            eventually(lambda: not context.subscriptions.members)
            assert not context.table.waiting


def test_a_subscription_made_in_a_hook_is_not_resumed_by_default(server):
    found = []
    done = threading.Event()

    class Subscriber(wsclient.Client):
        def on_open(self):
            try:
                self.subscribe({"op": "x"}, resume=True)
            except ValueError as error:
                found.append(str(error))
            done.set()

    with Subscriber(server.url, protocol=wsclient.JsonRpc()).start():
        assert done.wait(LONG)
    assert len(found) == 1
    assert "would subscribe once more on each connection" in found[0]
