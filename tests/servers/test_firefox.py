"""Firefox, and ``WebDriverBiDi``: the browser itself has the WebSocket, and permits one session at a time.

As of version 153 (ESR), the session is lost with the connection that made it: its URL answers 404, and the browser
refuses another session until it restarts. A restart is therefore what these tests let a client survive.
"""

import contextlib

import pytest
import tenacity

import wsclient
from wsclient import RemoteError
from wsclient.protocols import WebDriverBiDi

from ..support import LONG, eventually
from ..support.program import Program, find, free_port, removed

FIREFOX = find("firefox-esr") or find("firefox")
pytestmark = pytest.mark.skipif(
    FIREFOX is None,
    reason="FIREFOX IS MISSING, so WebDriver BiDi is tested with Chromium only: apt-get install firefox-esr",
)

ENTRIES = {"method": "session.subscribe", "params": {"events": ["log.entryAdded"]}}
WAIT = 2 * LONG
"""The time-out of each call; the browser starts while the first ones wait."""


class Firefox(Program):
    """A browser without a window, with a separate profile, which is deleted at each stop."""

    def __init__(self, home):
        self.port = free_port()
        self._profile = home / "profile"
        options = ("--headless", "--no-remote", "--profile", str(self._profile))
        command = [FIREFOX, *options, f"--remote-debugging-port={self.port}"]
        super().__init__(home, command, HOME=str(home), MOZ_CRASHREPORTER_DISABLE="1")

    def start(self):
        self._profile.mkdir()
        # An empty page at the start: Firefox's own page takes it ten seconds on a busy machine.
        (self._profile / "user.js").write_text('user_pref("browser.startup.page", 0);\n')
        super().start()

    def stop(self, how="SIGKILL"):
        super().stop(how)
        eventually(lambda: removed(self._profile))


@pytest.fixture(scope="module")
def firefox(tmp_path_factory):
    with Firefox(tmp_path_factory.mktemp("firefox")) as firefox:
        yield firefox


@contextlib.contextmanager
def session_of(firefox, capabilities=None):
    """A client that makes its session, as the docstring of ``WebDriverBiDi`` describes it."""
    base = f"ws://127.0.0.1:{firefox.port}"

    def url():
        made = client.memo.get("session.new")
        return f"{base}/session/{made['sessionId']}" if made else f"{base}/session"

    def forget(error):
        if isinstance(error, wsclient.HandshakeError) and client.memo.pop("session.new", None):
            return True
        return None

    again = wsclient.Reconnect(wait=tenacity.wait_fixed(0.05), should_retry=forget)
    protocol = WebDriverBiDi(capabilities=capabilities or {})
    client = wsclient.Client(url, protocol=protocol, reconnect=again, session_timeout=WAIT, request_timeout=WAIT)
    with client:
        yield client


def open_page(client):
    """A new tab with a page."""
    context = client.call("browsingContext.create", {"type": "tab"})["context"]
    page = {"context": context, "url": "data:text/html,<title>a page</title>", "wait": "complete"}
    assert client.call("browsingContext.navigate", page)["url"] == page["url"]
    return context


def evaluate(client, context, expression):
    params = {"expression": expression, "target": {"context": context}, "awaitPromise": False}
    return client.call("script.evaluate", params)["result"]


def test_a_session_commands_errors_and_events(firefox):
    with session_of(firefox) as client:
        assert client.memo["session.new"]["capabilities"]["browserName"] == "firefox"
        context = open_page(client)
        assert evaluate(client, context, "document.title") == {"type": "string", "value": "a page"}
        for method, params, code in (
            ("no.such", None, "unknown command"),
            ("browsingContext.navigate", {"context": "none", "url": "about:blank"}, "no such frame"),
            ("browsingContext.navigate", {}, "invalid argument"),
        ):
            with pytest.raises(RemoteError) as caught:
                client.call(method, params)
            assert caught.value.code == code
            assert caught.value.message
            assert caught.value.data  # the stack trace

        evaluate(client, context, "console.log('buffered')")  # the browser sends it to a later subscription
        with client.subscribe(ENTRIES) as entries:
            assert entries.get(LONG)["params"]["text"] == "buffered"
            evaluate(client, context, "console.log('new')")
            assert entries.get(LONG)["params"]["text"] == "new"
            sent = client.stats.messages_sent
        eventually(lambda: client.stats.messages_sent > sent)  # the I/O thread unsubscribes
        with client.listen(lambda message: message.get("method") == "log.entryAdded") as rest:
            evaluate(client, context, "console.log('unsubscribed')")
            client.call("session.status", {})  # an event that was sent would come before its reply
            with pytest.raises(TimeoutError):
                rest.get(0)
            client.call("session.subscribe", {**ENTRIES["params"], "contexts": [context]})
            evaluate(client, context, "console.log('of the context')")
            texts = []
            while "of the context" not in texts:
                texts.append(rest.get(LONG)["params"]["text"])
            # Firefox may have stored the entry without a subscription, and then sends it to the next one.
            assert texts in (["of the context"], ["unsubscribed", "of the context"])
        client.call("browsingContext.close", {"context": context})  # and with it the entries that are stored


def test_a_client_that_is_closed_ends_its_session(firefox):
    for _ in range(2):  # the browser permits one session
        with session_of(firefox) as client:
            assert client.call("session.status")["ready"] is False
        assert client.last_disconnect.initiator == "local"


def test_after_a_restart_of_the_browser_the_client_makes_another_session_and_subscribes(firefox):
    with session_of(firefox) as client, client.subscribe(ENTRIES) as entries:
        first = client.memo["session.new"]["sessionId"]
        evaluate(client, open_page(client), "console.log('before')")
        assert entries.get(LONG)["params"]["text"] == "before"
        firefox.stop()
        waiting = client.submit({"method": "session.status", "params": {}}, idempotent=True)
        firefox.start()
        assert waiting.result(WAIT)["ready"] is False
        assert client.memo["session.new"]["sessionId"] != first
        evaluate(client, open_page(client), "console.log('after')")
        assert entries.get(LONG)["params"]["text"] == "after"
        assert entries.gaps == 1


def test_refused_capabilities_fail_the_start(firefox):
    url = f"ws://127.0.0.1:{firefox.port}/session"
    protocol = WebDriverBiDi(capabilities={"alwaysMatch": {"acceptInsecureCerts": "yes"}})
    with pytest.raises(wsclient.ConnectError) as caught:
        wsclient.connect(url, protocol=protocol, reconnect=None)
    assert isinstance(caught.value.last, RemoteError)
    assert caught.value.last.code == "invalid argument"
