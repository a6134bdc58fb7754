"""For the tests of ``examples/services/``: a client of ``websockets`` without rules, and the output of programs."""

import json
import os
import pathlib
import subprocess
import sys

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from . import LONG

FOLDER = pathlib.Path(__file__).parent.parent.parent / "examples" / "services"


def printed(name):
    """The lines that a program of ``examples/services/`` prints."""
    command = [sys.executable, "-u", str(FOLDER / name)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=os.environ)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def guest(url):
    """A connection, without pings of its own."""
    return connect(url, ping_interval=None, close_timeout=1)


def take(connection):
    """The next message, decoded."""
    return json.loads(connection.recv(LONG))


def put(connection, *messages):
    for message in messages:
        connection.send(json.dumps(message))


def closing(connection, call=None):
    """Receive messages, or call this function, until the server closes the connection: its close code and reason."""
    try:
        while True:
            call() if call else connection.recv(LONG)
    except ConnectionClosed as closed:
        return closed.rcvd.code, closed.rcvd.reason
