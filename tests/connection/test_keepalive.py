"""The keepalive of the message protocol: what is sent, where the answer goes, and the effect of a missing answer."""

import json
import threading

import tenacity

import wsclient
from wsclient import JsonId

from ..support import LONG, SHORT, eventually
from ..support.peers import SOON, open_against, start_call


class FrequentHeartbeat(JsonId):
    """Sends a heartbeat often; ``make`` returns it."""

    def __init__(self, make, seconds=SHORT / 4):
        super().__init__()
        self.heartbeat = (seconds, make)


def test_a_one_way_heartbeat_is_sent_repeatedly_and_expects_no_answer(raw):
    client, peer, seen = open_against(raw, protocol=FrequentHeartbeat(lambda: {"op": "ping"}), ping_timeout=SHORT / 8)
    assert [json.loads(peer.receive_text()) for _ in range(5)] == [{"op": "ping"}] * 5
    assert seen == []
    assert client.stats.connections == 1
    client.close(timeout=0)


def test_each_heartbeat_is_made_separately_and_can_be_text_or_bytes(raw):
    made = iter(["ping", b"\x09", "ping"])
    client, peer, _ = open_against(raw, protocol=FrequentHeartbeat(lambda: next(made, "more")))
    assert [peer.receive_frame() for _ in range(3)] == [(1, b"ping"), (2, b"\x09"), (1, b"ping")]
    client.close(timeout=0)


def test_a_heartbeat_request_has_an_id_and_its_answer_is_not_delivered(raw):
    protocol = FrequentHeartbeat(lambda: wsclient.Request({"op": "ping"}))
    client, peer, seen = open_against(raw, protocol=protocol)
    with client.listen() as stream:
        ids = []
        for _ in range(4):
            beat = json.loads(peer.receive_text())
            assert beat["op"] == "ping"
            ids.append(beat["id"])
            peer.send_text(json.dumps({"id": beat["id"], "op": "pong"}))
        peer.send_text('{"mark": 1}')
        assert stream.get(LONG) == {"mark": 1}
    assert ids == sorted(set(ids))
    eventually(lambda: seen == [{"mark": 1}])
    assert client.stats.requests_late == 0
    assert client.stats.connections == 1
    client.close(timeout=0)


def test_an_error_in_reply_to_a_heartbeat_is_an_answer_too(raw):
    class Strict(FrequentHeartbeat):
        def decode(self, payload):
            message = json.loads(payload)
            return wsclient.Failure(message["id"], wsclient.RemoteError(1, "busy"))

    errors = []
    client, peer, _ = open_against(
        raw,
        protocol=Strict(lambda: wsclient.Request({"op": "ping"})),
        ping_timeout=LONG,
        on_error=lambda _, error: errors.append(error),
    )
    for _ in range(4):
        peer.send_text(json.dumps({"id": json.loads(peer.receive_text())["id"]}))
    assert client.stats.connections == 1
    assert errors == []
    client.close(timeout=0)


def test_a_heartbeat_without_an_answer_ends_the_connection_and_the_client_reconnects(raw):
    protocol = FrequentHeartbeat(lambda: wsclient.Request({"op": "ping"}))
    client, peer, _ = open_against(raw, protocol=protocol, ping_timeout=SHORT)
    peer.receive_text()
    again = raw.accept().upgrade()
    eventually(lambda: client.stats.connections == 2)
    assert client.last_disconnect.initiator == "keepalive"
    assert "heartbeat" in client.last_disconnect.reason
    assert json.loads(again.receive_text())["op"] == "ping"  # heartbeats are sent on the new connection as well
    client.close(timeout=0)


def test_without_a_ping_timeout_the_answer_may_come_until_the_next_heartbeat(raw):
    heartbeats = FrequentHeartbeat(lambda: wsclient.Request({}))
    client = wsclient.Client(raw.url, protocol=heartbeats, ping_timeout=None, ping_interval=None, reconnect=SOON)
    start_call(client.start)
    raw.accept().upgrade().receive_text()
    raw.accept()
    assert client.last_disconnect.initiator == "keepalive"
    client.close(timeout=0)


def test_a_heartbeat_that_cannot_be_made_is_reported_and_the_connection_stays_open(raw):
    errors = []

    def broken():
        raise LookupError("no heartbeat today")

    client, peer, _ = open_against(
        raw, protocol=FrequentHeartbeat(broken), on_error=lambda _, error: errors.append(error)
    )
    eventually(lambda: len(errors) >= 2)
    assert isinstance(errors[0], wsclient.ProtocolError)
    assert isinstance(errors[0].__cause__, LookupError)
    client.send("alive")
    assert peer.receive_text() == "alive"
    client.close(timeout=0)


def test_no_heartbeat_is_sent_before_the_connection_is_open(raw):
    set_up = threading.Event()

    def on_session(client, session):
        set_up.set()
        try:
            session.recv(timeout=SHORT)
        except TimeoutError:
            session.send("set up")

    client = wsclient.Client(
        raw.url,
        protocol=FrequentHeartbeat(lambda: "beat", SHORT / 8),
        on_session=on_session,
        ping_interval=None,
        reconnect=wsclient.Reconnect(wait=tenacity.wait_none()),
    )
    starter = threading.Thread(target=client.start)
    starter.start()
    peer = raw.accept().upgrade()
    assert set_up.wait(LONG)
    assert [peer.receive_text(), peer.receive_text()] == ["set up", "beat"]
    starter.join(LONG)
    client.close(timeout=0)
