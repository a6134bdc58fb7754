"""``SystemExit`` on the I/O thread: raised by a function of the user it concerns one message; else the client fails."""

import ctypes
import json
import threading

import pytest
import tenacity

import wsclient
from wsclient import JsonId, State

from ..support import LONG, eventually
from ..support.peers import open_against, taken


def exits(*arguments):
    raise SystemExit(3)


class Exiting(JsonId):
    """A protocol that exits at a certain message, and at each heartbeat."""

    def decode(self, payload):
        return exits() if payload == "exit" else super().decode(payload)


def open_with_errors(raw, **options):
    errors = []
    client, peer, seen = open_against(raw, on_error=lambda _, error: errors.append(error), **options)
    return client, peer, seen, errors


@pytest.mark.parametrize("option", ["match", "until"])
def test_a_match_or_until_that_exits_ends_its_request_only(raw, option, caplog):
    client, peer, seen, errors = open_with_errors(raw)
    future = client.submit({"a": 1}, **{option: exits})
    peer.send_text(json.dumps({"id": taken(peer).get("id", 1)}))
    with pytest.raises(SystemExit):
        future.result(LONG)
    peer.send_text("next")
    eventually(lambda: seen[-1:] == ["next"])
    assert client.stats.connections == 1
    client.close(timeout=0)
    assert errors == []
    assert "defect" not in caplog.text


def test_a_filter_of_a_stream_that_exits_ends_its_stream_only(raw):
    client, peer, seen, errors = open_with_errors(raw)
    stream = client.listen(match=exits)
    peer.send_text("next")
    with pytest.raises(SystemExit):
        stream.get(LONG)
    eventually(lambda: seen == ["next"])
    assert client.stats.connections == 1
    client.close(timeout=0)
    assert errors == []


@pytest.mark.parametrize("heartbeat", [False, True])
def test_a_protocol_that_exits_is_reported_and_the_connection_continues(raw, heartbeat, caplog):
    protocol = Exiting()
    protocol.heartbeat = (0.05, exits) if heartbeat else None
    client, peer, seen, errors = open_with_errors(raw, protocol=protocol)
    peer.send_text("x" if heartbeat else "exit")
    eventually(lambda: errors)
    peer.send_text("next")
    eventually(lambda: seen[-1:] == ["next"])
    assert client.stats.connections == 1
    client.close(timeout=0)
    assert heartbeat or len(errors) == 1
    assert isinstance(errors[0], wsclient.ProtocolError)
    assert isinstance(errors[0].__cause__, SystemExit)
    assert "defect" not in caplog.text


def test_an_exception_from_outside_on_the_io_thread_is_the_cause_of_the_failure(server):
    failed, errors, raised = threading.Event(), [], []
    server.stop()
    client = wsclient.Client(
        server.url,
        name="exits",
        retry_first=True,
        reconnect=wsclient.Reconnect(wait=tenacity.wait_fixed(1000)),
        on_connect_error=lambda _, attempt: failed.set(),
        on_error=lambda _, error: errors.append(error),
    )

    def start():
        try:
            client.start()
        except wsclient.ClientClosed as error:
            raised.append(error)

    starter = threading.Thread(target=start)
    starter.start()
    assert failed.wait(LONG)
    eventually(lambda: client.state is State.WAITING)
    (thread,) = [one for one in threading.enumerate() if one.name == "exits-io"]
    assert ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit)) == 1
    future = client.submit({"a": 1}, timeout=LONG)  # wakes the thread, for this deadline
    starter.join(LONG)
    with pytest.raises(SystemExit):
        future.result(LONG)
    assert client.wait_closed(LONG)
    assert client.state is State.FAILED
    with pytest.raises(wsclient.ClientClosed) as caught:
        client.send("x")
    for error in (caught.value, *raised):
        assert isinstance(error.__cause__, SystemExit)
    assert [type(error) for error in errors] == [SystemExit]
