"""The live screen of ``wsclient bench`` in a pseudo-terminal, as a person sees it."""

import os
import re
import sys

import pytest

from tests.support import LONG, Server, eventually

if sys.platform == "win32":
    pytest.skip("pseudo-terminals are POSIX's: the live screen is NOT tested here", allow_module_level=True)
pexpect = pytest.importorskip("pexpect", reason="pexpect is missing: the live screen is NOT tested")
pyte = pytest.importorskip("pyte", reason="pyte is missing: the live screen is NOT tested")

pytestmark = pytest.mark.slow


class Terminal:
    """A program in a terminal of 80 columns and 24 lines."""

    def __init__(self, *arguments):
        self.screen = pyte.Screen(80, 24)
        self._stream = pyte.Stream(self.screen)
        known = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
        self.process = pexpect.spawn(
            sys.executable,
            ["-m", "wsclient", *arguments],
            dimensions=(24, 80),
            encoding="utf-8",
            env={**known, "TERM": "xterm"},
            timeout=LONG,
        )

    def read(self):
        """Draw what the program has written; False at its end."""
        try:
            self._stream.feed(self.process.read_nonblocking(65536, timeout=0.2))
        except pexpect.TIMEOUT:
            return True
        except pexpect.EOF:
            return False
        return True

    def shows(self, pattern):
        """Read, and return what the screen shows of a pattern."""
        self.read()
        return re.search(pattern, self.text)

    @property
    def text(self):
        return "\n".join(line.rstrip() for line in self.screen.display).rstrip()

    def resize(self, columns, lines):
        self.process.setwinsize(lines, columns)
        self.screen.resize(lines, columns)

    def finish(self):
        """Read to the end, and return the exit code."""
        while self.read():
            pass
        self.process.close()
        return self.process.exitstatus


@pytest.fixture
def server():
    with Server() as one:
        yield one


def test_the_screen_shows_progress_fits_a_resized_terminal_and_leaves_a_summary_after_ctrl_c(server):
    terminal = Terminal("bench", server.url, "--data", "1", "-t", "60", "-c", "2")
    eventually(lambda: terminal.shows(r"[\d,]+ requests/s   [\d,]+ answered   [12] in flight   0 failed"))
    assert server.url.rstrip("/") in terminal.text
    assert re.search(r"p50 [\d.]+ [µm]s", terminal.text)
    assert re.search(r"━ +\d+\.\d s\n", terminal.text)
    terminal.resize(50, 20)
    # The lines that were wide may have been wrapped; after the next drawings each part is there once, in 50 columns.
    eventually(lambda: terminal.shows(r"(?m)^[\d,]+ requests/s +[\d,]+ answered"))
    eventually(lambda: terminal.shows(r"(?m)^.{40,48} \d+\.\d s$"))
    terminal.resize(100, 50)
    eventually(lambda: terminal.shows(r"(?m)^.{85,98} \d+\.\d s$"))
    terminal.process.sendintr()
    assert terminal.finish() == 130
    assert "(interrupted)" in terminal.text
    assert "Histogram" in terminal.text
    assert "in flight" not in terminal.text  # the live part is gone


def test_the_screen_counts_errors_and_ends_by_itself(server):
    numbers = iter(range(10**9))
    server.handler = lambda connection, message: None if next(numbers) == 50 else message
    terminal = Terminal("bench", server.url, "--data", "1", "-t", "2", "-c", "2", "--timeout", "0.5")
    terminal.resize(80, 50)
    eventually(lambda: terminal.shows(r"1 failed"))
    assert terminal.finish() == 0
    assert re.search(r"1 timeout:", terminal.text)
    assert "\x1b" not in terminal.text


def test_stdout_has_the_result_alone(server):
    """The screen is drawn on stderr, so that stdout can be a file."""
    import subprocess

    command = f"{sys.executable} -m wsclient bench {server.url} --data 1 -t 1 -c 1 --json | cat"
    terminal = pexpect.spawn(
        "/bin/sh", ["-c", command], encoding="utf-8", timeout=LONG, env={**os.environ, "TERM": "xterm"}
    )
    text = terminal.read()
    assert "requests/s" in text
    assert '"requests_per_second"' in text
    done = subprocess.run(
        [sys.executable, "-m", "wsclient", "bench", server.url, "--data", "1", "-n", "3"],
        capture_output=True, text=True, timeout=LONG, check=True,
    )  # fmt: skip
    assert done.stderr == ""
    assert "3 answered" in done.stdout
    assert "\x1b" not in done.stdout
