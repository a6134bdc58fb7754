"""Child processes: forked ones that run a function, and scripts that read and write line by line."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading

import pytest

from . import LONG


def needs_fork(test):
    """Marks a test that forks. Since 3.12 Python warns of each fork in a process with threads."""
    test = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")(test)
    return pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")(test)


def in_child(function):
    """Run a function in a forked child, and return its result, a text."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, function().encode())
        except BaseException as error:
            os.write(writer, f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    assert os.waitpid(child, 0) == (child, 0)
    return text


class Script:
    """One of ``tests.scripts`` in a separate process, from construction to ``end()``.

    It prints one JSON value per line, which ``read_value()`` returns in order, and reads those of ``write_line()``.
    """

    def __init__(self, name, *arguments, is_measured=True):
        """``is_measured``: whether coverage may measure the process, if it measures this one. It keeps memory for each
        thread that was started.
        """
        prefixes = () if is_measured else ("COVERAGE_",)
        self.process = subprocess.Popen(
            [sys.executable, "-m", f"tests.scripts.{name}", *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={name: value for name, value in os.environ.items() if not name.startswith(prefixes)},
        )
        self._lines = queue.Queue()
        self._reader = threading.Thread(target=self._read, name="test-script", daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def read_value(self, timeout=LONG):
        line = self._lines.get(timeout=timeout)
        assert line is not None, f"the script ended: {self.process.wait(LONG)}"
        return json.loads(line)

    def write_line(self, word=""):
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()

    def signal(self, name):
        self.process.send_signal(getattr(signal, name))

    def end(self):
        """Kill it (with SIGKILL, if the system has it), if it still runs."""
        self.process.kill()
        self.process.wait(LONG)
        self._reader.join(LONG)
        self.process.stdin.close()
        self.process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.end()
