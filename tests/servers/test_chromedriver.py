"""chromedriver with Chromium, and ``WebDriverBiDi``: a session is made over HTTP, or over the WebSocket itself."""

import json
import urllib.error
import urllib.request

import pytest
import tenacity

import wsclient
from wsclient import RemoteError
from wsclient.protocols import WebDriverBiDi

from ..support import LONG, eventually
from ..support.program import Program, find, free_port

CHROMEDRIVER = find("chromedriver")
CHROMIUM = find("chromium") or find("chromium-browser") or find("google-chrome")
pytestmark = pytest.mark.skipif(
    CHROMEDRIVER is None or CHROMIUM is None,
    reason="CHROMEDRIVER IS MISSING, so WebDriver BiDi is tested without a browser: apt-get install chromium-driver",
)

CAPABILITIES = {
    "alwaysMatch": {
        "webSocketUrl": True,
        "goog:chromeOptions": {
            "binary": CHROMIUM,
            "args": ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        },
    }
}
ENTRIES = {"method": "session.subscribe", "params": {"events": ["log.entryAdded"]}}


class Chromedriver(Program):
    def __init__(self, home):
        self.port = free_port()
        super().__init__(home, [CHROMEDRIVER, f"--port={self.port}"])

    def ask(self, method, path, body=None):
        """The value that an HTTP request of WebDriver returns."""
        data = None if body is None else json.dumps(body).encode()
        url = f"http://127.0.0.1:{self.port}{path}"
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=2 * LONG) as answer:
            return json.load(answer)["value"]


@pytest.fixture
def driver(tmp_path):
    with Chromedriver(tmp_path) as driver:
        yield driver


@pytest.fixture
def client(driver):
    """The client of a session that was made over HTTP."""
    session = driver.ask("POST", "/session", {"capabilities": CAPABILITIES})
    try:
        with wsclient.connect(session["capabilities"]["webSocketUrl"], protocol=WebDriverBiDi()) as client:
            yield client
    finally:
        driver.ask("DELETE", f"/session/{session['sessionId']}")


def context_of(client):
    return client.call("browsingContext.getTree", timeout=LONG)["contexts"][0]["context"]


def log(client, context, text):
    params = {"expression": f"console.log('{text}')", "target": {"context": context}, "awaitPromise": False}
    client.call("script.evaluate", params, timeout=LONG)


def test_commands_errors_and_events(client):
    context, other = context_of(client), client.call("browsingContext.create", {"type": "tab"}, timeout=LONG)["context"]
    page = {"context": context, "url": "data:text/html,<title>a page</title>", "wait": "complete"}
    assert client.call("browsingContext.navigate", page, timeout=LONG)["url"] == page["url"]
    for method, params, code in (
        ("no.such", None, "unknown command"),
        ("browsingContext.navigate", {**page, "context": "none"}, "no such frame"),
        ("browsingContext.navigate", {}, "invalid argument"),
    ):
        with pytest.raises(RemoteError) as caught:
            client.call(method, params, timeout=LONG)
        assert caught.value.code == code
        assert caught.value.message

    handled = []
    client.on("log.entryAdded", handled.append)
    log(client, context, "buffered")  # the browser sends it to each later subscription, before its reply
    of_one = {**ENTRIES, "params": {**ENTRIES["params"], "contexts": [other]}}
    with client.subscribe(ENTRIES, timeout=LONG) as entries:
        assert entries.get(LONG)["params"]["text"] == "buffered"
        log(client, context, "new")
        assert entries.get(LONG)["params"]["text"] == "new"
        with pytest.raises(ValueError, match="Give match="):
            client.subscribe(of_one, timeout=LONG)
    with client.listen(lambda message: message.get("method") == "log.entryAdded") as rest:
        log(client, context, "unsubscribed")
        client.call("session.subscribe", of_one["params"], timeout=LONG)
        log(client, other, "of the other")
        assert rest.get(LONG)["params"]["text"] == "of the other"
    eventually(lambda: handled)
    assert [event["params"]["text"] for event in handled] == ["of the other"]


def test_a_session_is_made_survives_a_reconnect_and_is_ended_by_the_client(driver):
    def url():
        made = client.memo.get("session.new")
        return f"ws://127.0.0.1:{driver.port}/session{'/' + made['sessionId'] if made else ''}"

    protocol = WebDriverBiDi(capabilities=CAPABILITIES)
    client = wsclient.Client(url, protocol=protocol, session_timeout=2 * LONG)
    with client:
        made = client.memo["session.new"]
        assert made["capabilities"]["browserName"] == "chrome"
        assert driver.ask("GET", f"/session/{made['sessionId']}/title") == ""
        context = context_of(client)
        client.reconnect()
        eventually(lambda: client.stats.connections == 2)
        assert context_of(client) == context
        assert client.memo["session.new"] is made
    assert client.last_disconnect.initiator == "local"
    eventually(lambda: is_unknown(driver, made["sessionId"]))


def test_after_a_restart_the_client_makes_another_session(driver):
    def url():
        made = client.memo.get("session.new")
        return f"ws://127.0.0.1:{driver.port}/session{'/' + made['sessionId'] if made else ''}"

    def forget(error):
        return True if isinstance(error, wsclient.HandshakeError) and client.memo.pop("session.new", None) else None

    again = wsclient.Reconnect(wait=tenacity.wait_fixed(0.05), should_retry=forget)
    protocol = WebDriverBiDi(capabilities=CAPABILITIES)
    client = wsclient.Client(url, protocol=protocol, session_timeout=2 * LONG, reconnect=again)
    with client:
        first = client.memo["session.new"]["sessionId"]
        driver.stop()
        waiting = client.submit({"method": "session.status", "params": {}}, idempotent=True, timeout=2 * LONG)
        driver.start()
        waiting.result(2 * LONG)
        assert client.memo["session.new"]["sessionId"] != first
        assert context_of(client)


def is_unknown(driver, session):
    try:
        driver.ask("GET", f"/session/{session}/title")
    except urllib.error.HTTPError as error:
        return json.load(error)["value"]["error"] == "invalid session id"
    return False


def test_refused_capabilities_fail_the_start(driver):
    capabilities = {"alwaysMatch": {"browserName": "no browser"}}
    url = f"ws://127.0.0.1:{driver.port}/session"
    with pytest.raises(wsclient.ConnectError) as caught:
        wsclient.connect(url, protocol=WebDriverBiDi(capabilities=capabilities), reconnect=None)
    assert isinstance(caught.value.last, RemoteError)
    assert caught.value.last.code == "session not created"
