"""python-lsp-server over WebSocket: JSON-RPC in both directions, and a server that does not answer invalid messages.

It logs invalid messages and continues. It ends when a client disconnects during a call: it writes to a closed socket.
"""

import concurrent.futures
import pathlib
import queue
import subprocess

import pytest
import tenacity

import wsclient
from wsclient import ConnectionLost, RemoteError, RequestTimeout, State

from ..support import LONG, SHORT, eventually
from ..support.program import Program, find, free_port

PYLSP = find("pylsp")
TO_INSTALL = "pip install 'python-lsp-server[websockets,pyflakes]'"


def has(module):
    """Whether the environment of pylsp has a module."""
    if PYLSP is None:
        return False
    try:
        python = pathlib.Path(PYLSP).resolve().with_name("python3")
        return subprocess.run([python, "-c", f"import {module}"], capture_output=True).returncode == 0
    except OSError:  # not beside a Python installation
        return False


pytestmark = pytest.mark.skipif(
    "not has('websockets')", reason=f"PYLSP IS MISSING, so no language server is tested: {TO_INSTALL}"
)
needs_pyflakes = pytest.mark.skipif(
    "not has('pyflakes')",
    reason=f"PYFLAKES IS MISSING beside pylsp, which then sends no request and no report: {TO_INSTALL}",
)

SOON = wsclient.Reconnect(wait=tenacity.wait_fixed(0.05))
INITIALIZE = {"processId": None, "rootUri": None, "capabilities": {"window": {"workDoneProgress": True}}}
UNANSWERED = {"jsonrpc": "1.0", "method": "initialize", "params": INITIALIZE}
"""A version that it does not support: it sends no answer."""


class Pylsp(Program):
    def __init__(self, home, cache):
        self.port = free_port()
        command = [PYLSP, "--ws", "--host", "127.0.0.1", "--port", str(self.port)]
        super().__init__(home, command, XDG_CACHE_HOME=str(cache))

    def client(self, **options):
        """A client for it, not started; each connection is initialized before anything else."""
        options = {"reconnect": SOON, "on_session": initialize, **options}
        return wsclient.Client(f"ws://127.0.0.1:{self.port}/", protocol=wsclient.JsonRpc(), **options)


def initialize(client, session):
    assert session.call("initialize", INITIALIZE, timeout=LONG)["serverInfo"]["name"] == "pylsp"
    session.send({"method": "initialized", "params": {}})


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Its cache of Python's own modules, which takes long to build."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def pylsp(tmp_path, cache):
    with Pylsp(tmp_path, cache) as pylsp:
        yield pylsp


def opening(name, text):
    """The notification that opens a document."""
    return {"textDocument": {"uri": f"file:///{name}.py", "languageId": "python", "version": 1, "text": text}}


def place(name, line, character):
    return {"textDocument": {"uri": f"file:///{name}.py"}, "position": {"line": line, "character": character}}


def complete(client, name, line, character):
    return [item["label"] for item in completion(client, name, line, character)["items"]]


def completion(client, name, line, character):
    return client.call("textDocument/completion", place(name, line, character), timeout=LONG, idempotent=True)


def open_greeter(client, name="greeter"):
    client.notify("textDocument/didOpen", opening(name, "def greet_everyone():\n    pass\n\ngreet_"))


def completes(client, name="greeter"):
    assert complete(client, name, 3, 6) == ["greet_everyone()"]


# --- calls -----------------------------------------------------------------------------------------------------------


def test_an_opened_document_is_completed(pylsp):
    with pylsp.client(on_session=None) as client:
        assert client.call("initialize", INITIALIZE, timeout=LONG)["capabilities"]["completionProvider"]
        client.notify("initialized", {})
        open_greeter(client)
        completes(client)
        assert client.stats.connections == 1


def test_calls_from_many_threads_get_their_own_replies(pylsp):
    def symbols(number):
        document = {"textDocument": {"uri": f"file:///number{number}.py"}}
        return [one["name"] for one in client.call("textDocument/documentSymbol", document, timeout=LONG)]

    with pylsp.client() as client:
        for number in range(10):
            client.notify("textDocument/didOpen", opening(f"number{number}", f"def function_{number}(): pass\n"))
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(symbols, [*range(10)] * 3))
        assert answers == [[f"function_{number}"] for number in range(10)] * 3


