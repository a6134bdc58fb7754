"""A client against a peer that sends exactly what the test tells it, and what the two say to each other."""

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
    """A client that is open, and the peer that answered it."""
    options.setdefault("reconnect", SOON)
    client = wsclient.Client(raw.url, **options)
    starter = threading.Thread(target=client.start)
    starter.start()
    peer = raw.accept().upgrade()
    starter.join(LONG)
    assert client.state is wsclient.State.OPEN
    return client, peer


def open_against(raw, **options):
    """As ``open_pair``, without pings; and what ``on_message`` saw."""
    seen = []
    pair = open_pair(raw, on_message=lambda _, message: seen.append(message), ping_interval=None, **options)
    return *pair, seen


ASK = {"method": "eth_subscribe", "params": ["newHeads"]}


def beginning(call):
    """The future outcome of a call on a thread of its own."""
    future = concurrent.futures.Future()

    def run():
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def taken(peer):
    """The client's next message."""
    return json.loads(peer.receive_text())


def put(peer, *messages):
    """Send all of these in one piece."""
    peer.send(b"".join(frame(1, json.dumps(message).encode()) for message in messages))


def event(name, result):
    return {"jsonrpc": "2.0", "method": "eth_subscription", "params": {"subscription": name, "result": result}}


def reply(asked, result):
    return {"jsonrpc": "2.0", "id": asked["id"], "result": result}


def subscribing(client, message=ASK, *, timeout=LONG, **options):
    return beginning(lambda: client.subscribe(message, timeout=timeout, **options))


def subscribed(client, peer, name, message=ASK, **options):
    """A subscription to which the peer has given this name."""
    future = subscribing(client, message, **options)
    put(peer, reply(taken(peer), name))
    return future.result(LONG)


def results(subscription, count):
    return [subscription.get(LONG)["params"]["result"] for _ in range(count)]


def cut(client, peer, raw):
    """Lose the connection; the peer of the next one."""
    before = client.stats.connections
    peer.reset()
    peer = raw.accept().upgrade()
    eventually(lambda: client.stats.connections > before)
    return peer


def nothing_is_kept(client):
    """Whether no table knows of any request, stream or subscription."""
    core = client._wsclient.core
    return not (
        core.pending.unfinished
        or core.pending.everything()
        or core.pending.in_flight
        or core.pending._by_caller_key
        or core.subscriptions.events
        or core.subscriptions.members
        or core.subscriptions._owners
        or core.subscriptions.unrouted
        or core.streams._open(core.streams.fed)
    )


def many():
    """Answers with ``"more": true`` are items, the one without is the last."""
    return JsonId(item=lambda message: message.get("more", False), result="v", error="error")


class Ticks(JsonId):
    """Like ``many``, with an unsubscribe that names the id."""

    def __init__(self):
        super().__init__(item=lambda message: message.get("more", False), result="v", error="error")

    def unsubscribe(self, request, id, reply):
        return {"stop": id, "asked": request["ask"]}


class Acknowledged(wsclient.Protocol):
    """``[id, kind, value]``; knows items and ends, and has no names for subscriptions."""

    def __init__(self):
        self.last = 0

    def new_id(self):
        self.last += 1
        return self.last

    def encode_request(self, message, id):
        return json.dumps([id, message])

    def decode(self, payload):
        id, kind, value = json.loads(payload)
        return wsclient.Item(id, value) if kind == "item" else wsclient.End(id)
