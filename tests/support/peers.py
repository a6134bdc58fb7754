"""A client that is connected to a ``Peer``, and functions for the messages between them."""

import concurrent.futures
import json
import threading

import tenacity

import wsclient
from wsclient import JsonId

from . import LONG, eventually
from .raw import frame

SOON = wsclient.Reconnect(wait=tenacity.wait_none())


def open_pair(raw, **options):
    """An open client, and its peer."""
    options.setdefault("reconnect", SOON)
    client = wsclient.Client(raw.url, **options)
    starter = threading.Thread(target=client.start)
    starter.start()
    peer = raw.accept().upgrade()
    starter.join(LONG)
    assert client.state is wsclient.State.OPEN
    return client, peer


def open_against(raw, **options):
    """Like ``open_pair``, without pings; also returns the list of messages that ``on_message`` received."""
    seen = []
    pair = open_pair(raw, on_message=lambda _, message: seen.append(message), ping_interval=None, **options)
    return *pair, seen


ASK = {"method": "eth_subscribe", "params": ["newHeads"]}


def start_call(call):
    """Start a call in a separate thread, and return a future of its result."""
    future = concurrent.futures.Future()

    def run():
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def taken(peer):
    """The client's next message, decoded."""
    return json.loads(peer.receive_text())


def await_processed(peer, behind=b"behind it"):
    """Wait until the client has processed all that was sent: it handles frames in order, and answers this ping last.

    The statistics count a message before it is processed, so they do not show this.
    """
    peer.send_frame(9, behind)
    while (received := peer.receive_frame())[0] == 9:
        pass  # a keepalive ping of the client
    assert received == (10, behind)


def put(peer, *messages):
    """Send these messages in one call of ``send``."""
    peer.send(b"".join(frame(1, json.dumps(message).encode()) for message in messages))


def event(name, result):
    return {"jsonrpc": "2.0", "method": "eth_subscription", "params": {"subscription": name, "result": result}}


def reply(asked, result):
    return {"jsonrpc": "2.0", "id": asked["id"], "result": result}


def subscribing(client, message=ASK, *, timeout=LONG, **options):
    return start_call(lambda: client.subscribe(message, timeout=timeout, **options))


def subscribed(client, peer, name, message=ASK, **options):
    """A subscription whose key in the peer's reply is this name."""
    future = subscribing(client, message, **options)
    put(peer, reply(taken(peer), name))
    return future.result(LONG)


def results(subscription, count):
    return [subscription.get(LONG)["params"]["result"] for _ in range(count)]


def cut(client, peer, raw):
    """End the connection with a RST, and return the peer of the next one."""
    before = client.stats.connections
    peer.reset()
    peer = raw.accept().upgrade()
    eventually(lambda: client.stats.connections > before)
    return peer


def close_now(client):
    """Close a client without a wait for its peer, and wait until its I/O thread has ended.

    ``close(timeout=0)`` waits half a second for this thread; on a slow machine it may then be abandoned while it still
    closes the connection.
    """
    client.close(timeout=0, wait=False)
    assert client.wait_closed(LONG)


def has_no_entries(client):
    """Whether no table contains a request, stream or subscription."""
    context = client._wsclient.context
    return not (
        context.table.unfinished
        or context.table.everything()
        or context.table.in_flight
        or context.table._by_caller_key
        or context.subscriptions.events
        or context.subscriptions.members
        or context.subscriptions._owners
        or context.subscriptions.unrouted
        or context.streams._open(context.streams.fed)
    )


def many():
    """A protocol in which answers with ``"more": true`` are items, and one without it is the last answer."""
    return JsonId(item=lambda message: message.get("more", False), result="v", error="error")


class Ticks(JsonId):
    """Like ``many``, with an unsubscribe message that contains the id."""

    def __init__(self):
        super().__init__(item=lambda message: message.get("more", False), result="v", error="error")

    def unsubscribe(self, request, id, reply):
        return {"stop": id, "asked": request["ask"]}


class Numbered(wsclient.Protocol):
    """A protocol whose ids are counted from 1."""

    def __init__(self):
        self.last = 0

    def new_id(self):
        self.last += 1
        return self.last


class Acknowledged(Numbered):
    """A protocol of ``[id, kind, value]`` with items and ends, and without keys for subscriptions."""

    def encode_request(self, message, id):
        return json.dumps([id, message])

    def decode(self, payload):
        id, kind, value = json.loads(payload)
        return wsclient.Item(id, value) if kind == "item" else wsclient.End(id)
