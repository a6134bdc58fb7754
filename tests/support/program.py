"""Programs of other projects, each in a separate process."""

import contextlib
import os
import pathlib
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile

from . import LONG, eventually


def find(name):
    """The path of a program; None if it is missing. Folders of daemons may not be on the ``PATH`` of a normal user."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")


def free_port():
    """A port to listen on, now and after a restart.

    It is below the range that systems use for outgoing connections, so it stays free between the two.
    """
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def living(group):
    """The processes of a group, except zombies, which have ended. Linux only."""
    pids = []
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # the process has just ended
            state, _, its_group, *_ = stat.read_text(errors="replace").rpartition(")")[2].split()
            if int(its_group) == group and state not in "ZX":
                pids.append(int(stat.parent.name))
    return pids


def removed(folder):
    """Try to remove a folder, and return whether it is gone."""
    shutil.rmtree(folder, ignore_errors=True)
    return not os.path.exists(folder)


class Program:
    """A program that listens on a port on loopback, from its construction to ``stop()``.

    Its temporary files, caches and settings are in a folder that is removed when it ends, since a program that is
    killed can't remove them.
    """

    def __init__(self, home, command, **environment):
        """
        Args:
            home: the folder it runs in.
            command: the program and its arguments.
            environment: additional environment variables.
        """
        self._home = home
        self._command = command
        self._environment = environment
        self._output = home / "output"
        self._scratch = None
        self.process = None
        self.start()

    def start(self):
        self._scratch = tempfile.mkdtemp(prefix="program-")  # a short path, since socket addresses are limited
        places = ("TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME")
        with self._output.open("ab") as output:
            self.process = subprocess.Popen(
                self._command,
                cwd=self._home,
                env={**os.environ, **dict.fromkeys(places, self._scratch), **self._environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # a separate process group, so that its children get signals too
            )
        try:
            eventually(self._is_up)
        except BaseException:
            self._end("SIGKILL")
            raise

    def _is_up(self):
        assert self.process.poll() is None, f"the program ended before it was stopped:\n{self.output}"
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
        """Send a signal to the program only; the program may pass it on to its children."""
        self.process.send_signal(getattr(signal, name))

    def signal_all(self, name):
        """Send a signal to the program and its children."""
        os.killpg(self.process.pid, getattr(signal, name))

    def stop(self, how="SIGKILL"):
        """End it, if it runs."""
        if self.process is not None:
            self._end(how)
            eventually(lambda: not self._listens())

    def _end(self, how):
        group = self.process.pid
        with contextlib.suppress(ProcessLookupError):  # it has already ended
            if how == "SIGKILL":  # a program can't pass this signal on
                self.signal_all(how)
            else:
                self.signal(how)
        self.process.wait(LONG)
        self.process = None
        eventually(lambda: not living(group))  # children may end a little later
        eventually(lambda: removed(self._scratch))  # and so may a child in another group

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()
