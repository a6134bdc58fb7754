"""Calls on other threads, and a socket whose buffer is full."""

import contextlib
import sys
import threading
import traceback

from . import LONG


def stacks():
    """The stack of each thread, for the text of a failure."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    frames = sys._current_frames().items()
    return "\n".join(f"{names.get(ident)}:\n{''.join(traceback.format_stack(frame))}" for ident, frame in frames)


def on_thread(call):
    """Call a function in a thread other than the main one, and return its result."""
    gave = []
    thread = threading.Thread(target=lambda: gave.append(call()))
    thread.start()
    thread.join(LONG)
    return gave[0]


def fill(sock):
    """Send until the socket takes no more bytes."""
    with contextlib.suppress(BlockingIOError):
        while True:
            sock.send(b"\0" * 65536)


class BlockingCall:
    """A blocking call, in a separate thread."""

    def __init__(self, fn, *args, **options):
        self._call = (fn, args, options)
        self._value = self._error = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        fn, args, options = self._call
        try:
            self._value = fn(*args, **options)
        except Exception as error:
            self._error = error

    def result(self):
        self._thread.join(LONG)
        assert not self._thread.is_alive()
        if self._error is not None:
            raise self._error
        return self._value
