"""Runs a server of this folder in a thread, and shows it each frame that it receives."""

import contextlib
import functools
import http.server
import json
import threading

from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame
from websockets.sync.server import ServerConnection, serve


class Watched(ServerConnection):
    """A connection that asks ``judge(connection, frame)`` about each frame, pings and pongs included.

    The answer is None, or a close code and a reason; then the connection is closed, and later frames are ignored.
    """

    def __init__(self, *arguments, judge, **options):
        self.judge = judge  # first: __init__() starts the thread that calls process_event()
        super().__init__(*arguments, **options)

    def process_event(self, event):
        verdict = self.judge(self, event) if self.judge and isinstance(event, Frame) else None
        if verdict:
            self.judge = lambda connection, frame: verdict
            threading.Thread(target=self.close, args=verdict, daemon=True).start()  # close() waits for this thread
        else:
            super().process_event(event)


@contextlib.contextmanager
def running(handler, *, judge=None, **options):
    """Call ``handler(connection)`` for each connection, on a thread of its own. Yields the URL of the server."""

    def handle(connection):
        with contextlib.suppress(ConnectionClosed):
            handler(connection)

    connect = functools.partial(Watched, judge=judge)
    with serve(handle, "localhost", 0, create_connection=connect, close_timeout=1, **options) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"ws://localhost:{server.socket.getsockname()[1]}"


@contextlib.contextmanager
def answering(function):
    """Answer each POST request with ``status, object = function(object)``. Yields the URL of the HTTP server."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            status, answer = function(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *arguments):
            """Log nothing."""

    with http.server.ThreadingHTTPServer(("localhost", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://localhost:{server.server_port}"
        server.shutdown()
