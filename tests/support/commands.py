"""Commands of ``wsclient`` in this process."""

import errno
import io
import json
import logging
import queue
import signal
import sys
import threading

from wsclient.cli import main

from . import LONG

__all__ = ["Commands", "FullDisk", "Lines", "Script"]


class Lines:
    """A standard stream whose lines a test reads, from any thread."""

    def __init__(self, *, is_terminal=False):
        self._is_terminal = is_terminal
        self._part = ""
        self._lines = queue.Queue()

    def write(self, text):
        *lines, self._part = (self._part + text).split("\n")
        for line in lines:
            self._lines.put(line)

    def flush(self):
        """Nothing is kept back."""

    def isatty(self):
        return self._is_terminal

    def line(self):
        """The next line."""
        return self._lines.get(timeout=LONG)

    def rest(self):
        """The lines that were not read."""
        return [self._lines.get_nowait() for _ in range(self._lines.qsize())]


class Script(io.TextIOBase):
    """A stdin whose lines come from a generator, which may wait."""

    def __init__(self, lines):
        self._lines = lines

    def __iter__(self):
        return iter(self._lines)


class FullDisk(io.StringIO):
    """A stdout that can't be written.

    Args:
        before: called before a write fails.
    """

    def __init__(self, before=lambda: None):
        super().__init__()
        self._before = before

    def write(self, text):
        self._before()
        raise OSError(errno.ENOSPC, "No space left on device")


class Commands:
    """Runs commands, and has what they print. Afterwards logging is as before."""

    def __init__(self, monkeypatch):
        self._monkeypatch = monkeypatch
        logger = logging.getLogger("wsclient")
        for name in ("propagate", "level", "handlers"):
            monkeypatch.setattr(logger, name, getattr(logger, name))
        self.out = self.err = None
        self._runs = False
        self.new_streams()

    def new_streams(self, *, is_terminal=False):
        """Replace what was printed so far."""
        self.out, self.err = Lines(is_terminal=is_terminal), Lines()
        self._monkeypatch.setattr(sys, "stdout", self.out)
        self._monkeypatch.setattr(sys, "stderr", self.err)

    def __call__(self, *arguments, stdin=None, is_terminal=False):
        """Run a command to its end.

        Args:
            arguments: of the command line.
            stdin: a file object to read; None for one without a line.
            is_terminal: whether stdout is a terminal.

        Returns:
            The exit code, the lines of stdout and the lines of stderr.
        """
        self.new_streams(is_terminal=is_terminal)
        return self.run(*arguments, stdin=stdin)

    def run(self, *arguments, stdin=None):
        """As a call, but the streams stay the same, so that another thread may read them meanwhile."""
        self._monkeypatch.setattr(sys, "stdin", stdin if stdin is not None else io.StringIO())
        self._runs = True
        try:
            code = main([str(one) for one in arguments])
        finally:
            self._runs = False
        return int(code), self.out.rest(), self.err.rest()

    def json(self, *arguments, **options):
        """As a call, with the lines of stdout decoded."""
        code, out, err = self(*arguments, **options)
        return code, [json.loads(line) for line in out], err

    def interrupt_after(self, function, number=signal.SIGINT):
        """Run a function on another thread, then send this process a signal, provided that a command runs.

        Returns:
            A function that waits for the end, and returns what the function returned.
        """
        results = queue.Queue()

        def run():
            try:
                results.put((function(), None))
            except BaseException as error:
                results.put((None, error))
            finally:
                if self._runs:
                    signal.raise_signal(number)

        def result():
            thread.join(LONG)
            value, error = results.get(timeout=LONG)
            if error is not None:
                raise error
            return value

        self._runs = True
        thread = threading.Thread(target=run)
        thread.start()
        return result
