"""KeyboardInterrupt in the main thread, at any moment of any call, and the use of the client afterwards."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import types

import pytest

import wsclient

from .support import LONG, SLACK, RawServer, eventually

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals between threads are POSIX's")

SECONDS = os.environ.get("WSCLIENT_INTERRUPT_SECONDS", "0.3")
"""The duration of a test with many interrupts; it is longer if a hundred of them take longer."""

LIBRARY = os.path.dirname(wsclient.__file__) + os.sep
"""The folder of the library. Its name is not enough: a checkout may have the same name, and contains the tests."""


def run(script, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", f"tests.scripts.{script}", *arguments], capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("way", [pytest.param("deflate", marks=pytest.mark.slow), "plain"])
def test_hundreds_of_interrupts_cause_no_deadlock_and_no_message_is_sent_twice(way):
    result = run("interrupts", SECONDS, "1", way)
    assert result["plain"] is (way == "plain")
    assert sum(result["interrupts"].values()) > 100
    assert result["answer"] == 3
    assert result["lost"] == []
    assert result["sent twice"] == []
    assert result["still waiting"] == 0
    assert result["connections"] == 1


@pytest.mark.slow
def test_interrupts_in_start_and_close_leave_no_resources():
    result = run("interrupted_start", SECONDS, "1")
    assert result["interrupts"] > 100
    assert result["states"] == ["closed"]
    assert result["others"] == []


def where_main_is():
    """The file and the bytecode instruction that the main thread executes; other values if that is not known.

    CPython 3.11 has returned an object that is no frame, once in thousands of runs.
    """
    frame = sys._current_frames()[threading.main_thread().ident]
    return (frame.f_code.co_filename, frame.f_lasti) if isinstance(frame, types.FrameType) else ("", object())


def waits_in_the_library():
    before = where_main_is()
    threading.Event().wait(0.02)
    return before == where_main_is() and before[0].startswith(LIBRARY)


def interrupt_soon(ready):
    """Interrupt the main thread when it waits in a call of the library.

    Where CPython's list of frames has no frame of the main thread (see ``where_main_is``), it has none during the whole
    wait; the interrupt then comes after as much time as the call needs to begin on a busy machine.
    """

    def strike():
        assert ready.wait(LONG)
        with contextlib.suppress(AssertionError):
            eventually(waits_in_the_library, SLACK)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=strike)
    thread.start()
    return thread


def mute(peer):
    """Answers only a close frame, no ping."""
    peer.upgrade()
    while peer.receive_frame()[0] != 8:
        pass
    peer.send_frame(8, b"\x03\xe8")


WAITS = {
    "request": lambda client: client.request({"a": 1}, timeout=None),
    "request_many": lambda client: client.request_many([{"a": 1}], timeout=None),
    "result": lambda client: client.submit({"a": 1}, timeout=None).result(),
    "listen": lambda client: next(client.listen()),
    "flush": lambda client: client.flush(LONG),
    "delivery": lambda client: client.send("x").wait(),
    "wait_closed": lambda client: client.wait_closed(),
    "wait_until": lambda client: client.wait_until(wsclient.State.WAITING),
}


@pytest.mark.parametrize("wait", WAITS)
def test_ctrl_c_ends_a_wait_at_once_and_the_client_continues(wait):
    ready = threading.Event()
    with RawServer(mute) as server, wsclient.connect(server.url) as client:
        ready.set()
        striker = interrupt_soon(ready)
        with pytest.raises(KeyboardInterrupt):
            WAITS[wait](client)
        striker.join(LONG)
        assert client.state is wsclient.State.OPEN
        assert client.stats.connections == 1


def test_ctrl_c_in_run_forever_closes_the_client_and_is_raised():
    ready = threading.Event()
    with RawServer(mute) as server:
        client = wsclient.Client(server.url, on_open=lambda client: ready.set())
        striker = interrupt_soon(ready)
        with pytest.raises(KeyboardInterrupt):
            client.run_forever()
        striker.join(LONG)
        assert client.state is wsclient.State.CLOSED
        assert client.last_disconnect.code == 1000


def test_ctrl_c_in_start_leaves_the_client_closed(raw):
    ready = threading.Event()
    client = wsclient.Client(raw.url, retry_first=True)
    ready.set()
    striker = interrupt_soon(ready)
    with pytest.raises(KeyboardInterrupt):
        client.start()
    striker.join(LONG)
    assert client.wait_closed(LONG)
    assert client.state is wsclient.State.CLOSED
