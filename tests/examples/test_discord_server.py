"""The server that follows the rules of Discord's gateway, rule by rule."""

import threading
import time

import pytest
from discord_server import ACK, DISPATCH, HELLO, INVALID_SESSION, RECONNECT, Gateway

from ..support import eventually
from ..support.services import closing, guest, put, take

TOKEN = "secret"
IDENTIFY = {"op": 2, "d": {"token": TOKEN, "intents": 513, "properties": {}}}
HEARTBEAT = {"op": 1, "d": None}
PRESENCE = {"op": 3, "d": {"status": "online"}}


@pytest.fixture
def start(run):
    """``start(interval=...)`` returns a gateway and the URL of its server."""

    def start(**rules):
        gateway = Gateway(TOKEN, **rules)
        return gateway, run(gateway.handle)

    return start


def identified(connection):
    """Identify the client, and return the ``d`` of READY."""
    assert take(connection)["op"] == HELLO
    put(connection, IDENTIFY)
    ready = take(connection)
    assert (ready["op"], ready["t"], ready["s"]) == (DISPATCH, "READY", 1)
    return ready["d"]


def resume(ready, seq, token=TOKEN):
    return {"op": 6, "d": {"token": token, "session_id": ready["session_id"], "seq": seq}}


def test_hello_has_the_interval_in_milliseconds_and_heartbeats_are_acknowledged(start):
    _, url = start()
    with guest(url) as connection:
        assert take(connection) == {"op": HELLO, "d": {"heartbeat_interval": 41250}}
        put(connection, HEARTBEAT, IDENTIFY, HEARTBEAT)
        assert [take(connection)["op"] for _ in range(3)] == [ACK, DISPATCH, ACK]


@pytest.mark.parametrize(
    ("code", "messages"),
    [
        (4001, [{"op": 99}]),
        (4002, ["no object"]),
        (4002, [{"d": 1}]),
        (4002, [{"op": 1, "d": "x" * 4096}]),
        (4003, [PRESENCE]),
        (4004, [{"op": 2, "d": {"token": "wrong"}}]),
        (4004, [{"op": 6, "d": {"token": "wrong", "session_id": "s", "seq": 1}}]),
        (4005, [IDENTIFY, IDENTIFY]),
        (4005, [IDENTIFY, {"op": 6, "d": {"token": TOKEN, "session_id": "s", "seq": 1}}]),
        (4008, [IDENTIFY, PRESENCE, HEARTBEAT, PRESENCE]),
    ],
)
def test_a_broken_rule_has_its_close_code(start, code, messages):
    _, url = start(messages=3)
    with guest(url) as connection:
        put(connection, *messages)
        assert closing(connection)[0] == code


def test_as_many_messages_as_the_limit_are_accepted(start):
    _, url = start(messages=3)
    with guest(url) as connection:
        identified(connection)
        put(connection, HEARTBEAT, HEARTBEAT)
        assert [take(connection)["op"] for _ in range(2)] == [ACK, ACK]


def test_a_client_without_heartbeats_is_closed_and_each_heartbeat_extends_its_time(start):
    gateway, url = start(interval=0.7)
    with guest(url) as connection:
        identified(connection)
        threading.Event().wait(0.2)
        began = time.monotonic()
        put(connection, HEARTBEAT)
        assert closing(connection)[0] == 4009
        assert time.monotonic() - began > 1.0
        assert len(gateway.sessions) == 1  # it can be resumed


@pytest.mark.parametrize("end", [4000, None])
def test_a_session_is_resumed_with_the_events_that_were_missed(start, end):
    gateway, url = start()
    with guest(url) as first:
        ready = identified(first)
        gateway.dispatch("MESSAGE_CREATE", {"n": 1})
        assert take(first)["s"] == 2
        first.close_socket() if end is None else first.close(end)
    for n in (2, 3):
        gateway.dispatch("MESSAGE_CREATE", {"n": n})
    with guest(ready["resume_gateway_url"]) as second:
        take(second)
        put(second, resume(ready, 2))
        assert [(event["t"], event["s"]) for event in (take(second), take(second), take(second))] == [
            ("MESSAGE_CREATE", 3),
            ("MESSAGE_CREATE", 4),
            ("RESUMED", 5),
        ]
        gateway.dispatch("MESSAGE_CREATE", {"n": 4})
        assert take(second)["d"] == {"n": 4}
        put(second, PRESENCE, HEARTBEAT)
        assert take(second)["op"] == ACK


@pytest.mark.parametrize("code", [1000, 1001])
def test_a_normal_close_ends_the_session(start, code):
    gateway, url = start()
    with guest(url) as first:
        ready = identified(first)
        first.close(code)
    eventually(lambda: not gateway.sessions)
    with guest(url) as second:
        take(second)
        put(second, resume(ready, 1))
        assert take(second) == {"op": INVALID_SESSION, "d": False}


def test_the_end_of_an_old_connection_leaves_the_resumed_session_alone(run):
    gateway, ended = Gateway(TOKEN), []

    def handle(connection):
        gateway.handle(connection)
        ended.append(connection)

    url = run(handle)
    with guest(url) as first:
        ready = identified(first)
        with guest(url) as second:
            take(second)
            put(second, resume(ready, 1))
            assert take(second)["t"] == "RESUMED"
            first.close(1000)
            second.close(4000)
    eventually(lambda: len(ended) == 2)
    assert list(gateway.sessions) == [ready["session_id"]]


def test_an_invalid_session_may_be_resumable(start):
    gateway, url = start()
    with guest(url) as first:
        ready = identified(first)
        first.close(4000)
    gateway.invalid = [True, False]
    with guest(url) as second:
        take(second)
        put(second, resume(ready, 1), resume(ready, 1), resume(ready, 1))
        assert [take(second)["d"] for _ in range(3)] == [True, False, {}]


def test_a_sequence_number_from_the_future_is_refused(start):
    _, url = start()
    with guest(url) as first:
        ready = identified(first)
        first.close(4000)
    with guest(url) as second:
        put(second, resume(ready, 2))
        assert closing(second)[0] == 4007


def test_before_a_restart_the_client_is_asked_to_reconnect(start):
    gateway, url = start()
    with guest(url) as connection:
        identified(connection)
        gateway.reconnect()
        assert take(connection) == {"op": RECONNECT}
        assert closing(connection)[0] == 4000
        assert len(gateway.sessions) == 1
