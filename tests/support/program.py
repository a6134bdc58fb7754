"""Programs that nobody here wrote, each in a process of its own."""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess

from . import LONG, eventually


def find(name):
    """Where a program is; the PATH of a plain user may lack the directories of daemons."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")


def free_port():
    """A port to listen at, now and after a restart.

    It lies below the range that systems take for outgoing connections, so nobody takes it meanwhile.
    """
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


class Program:
    """A program that listens at a port on loopback, from construction to ``stop()``."""

    def __init__(self, home, command):
        self._home = home
        self._command = command
        self._output = home / "output"
        self.process = None
        self.start()

    def start(self):
        with self._output.open("ab") as output:
            self.process = subprocess.Popen(
                self._command,
                cwd=self._home,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # a group of its own, so that its children can be hit as well
            )
        try:
            eventually(self._is_up)
        except BaseException:
            self._end("SIGKILL")
            raise

    def _is_up(self):
        assert self.process.poll() is None, f"the program ended by itself:\n{self.output}"
        return self._listens()

    def _listens(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), LONG).close()
        except ConnectionError:
            return False
        return True

    @property
    def output(self):
        return self._output.read_text(errors="replace")

    def signal(self, name):
        """To the program; its children hear of it from there."""
        self.process.send_signal(getattr(signal, name))

    def signal_all(self, name):
        """To the program and its children."""
        os.killpg(self.process.pid, getattr(signal, name))

    def stop(self, how="SIGKILL"):
        """End it, if it runs."""
        if self.process is not None:
            self._end(how)
            eventually(lambda: not self._listens())  # a child may live a moment longer

    def _end(self, how):
        with contextlib.suppress(ProcessLookupError):  # it has ended by itself
            if how == "SIGKILL":  # nothing is handed on of it
                self.signal_all(how)
            else:
                self.signal(how)
        self.process.wait(LONG)
        self.process = None

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()
