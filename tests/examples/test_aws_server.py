"""The server that follows the rules of WebSocket APIs in Amazon API Gateway, rule by rule."""

import threading
import time

import pytest
from aws_server import FRAME, MESSAGE, Gateway
from websockets.exceptions import InvalidStatus

from ..support import LONG, eventually
from ..support.services import closing, guest, put, take

GOING_AWAY = (1001, "Going away")


@pytest.fixture
def start(run):
    """``start(routes, idle=...)`` returns a gateway and the URL of its server."""

    def start(routes=None, **rules):
        gateway = Gateway(routes or {"echo": lambda me, body: body}, **rules)
        return gateway, run(gateway.handle, judge=gateway.judge, process_request=gateway.connect, max_size=MESSAGE)

    return start


def test_the_action_chooses_the_function(start):
    def count(me, body):
        return {"length": len(body)}

    _, url = start({"echo": lambda me, body: body, "note": lambda me, body: None, "$default": count})
    with guest(url) as connection:
        put(connection, {"action": "echo", "id": 1})
        assert take(connection) == {"action": "echo", "id": 1}
        put(connection, {"action": "note"}, {"action": "another"})
        assert take(connection) == {"length": 1}  # nothing was sent for "note"
        connection.send("no JSON")
        assert take(connection) == {"length": 7}


def test_the_gateway_answers_without_a_function_and_for_one_that_raises(start):
    _, url = start({"divide": lambda me, body: 1 // 0})
    with guest(url) as connection:
        put(connection, {"action": "another"})
        answer = take(connection)
        assert answer["message"] == "Forbidden"
        put(connection, {"action": "divide"})
        failure = take(connection)
        assert failure["message"] == "Internal server error"
        assert failure["connectionId"] == answer["connectionId"]
        assert failure["requestId"] != answer["requestId"]


def test_functions_run_at_the_same_time(start):
    done = threading.Event()
    _, url = start({"wait": lambda me, body: done.wait(LONG), "go": lambda me, body: done.set()})
    with guest(url) as connection:
        put(connection, {"action": "wait"}, {"action": "go"})
        assert take(connection) is True


def test_an_idle_connection_is_closed_and_pings_do_not_count(start):
    _, url = start(idle=0.2)
    with guest(url) as connection:
        assert closing(connection, lambda: connection.ping().wait(0.05)) == GOING_AWAY


@pytest.mark.parametrize("direction", ["in", "out"])
def test_messages_in_both_directions_count(start, direction):
    gateway, url = start({"note": lambda me, body: None}, idle=1.0)
    with guest(url) as connection:
        eventually(lambda: gateway.connections)
        threading.Event().wait(0.2)
        began = time.monotonic()
        if direction == "in":
            put(connection, {"action": "note"})
        else:
            assert gateway.post(next(iter(gateway.connections)), {}) == 200
        assert closing(connection) == GOING_AWAY
        assert time.monotonic() - began > 0.95


def test_a_connection_ends_after_its_lifetime_whatever_it_does(start):
    began = time.monotonic()
    _, url = start(lifetime=0.2)
    with guest(url) as connection:

        def echo():
            put(connection, {"action": "echo"})
            take(connection)

        assert closing(connection, echo) == GOING_AWAY
        assert time.monotonic() - began > 0.19


def test_messages_and_frames_have_a_maximum_size(start):
    _, url = start({"$default": lambda me, body: len(body)})
    with guest(url) as connection:
        connection.send(["x" * FRAME] * 3)
        assert take(connection) == 3 * FRAME
        assert closing(connection, lambda: connection.send(["x" * FRAME] * 5))[0] == 1009
    with guest(url) as connection:
        assert closing(connection, lambda: connection.send("x" * (FRAME + 1)))[0] == 1009


def test_binary_messages_are_refused(start):
    _, url = start()
    with guest(url) as connection:
        connection.send(b"{}")
        assert closing(connection)[0] == 1003


def test_the_token_is_checked_when_the_connection_is_opened(start):
    valid = {"today's"}
    _, url = start(authorize=valid.__contains__)
    with guest(f"{url}/?token=today's") as connection:
        valid.clear()
        put(connection, {"action": "echo"})
        assert take(connection) == {"action": "echo"}
        with pytest.raises(InvalidStatus, match="403"), guest(f"{url}/?token=today's"):
            pass


def test_a_post_to_a_connection_that_has_ended_gets_410(start):
    gateway, url = start()
    with guest(url) as connection:
        eventually(lambda: gateway.connections)
        me = next(iter(gateway.connections))
        connection.close()
        eventually(lambda: not gateway.connections)
    assert gateway.post(me, {}) == 410
