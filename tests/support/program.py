"""Programs that nobody here wrote, each in a process of its own."""

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


def living(group):
    """The processes of a group, but for those that have ended and whose parent has yet to look. Linux only."""
    pids = []
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            state, _, its_group, *_ = stat.read_text(errors="replace").rpartition(")")[2].split()
            if int(its_group) == group and state not in "ZX":
                pids.append(int(stat.parent.name))
    return pids


def removed(folder):
    """Whether a folder is gone, now that we have tried to remove it."""
    shutil.rmtree(folder, ignore_errors=True)
    return not os.path.exists(folder)


class Program:
    """A program that listens at a port on loopback, from construction to ``stop()``.

    What it writes where programs put their temporary files, caches and settings is thrown away when it ends, however it
    ends: killed, none of them would do so itself.
    """

    def __init__(self, home, command, **environment):
        """
        Args:
            home: the folder it runs in.
            command: the program and its arguments.
            environment: variables of its own.
        """
        self._home = home
        self._command = command
        self._environment = environment
        self._output = home / "output"
        self._scratch = None
        self.process = None
        self.start()

    def start(self):
        self._scratch = tempfile.mkdtemp(prefix="program-")  # short: sockets in it have no room for a long path
        places = ("TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME")
        with self._output.open("ab") as output:
            self.process = subprocess.Popen(
                self._command,
                cwd=self._home,
                env={**os.environ, **dict.fromkeys(places, self._scratch), **self._environment},
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
            eventually(lambda: not self._listens())

    def _end(self, how):
        group = self.process.pid
        with contextlib.suppress(ProcessLookupError):  # it has ended by itself
            if how == "SIGKILL":  # nothing is handed on of it
                self.signal_all(how)
            else:
                self.signal(how)
        self.process.wait(LONG)
        self.process = None
        eventually(lambda: not living(group))  # a child may live a moment longer
        eventually(lambda: removed(self._scratch))  # and one outside of the group yet another

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()
