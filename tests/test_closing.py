"""The end of a client: whoever waits is told, once, whoever comes first."""

import threading

import pytest

import wsclient
from tests.support import LONG
from wsclient._closing import begin_closing, finish
from wsclient._events import State


@pytest.fixture
def client():
    client = wsclient.Client("ws://localhost/", name="feed")
    yield client
    client.close()


@pytest.fixture
def core(client):
    return client._wsclient.core


def test_whoever_waits_for_a_reply_is_told_and_new_work_is_refused(client, core):
    future = client.submit({"method": "add"})
    core.state.move(State.CONNECTING)
    begin_closing(core)
    assert core.state.current is State.CLOSING
    assert isinstance(future.exception(LONG), wsclient.ClientClosed)
    with pytest.raises(wsclient.ClientClosed, match=r"^The client 'feed' is closed; make a new one\.$"):
        client.send("more")


def test_a_client_that_failed_gives_everyone_the_reason(client, core):
    future = client.submit({"method": "add"})
    delivery = client.send("queued")
    stream = client.listen()
    reason = wsclient.ConnectError("The name has no address.")
    core.state.move(State.CONNECTING)
    finish(core, State.FAILED, reason)
    assert isinstance(future.exception(LONG), wsclient.ConnectError)
    assert delivery.state == "lost"
    with pytest.raises(wsclient.ConnectError, match="no address"):
        next(stream)
    with pytest.raises(
        wsclient.ClientClosed, match=r"has failed \(The name has no address\.\); make a new one"
    ) as caught:
        client.send("more")
    assert caught.value.__cause__ is reason


def test_a_client_that_was_closed_ends_its_streams_quietly(client, core):
    stream = client.listen()
    core.state.move(State.CONNECTING)
    finish(core, State.CLOSED, None)
    assert list(stream) == []


def test_a_second_end_changes_nothing(client, core):
    errors = []
    client.on_error = lambda client, error: errors.append(error)
    core.state.move(State.CONNECTING)
    finish(core, State.FAILED, OSError("first"))
    finish(core, State.CLOSED, None)
    finish(core, State.FAILED, OSError("third"))
    assert core.state.current is State.FAILED
    assert str(core.state.error) == "first"
    assert client.wait_closed(LONG)
    assert [str(error) for error in errors] == ["first"]


def test_two_ends_at_once_tell_everyone_once(client, core):
    futures = [client.submit({"method": "add"}) for _ in range(500)]
    called = []
    for future in futures:
        future.add_done_callback(called.append)
    core.state.move(State.CONNECTING)
    threads = [threading.Thread(target=finish, args=(core, State.CLOSED, None)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    assert all(isinstance(future.exception(LONG), wsclient.ClientClosed) for future in futures)
    assert client.wait_closed(LONG)
    assert len(called) == len(futures) == client.stats.requests_failed
