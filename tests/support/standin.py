"""Runs a stand-in for a service: ``handle(connection)`` on a thread for each connection, which ends with close code
1000 when the function returns.
"""

import contextlib
import json
import threading

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import serve

from . import LONG


@contextlib.contextmanager
def running(handle, **options):
    """Yields the URL of the server. An exception of ``handle`` other than the end of a connection is raised at exit."""
    errors = []

    def guarded(connection):
        try:
            handle(connection)
        except ConnectionClosed:
            pass
        except Exception as error:
            errors.append(error)

    with serve(guarded, "127.0.0.1", 0, close_timeout=1, **options) as server:
        thread = threading.Thread(target=server.serve_forever, name="stand-in")
        thread.start()
        try:
            yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        finally:
            server.shutdown()
            thread.join(LONG)
    if errors:
        raise errors[0]


def take(connection):
    """The next message, decoded."""
    return json.loads(connection.recv(LONG))


def put(connection, message):
    connection.send(json.dumps(message))
