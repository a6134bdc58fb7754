"""A hundred reconnects do not change the number of threads and descriptors or the memory."""

import gc
import os
import threading
import tracemalloc

import pytest
import tenacity

import wsclient
from wsclient.testing._leaks import Resources

from .support import LONG, RawServer, eventually
from .support.figures import depth, descriptors, needs_proc

RECONNECTS = int(os.environ.get("WSCLIENT_RECONNECTS", "100"))
NOW = wsclient.Reconnect(wait=tenacity.wait_none())


def hang_up(peer):
    peer.upgrade()
    peer.send_text("hello")


@pytest.mark.slow
@needs_proc
def test_a_hundred_reconnects_use_no_further_resources():
    """The server ends each connection at once. Resources are measured in the middle and at the end."""
    depths = []

    class Counting(wsclient.Client):
        def on_open(self):
            self.send("subscribe")  # usually lost with its connection

        def on_session(self, session):
            depths.append(depth())

    with RawServer(hang_up) as server:
        client = Counting(server.url, reconnect=NOW)
        tracemalloc.start()
        try:
            client.start()
            eventually(lambda: client.stats.connections > RECONNECTS // 2, 120)
            halfway = measure()
            eventually(lambda: client.stats.connections > RECONNECTS, 120)
            end = measure()
        finally:
            tracemalloc.stop()
            client.close(timeout=0)
    assert end["threads"] <= halfway["threads"] + 4  # the number of the server's threads varies
    assert end["descriptors"] <= halfway["descriptors"] + 8
    assert end["bytes"] < halfway["bytes"] + 1_000 * RECONNECTS  # half as much as if each were kept
    assert len(set(depths)) == 1


def measure():
    gc.collect()
    filters = [tracemalloc.Filter(True, "*/wsclient/*"), tracemalloc.Filter(False, "*/masking.py")]  # a pool of keys
    ours = tracemalloc.take_snapshot().filter_traces(filters)
    return {
        "threads": threading.active_count(),
        "descriptors": descriptors(),
        "bytes": sum(trace.size for trace in ours.traces),
    }


@pytest.mark.slow
@needs_proc
def test_closed_clients_release_all_resources(server):
    def use():
        with wsclient.connect(server.url, on_message=lambda client, message: None) as client:
            client.request({"method": "echo", "params": 1}, timeout=LONG)

    use()
    eventually(lambda: not server.connections)
    before = descriptors()
    for _ in range(20):
        use()
    eventually(lambda: not server.connections)
    eventually(lambda: descriptors() <= before)


def test_a_closed_client_is_garbage_collected(server):
    import weakref

    client = wsclient.connect(server.url, on_message=lambda client, message: None)
    client.request({"method": "echo", "params": 1}, timeout=LONG)
    client.close()
    gone = weakref.ref(client)
    del client
    gc.collect()
    eventually(lambda: gc.collect() >= 0 and gone() is None)


def test_threads_that_a_client_starts_later_are_not_left_by_a_test_that_found_it_open(server):
    called = threading.Event()
    with wsclient.connect(server.url) as client:
        before = Resources.of_clients()
        client.submit({"method": "echo"}, timeout=LONG).add_done_callback(lambda future: called.set())
        assert called.wait(LONG)
        after = Resources.of_clients()
        assert after.threads > before.threads
        assert not after.without(before)
