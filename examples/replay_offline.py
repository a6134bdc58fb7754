"""Record a session with a server, then run the same script without the server: python examples/replay_offline.py"""

import json
import tempfile
import threading
from pathlib import Path

from websockets.sync.server import serve

import wsclient
from wsclient.testing import Replay, ReplayMismatch


def answer(connection):
    for message in connection:
        call = json.loads(message)
        result = sum(call["params"]) if call["method"] == "add" else f"welcome, {call['params']['user']}"
        connection.send(json.dumps({"jsonrpc": "2.0", "id": call["id"], "result": result}))


def script(url, numbers=(1, 2), **options):
    with wsclient.connect(url, protocol=wsclient.JsonRpc(), **options) as client:
        greeting = client.call("login", {"user": "ann", "password": "sesame"})
        return f"{greeting}: {client.call('add', list(numbers))}"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "session.jsonl"
        with serve(answer, "localhost", 0) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            print("recorded:", script(f"ws://localhost:{server.socket.getsockname()[1]}/", record=path))
        print("the password is in the file:", "sesame" in path.read_text(encoding="utf-8"))
        with Replay(path) as replay:
            print("played back:", script(replay.url))
        try:
            with Replay(path) as replay:
                script(replay.url, numbers=(1, 3))
        except (wsclient.ConnectionLost, ReplayMismatch):
            print("changed:", replay.mismatches[0].partition(": ")[2])
