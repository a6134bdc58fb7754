"""What a hostile or careless server can cost: memory, time of the I/O thread, other people's room in the queues."""

import json
import threading

import pytest

import wsclient
from wsclient import JsonRpc, ReceiveQueue

from ..support import LONG, eventually
from ..support.peers import open_pair


def notifications(count, padding):
    """A JSON-RPC array of notifications, and its size in bytes."""
    text = json.dumps([{"jsonrpc": "2.0", "method": "tick", "params": [n, "p" * padding]} for n in range(count)])
    return text, len(text)


class Several(wsclient.Protocol):
    """A protocol whose messages are arrays of events."""

    def __init__(self, *, lazily):
        self.lazily = lazily

    def decode(self, payload):
        events = (wsclient.Event(one) for one in json.loads(payload))
        return events if self.lazily else list(events)


# --- several messages in one -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "protocol", [JsonRpc(), Several(lazily=True), Several(lazily=False)], ids=["JsonRpc", "generator", "list"]
)
def test_each_message_of_an_array_counts_for_its_share_of_the_bytes(raw, protocol):
    text, size = notifications(500, 1000)
    bounds = ReceiveQueue(max_bytes=2 * size, overflow="drop_newest")
    free, got = threading.Event(), []

    def take(_, message):
        free.wait(LONG)
        got.append(message["params"][0])

    client, peer = open_pair(raw, protocol=protocol, on_message=take, receive_queue=bounds)
    peer.send_text(text)
    eventually(lambda: client.stats.messages_received)
    peer.send_frame(9, b"behind the array")
    assert peer.receive_frame() == (10, b"behind the array")
    free.set()
    eventually(lambda: len(got) + client.stats.dropped == 500)
    assert (got, client.stats.dropped) == (list(range(500)), 0)
    client.close(timeout=0)


def test_an_array_that_arrives_during_the_set_up_counts_once(raw):
    text, size = notifications(100, 1000)
    got = []
    ready = threading.Event()

    def set_up(_, session):
        assert session.recv(LONG)["params"][0] == 0
        session.call("login", timeout=LONG)
        ready.set()

    client = wsclient.Client(
        raw.url, protocol=JsonRpc(), on_session=set_up, receive_queue=ReceiveQueue(max_bytes=2 * size), compression=None,
        on_message=lambda _, message: got.append(message["params"][0]),
    )  # fmt: skip
    starting = threading.Thread(target=client.start)
    starting.start()
    peer = raw.accept().upgrade()
    peer.send_text(text)
    asked = json.loads(peer.receive_text())
    peer.send_text(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": 1}))
    starting.join(LONG)
    assert ready.is_set()
    eventually(lambda: got == list(range(1, 100)))
    client.close(timeout=0)
