"""The path of a request through the package: how many functions and files it passes through."""

import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

import wsclient
from wsclient._rfc6455 import masking

from ..support import Server
from ..support.threads import on_thread

PACKAGE = Path(wsclient.__file__).parent
REQUESTS = 20


class Calls:
    """Counts the calls of functions of this package on certain threads.

    ``sys.setprofile`` and ``threading.setprofile`` of these threads get ``profile``.
    """

    def __init__(self):
        self.threads = set()
        self.functions = Counter()

    def profile(self, frame, event, arg):
        if event == "call" and threading.get_ident() in self.threads:
            path = Path(frame.f_code.co_filename)
            if PACKAGE in path.parents:
                self.functions[path.relative_to(PACKAGE).as_posix(), frame.f_code.co_name] += 1


@pytest.mark.skipif(masking.accelerated() is None, reason="without the C function, masking takes one more call")
@pytest.mark.skipif(sys.version_info >= (3, 14), reason="entering a lock takes a Python call, see _threads/locks.py")
def test_a_request_and_its_reply_pass_through_at_most_12_files_and_36_calls():
    calls = Calls()

    def make_requests():
        client.request({"op": "add"})  # the first one imports what is used first
        sys.setprofile(calls.profile)
        calls.threads = {threading.get_ident(), *io_threads}
        try:
            for _ in range(REQUESTS):
                client.request({"op": "add"})
        finally:
            calls.threads = set()
            sys.setprofile(None)

    with Server() as server:
        threading.setprofile(calls.profile)  # for the I/O thread
        try:
            client = wsclient.Client(server.url, name="path", ping_interval=None, compression=None).start()
        finally:
            threading.setprofile(None)
        io_threads = [thread.ident for thread in threading.enumerate() if thread.name == "path-io"]
        with client:
            on_thread(make_requests)
    # A call that not every request makes is not counted: the I/O thread may see that the other thread is still writing.
    path = {function: count // REQUESTS for function, count in calls.functions.items() if count >= REQUESTS}
    files = {file for file, _ in path}
    assert "_connection/connection.py" in files
    assert len(files) <= 12, sorted(files)
    assert sum(path.values()) <= 36, path
