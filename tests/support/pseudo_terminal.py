"""A program in a pseudo-terminal, with the screen that a user would see. Needs ``pexpect`` and ``pyte``."""

import time

import pexpect
import pyte

from . import LONG

__all__ = ["PseudoTerminal"]


class _AnsweringScreen(pyte.HistoryScreen):
    """Answers the questions of the program, such as the position of the cursor."""

    def __init__(self, columns, lines, answer):
        self.answer = answer
        super().__init__(columns, lines, history=10_000)

    def write_process_input(self, data):
        self.answer(data)


class PseudoTerminal:
    """Runs a program until ``close()``.

    Attributes:
        process: the ``pexpect.spawn``.
        raw: all that the program has written.
    """

    def __init__(self, command, *, columns=100, lines=24, **environment):
        self.raw = ""
        self.process = pexpect.spawn(
            command[0],
            [str(argument) for argument in command[1:]],
            env={"TERM": "xterm-256color", **environment},
            dimensions=(lines, columns),
            encoding="utf-8",
            echo=False,
            timeout=LONG,
        )
        self.process.delaybeforesend = None
        self._screen = _AnsweringScreen(columns, lines, self.process.send)
        self._stream = pyte.Stream(self._screen)

    def read(self, timeout=0.05):
        """Process what the program has written; return False at its end."""
        try:
            text = self.process.read_nonblocking(65536, timeout)
        except pexpect.TIMEOUT:
            return True
        except pexpect.EOF:
            return False
        self.raw += text
        self._stream.feed(text)
        return True

    @property
    def lines(self):
        """The lines of the screen that are not empty, without the spaces at their ends."""
        return [line.rstrip() for line in self._screen.display if line.strip()]

    @property
    def all_lines(self):
        """The same, with those that have left the screen at its top."""
        above = [
            "".join(line[column].data for column in range(self._screen.columns)).rstrip()
            for line in self._screen.history.top
        ]
        return [line for line in above if line] + self.lines

    @property
    def cursor(self):
        """The text of the cursor's line up to the cursor."""
        return self._screen.display[self._screen.cursor.y][: self._screen.cursor.x]

    def type(self, *keys):
        for key in keys:
            self.process.send(key)

    def until(self, condition):
        """Read until a condition of the screen is fulfilled."""
        deadline = time.monotonic() + LONG
        while not condition(self):
            assert time.monotonic() < deadline, "the screen is:\n" + "\n".join(self.lines)
            if not self.read():
                assert condition(self), "the program has ended; the screen is:\n" + "\n".join(self.lines)

    def shows(self, text):
        """Read until a line contains a text."""
        self.until(lambda terminal: any(text in line for line in terminal.all_lines))

    def resize(self, columns, lines):
        self._screen.resize(lines, columns)
        self.process.setwinsize(lines, columns)

    def exit_code(self):
        """Read to the end of the program, and return its exit code."""
        deadline = time.monotonic() + LONG
        while self.read():
            assert time.monotonic() < deadline, "the program does not end; the screen is:\n" + "\n".join(self.lines)
        self.process.close()
        return self.process.exitstatus

    def close(self):
        self.process.close(force=True)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()