def test_errors_are_raised_with_code_and_data(pylsp):
    with pylsp.client() as client:
        with pytest.raises(RemoteError, match="no/such") as unknown:
            client.call("no/such", timeout=LONG)
        assert unknown.value.code == -32601
        with pytest.raises(RemoteError) as wrong:
            client.call("textDocument/hover", ["not", "params"], timeout=LONG)
        assert wrong.value.code == -32602
        assert wrong.value.data["traceback"]


def test_an_invalid_message_is_never_answered_and_client_and_server_continue(pylsp):
    heard = queue.Queue()
    with pylsp.client(on_message=lambda client, message: heard.put(message)) as client:
        for broken in ("{broken", "[]", "null", {"jsonrpc": "2.0"}, {"id": 5}):
            client.send(broken)
        for unanswered in (UNANSWERED, [{"method": "initialize", "params": INITIALIZE}]):
            with pytest.raises(RequestTimeout) as caught:
                client.request(unanswered, timeout=SHORT)
            assert caught.value.phase == "waiting"
        open_greeter(client)
        completes(client)
        assert client.stats.connections == 1
        assert all(message["method"].startswith(("$/", "window/", "textDocument/")) for message in heard.queue)
    assert "Failed to process request {broken" in pylsp.output


# --- calls and notifications of the server ---------------------------------------------------------------------------


def linted(pylsp, client, told):
    """Have a document linted; return the kinds of progress in order, and the findings of pyflakes."""
    client.notify("textDocument/didOpen", opening("unused", "import json\n"))
    tokens, kinds = set(), []
    while (message := told.get(LONG))["method"] != "textDocument/publishDiagnostics":
        tokens.add(message["params"]["token"])
        kinds.append(message["params"]["value"]["kind"])
    assert len(tokens) == 1
    return tokens.pop(), kinds, [found["message"] for found in message["params"]["diagnostics"]]


def notifications_of(client):
    return client.listen(lambda message: message.get("method") in ("$/progress", "textDocument/publishDiagnostics"))


@needs_pyflakes
@pytest.mark.parametrize("way", ["handlers=", "handle()", "handle(workers=1)"])
def test_a_call_of_the_server_is_answered_and_progress_and_findings_follow(pylsp, way):
    asked = []

    def create(params):
        asked.append(params["token"])

    method = "window/workDoneProgress/create"
    client = pylsp.client(handlers={method: create} if way == "handlers=" else None)
    if way != "handlers=":
        client.handle(method, workers=int("workers" in way))(create)
    with client, notifications_of(client) as told:
        progress = queue.Queue()
        client.on("$/progress", progress.put)
        token, kinds, found = linted(pylsp, client, told)
        assert asked == [token]
        assert kinds == ["begin", "end"]
        assert found == ["'json' imported but unused"]
        assert [progress.get(timeout=LONG)["params"]["value"]["kind"] for _ in kinds] == kinds
    assert "error while trying to initialize progress" not in pylsp.output  # logged after a second without an answer


@needs_pyflakes
def test_a_call_without_a_handler_is_refused_with_its_error_code(pylsp):
    seen = queue.Queue()
    with pylsp.client(on_message=lambda client, message: seen.put(message)) as client, notifications_of(client) as told:
        assert linted(pylsp, client, told)[1] == ["begin", "end"]
        assert seen.get(timeout=LONG)["method"] == "window/workDoneProgress/create"
    eventually(lambda: "Method not found: window/workDoneProgress/create" in pylsp.output)


# --- restarts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["SIGTERM", "SIGKILL"])
def test_the_client_recovers_from_a_restart_and_initializes_again(pylsp, how):
    numbers = []

    def set_up(client, session):
        initialize(client, session)
        session.send({"method": "textDocument/didOpen", "params": opening("greeter", "def greet(): pass\ngre")})
        numbers.append(session.number)

    with pylsp.client(on_session=set_up) as client:
        assert complete(client, "greeter", 1, 3) == ["greet()"]
        cut = client.submit(UNANSWERED, timeout=LONG)
        client.flush(LONG)
        pylsp.stop(how)
        with pytest.raises(ConnectionLost) as caught:
            cut.result(LONG)
        assert caught.value.sent is True
        eventually(lambda: client.state is not State.OPEN)
        queued = client.submit({"method": "textDocument/completion", "params": place("greeter", 1, 3)}, timeout=LONG)
        pylsp.start()
        assert [item["label"] for item in queued.result(LONG)["items"]] == ["greet()"]
        assert numbers == [1, 2]
        assert client.stats.connections == 2
