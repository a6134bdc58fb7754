"""aria2: a download manager with JSON-RPC 2.0 over WebSocket, a token, and notifications about its downloads."""

import concurrent.futures
import contextlib
import http.server
import queue
import secrets
import threading

import pytest

from wsclient import RemoteError, State

from ..support import LONG, eventually
from ..support.aria2 import ARIA2, TOKEN, Aria2

pytestmark = pytest.mark.skipif(
    ARIA2 is None, reason="ARIA2 IS MISSING, so JSON-RPC is not tested on it: apt-get install aria2"
)

STARTED, COMPLETE = "aria2.onDownloadStart", "aria2.onDownloadComplete"


@pytest.fixture
def aria2(tmp_path):
    with Aria2(tmp_path) as aria2:
        yield aria2


class Web(http.server.ThreadingHTTPServer):
    """Serves its content at every path; at ``/held`` only when it is released."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Page)
        self.content = secrets.token_bytes(300_000)
        self.asked, self.released = threading.Event(), threading.Event()

    def url(self, name):
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/held":
            self.server.asked.set()
            assert self.server.released.wait(LONG)
        with contextlib.suppress(OSError):  # the peer that sent the request is gone
            self.send_response(200)
            self.send_header("Content-Length", str(len(self.server.content)))
            self.end_headers()
            self.wfile.write(self.server.content)

    def log_message(self, *_):
        """Log nothing."""


@pytest.fixture
def web():
    with Web() as web:
        thread = threading.Thread(target=web.serve_forever, args=(0.01,))
        thread.start()
        yield web
        web.released.set()
        web.shutdown()
        thread.join(LONG)


def call(client, method, *params, token=TOKEN, **options):
    return client.call(method, [token, *params], timeout=LONG, **options)


def version(client, **options):
    return call(client, "aria2.getVersion", **options)["version"]


def gids(event):
    return [said["gid"] for said in event["params"]]


# --- calls -----------------------------------------------------------------------------------------------------------


def test_calls_with_a_token_get_their_results_from_many_threads(aria2):
    with aria2.connect() as client, concurrent.futures.ThreadPoolExecutor(8) as pool:

        def name_of(number):  # each uses another name, so that each result is different
            options = {"pause": "true", "out": f"file {number}"}
            return call(client, "aria2.getOption", call(client, "aria2.addUri", ["http://127.0.0.1/"], options))["out"]

        assert list(pool.map(name_of, range(50))) == [f"file {number}" for number in range(50)]
        assert client.stats.connections == 1


@pytest.mark.parametrize(
    ("method", "params", "code", "words"),
    [
        ("aria2.getVersion", ["token:wrong"], 1, "Unauthorized"),
        ("aria2.getVersion", None, 1, "Unauthorized"),
        ("no.such", [TOKEN], 1, "No such method: no.such"),
        ("aria2.tellStatus", [TOKEN, "0123456789abcdef"], 1, "GID 0123456789abcdef is not found"),
        ("aria2.getVersion", {"named": "params"}, -32602, "Invalid params."),
    ],
)
def test_an_error_is_raised_with_its_code_and_its_message(aria2, method, params, code, words):
    with aria2.connect() as client:
        with pytest.raises(RemoteError) as caught:
            client.call(method, params, timeout=LONG)
        assert (caught.value.code, caught.value.message) == (code, words)
        assert version(client)
        assert client.stats.connections == 1


def test_a_multicall_is_one_call_with_many_results(aria2):
    calls = [
        {"methodName": "aria2.getVersion", "params": [TOKEN]},
        {"methodName": "no.such", "params": [TOKEN]},
        {"methodName": "aria2.tellActive", "params": [TOKEN]},
    ]
    with aria2.connect() as client:
        first, second, third = client.call("system.multicall", [calls], timeout=LONG)
        assert first[0]["version"] == version(client)
        assert second == {"code": 1, "message": "No such method: no.such"}
        assert third == [[]]


def test_a_batch_is_one_message_and_gives_the_results_in_order(aria2):
    batch = [
        {"method": "aria2.tellActive", "params": [TOKEN]},
        {"method": "aria2.getVersion", "params": [TOKEN]},
        {"method": "system.listNotifications"},
    ]
    with aria2.connect() as client:
        active, about, notifications = client.request(batch, timeout=LONG)
        assert client.stats.messages_sent == client.stats.messages_received == 1
        assert active == []
        assert about["version"] == version(client)
        assert {STARTED, COMPLETE} <= set(notifications)


def test_an_error_in_a_batch_is_raised(aria2):
    with aria2.connect() as client:
        with pytest.raises(RemoteError, match=r"no\.such"):
            client.request([{"method": "system.listMethods"}, {"method": "no.such", "params": [TOKEN]}], timeout=LONG)
        assert version(client)


# --- downloads -------------------------------------------------------------------------------------------------------


def test_notifications_about_a_download_reach_topics_and_listeners(aria2, web):
    started, complete = queue.Queue(), queue.Queue()
    with aria2.connect() as client, client.listen() as everything:
        client.on(STARTED, started.put)
        client.on(COMPLETE, complete.put, workers=1)
        gid = call(client, "aria2.addUri", [web.url("file")])
        assert gids(started.get(timeout=LONG)) == [gid]
        assert gids(complete.get(timeout=LONG)) == [gid]
        assert [everything.get(LONG)["method"] for _ in range(2)] == [STARTED, COMPLETE]
        status = call(client, "aria2.tellStatus", gid, ["status", "completedLength"])
        assert status == {"status": "complete", "completedLength": str(len(web.content))}
    assert (aria2.downloads / "file").read_bytes() == web.content


def test_a_call_inside_a_notification_handler_is_answered(aria2, web):
    """The hook thread may wait, since it does not read the socket."""
    files = queue.Queue()
    with aria2.connect() as client:
        client.on(COMPLETE, lambda event: files.put(call(client, "aria2.getFiles", *gids(event))))
        call(client, "aria2.addUri", [web.url("file")])
        (file,) = files.get(timeout=LONG)
        assert file["path"] == str(aria2.downloads / "file")


def test_a_removed_handler_receives_no_more_notifications(aria2, web):
    kept, removed = queue.Queue(), queue.Queue()
    with aria2.connect() as client:
        remove = client.on(COMPLETE, removed.put)
        client.on(COMPLETE, kept.put)
        for name in ("one", "two"):
            gid = call(client, "aria2.addUri", [web.url(name)])
            assert gids(kept.get(timeout=LONG)) == [gid]
            remove()
    assert removed.qsize() == 1


# --- restarts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["SIGTERM", "SIGKILL"])
def test_a_restart_in_the_middle_of_a_download_ends_the_download_but_not_the_client(aria2, web, how):
    complete = queue.Queue()
    with aria2.connect() as client:
        client.on(COMPLETE, complete.put)
        lost = call(client, "aria2.addUri", [web.url("held")])
        assert web.asked.wait(LONG)
        aria2.stop(how)
        eventually(lambda: client.state is State.WAITING)
        assert client.last_disconnect.initiator in ("network", "remote")
        meanwhile = client.submit({"method": "aria2.addUri", "params": [TOKEN, [web.url("file")]]}, timeout=LONG)
        assert not meanwhile.done()
        aria2.start()
        assert gids(complete.get(timeout=LONG)) == [meanwhile.result(LONG)]  # the handler is still registered
        with pytest.raises(RemoteError, match=lost):
            call(client, "aria2.tellStatus", lost)
        assert client.stats.connections == 2
    assert (aria2.downloads / "file").read_bytes() == web.content


def test_the_client_survives_repeated_restarts(aria2):
    with aria2.connect() as client:
        for number, how in enumerate(("SIGKILL", "SIGTERM", "SIGKILL"), start=2):
            aria2.stop(how)
            aria2.start()
            eventually(lambda number=number: client.stats.connections == number)
            assert version(client, idempotent=True)
            assert client.stats.connections == number
