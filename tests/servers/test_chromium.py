"""Headless Chromium and ``ChromeDevTools``: flat sessions beside ids, calls never answered, errors without an id.

Its URL changes with every start. It answers no call of a closed target, and ends the connection without a close frame.
"""

import base64
import concurrent.futures
import contextlib
import http.server
import json
import queue
import struct
import threading
import urllib.request

import pytest
import tenacity

import wsclient
from wsclient import ConnectionLost, RemoteError, RequestTimeout, State
from wsclient.protocols import ChromeDevTools

from ..support import LONG, SHORT, eventually
from ..support.chromium import CHROMIUM, Chromium
from ..support.program import free_port

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="CHROMIUM IS MISSING, so no real browser is tested: apt-get install chromium"
)

SOON = wsclient.Reconnect(wait=tenacity.wait_fixed(0.05))
HELD = "new Promise(resolve => globalThis.release = resolve)"
"""An expression whose value is set when ``release(value)`` is called in the same page."""

LOADED_TITLE = """new Promise(resolve => {
    const tell = () => resolve(document.title);
    document.readyState === "complete" ? tell() : addEventListener("load", tell);
})"""
"""An expression for the title of a page, when it is completely loaded."""

# --- Chromium and its pages ------------------------------------------------------------------------------------------


@pytest.fixture
def chromium(tmp_path):
    with Chromium(tmp_path) as chromium:
        yield chromium


def devtools(url, **options):
    options.setdefault("reconnect", SOON)
    return wsclient.Client(url, protocol=ChromeDevTools(), **options)


@pytest.fixture
def client(chromium):
    with devtools(lambda: chromium.url) as client:
        yield client


class Page:
    """A page in a flat session: each of its messages has a ``sessionId`` beside the id."""

    def __init__(self, caller):
        """The caller is a client, or a session during its setup."""
        self.target = caller.call("Target.createTarget", {"url": "about:blank"})["targetId"]
        self.id = ChromeDevTools.attach(caller, self.target)

    def message(self, method, **params):
        return {"method": method, "params": params, "sessionId": self.id}

    def evaluation(self, expression):
        return self.message("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)

    def event(self, method):
        """Matches this event of this page."""
        return lambda message: message.get("method") == method and message.get("sessionId") == self.id


def ask(client, page, method, **params):
    return client.request(page.message(method, **params), timeout=LONG)


def evaluate(client, page, expression):
    return client.request(page.evaluation(expression), timeout=LONG)["result"].get("value")


def written(event):
    """The text that a page wrote to its console."""
    return event["params"]["args"][0]["value"]


# --- calls and their replies -----------------------------------------------------------------------------------------


def test_simultaneous_calls_of_two_flat_sessions_get_their_own_replies(client):
    pages = [Page(client), Page(client)]
    for number, page in enumerate(pages):
        evaluate(client, page, f"globalThis.name = 'page {number}'")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda n: evaluate(client, pages[n % 2], f"`${{name}}: {n}`"), range(200))
        assert list(answers) == [f"page {n % 2}: {n}" for n in range(200)]
    assert client.stats.connections == 1
    assert client.stats.requests_late == 0


def test_call_takes_the_session_from_the_params(client):
    one, two = ChromeDevTools.attach(client), ChromeDevTools.attach(client)
    loaded = queue.Queue()
    client.on("Page.loadEventFired", loaded.put)
    client.call("Page.enable", {"session": two}, timeout=LONG)
    for page, title in ((one, "one"), (two, "two")):
        client.call("Page.navigate", {"session": page, "url": f"data:text/html,<title>{title}</title>"}, timeout=LONG)
    event = loaded.get(timeout=LONG)
    assert (event["method"], event["sessionId"]) == ("Page.loadEventFired", two)
    title = {"expression": LOADED_TITLE, "awaitPromise": True}
    for page, expected in ((one, "one"), (two, "two")):
        result = client.call("Runtime.evaluate", {**title, "session": page}, timeout=LONG)
        assert result["result"]["value"] == expected
    with pytest.raises(RemoteError, match="No target with given id"):
        ChromeDevTools.attach(client, "none")
    assert {event["sessionId"] for event in loaded.queue} <= {two}


def test_no_method_of_chromium_has_the_param_that_names_the_session(chromium):
    with urllib.request.urlopen(f"http://127.0.0.1:{chromium.port}/json/protocol", timeout=LONG) as answer:
        domains = json.load(answer)["domains"]
    params = {param["name"] for domain in domains for command in domain["commands"]
              for param in command.get("parameters", [])}  # fmt: skip
    assert "sessionId" in params  # of Target.detachFromTarget, so this could not be the name
    assert "session" not in params


def test_an_error_of_a_method_is_raised_with_its_code(client):
    page = Page(client)
    with pytest.raises(RemoteError, match=r"No\.such") as caught:
        ask(client, page, "No.such")
    assert caught.value.code == -32601
    assert evaluate(client, page, "6 * 7") == 42


def test_a_screenshot_of_more_than_a_megabyte_is_one_reply(client):
    page = Page(client)
    evaluate(
        client,
        page,
        """
        const canvas = document.createElement('canvas');
        [canvas.width, canvas.height] = [1000, 800];
        document.body.replaceChildren(canvas);
        const image = canvas.getContext('2d').createImageData(1000, 800);
        for (let i = 0, seed = 1; i < image.data.length; i++)  // noise, which no PNG can pack
            image.data[i] = i % 4 === 3 ? 255 : (seed = Math.imul(seed, 1664525) + 1013904223 | 0) >>> 24;
        canvas.getContext('2d').putImageData(image, 0, 0);
        """,
    )
    clip = {"x": 0, "y": 0, "width": 800, "height": 600, "scale": 1}
    data = ask(client, page, "Page.captureScreenshot", clip=clip, captureBeyondViewport=True)["data"]
    assert len(data) > 1_000_000
    picture = base64.b64decode(data, validate=True)
    assert picture.startswith(b"\x89PNG")
    assert picture.endswith(b"IEND\xaeB`\x82")
    assert struct.unpack(">II", picture[16:24]) == (800, 600)
    assert evaluate(client, page, "'x'.repeat(3_000_000)") == "x" * 3_000_000


def test_calls_of_a_closed_target_are_never_answered_and_other_calls_are_not_affected(client):
    doomed, other = Page(client), Page(client)
    with client.listen(lambda message: message.get("method") == "Target.detachedFromTarget") as goodbyes:
        lost = [client.submit(doomed.evaluation(HELD), timeout=3 * SHORT) for _ in range(3)]
        kept = client.submit(other.evaluation(HELD), timeout=LONG)
        client.call("Target.closeTarget", {"targetId": doomed.target})
        assert goodbyes.get(LONG)["params"]["sessionId"] == doomed.id
        for future in lost:
            with pytest.raises(RequestTimeout) as caught:
                future.result(LONG)
            assert caught.value.phase == "waiting"
    with pytest.raises(RemoteError, match="Session with given id not found"):
        evaluate(client, doomed, "1")
    evaluate(client, other, "release('still here')")
    assert kept.result(LONG)["result"]["value"] == "still here"
    assert client.stats.requests_timed_out == 3
    assert client.stats.connections == 1


def test_errors_without_an_id_go_to_on_message_and_to_no_caller(client):
    errors = queue.Queue()
    client.on_message = lambda client, message: errors.put(message["error"]["code"]) if "error" in message else None
    page = Page(client)
    waiting = client.submit(page.evaluation(HELD), timeout=LONG)
    for broken, code in [
        ("{broken", -32700),
        ("[]", -32600),
        ({"method": "Browser.getVersion"}, -32600),  # without an id
        ({"id": "one", "method": "Browser.getVersion"}, -32600),  # which must be a number
    ]:
        client.send(broken)
        assert errors.get(timeout=LONG) == code, broken
    evaluate(client, page, "release('unharmed')")
    assert waiting.result(LONG)["result"]["value"] == "unharmed"


def test_an_own_id_in_flight_is_refused_by_the_client_and_the_first_request_gets_its_reply(client):
    page = Page(client)
    first = client.submit({"id": 500, **page.evaluation(HELD)}, timeout=LONG)
    with pytest.raises(ValueError, match="500"):
        client.request({"id": 500, **page.evaluation("'second'")}, timeout=LONG)
    evaluate(client, page, "release('first')")
    assert first.result(LONG)["result"]["value"] == "first"
    assert client.request({"id": 500, **page.evaluation("'third'")}, timeout=LONG)["result"]["value"] == "third"


def test_a_duplicate_that_chromium_refuses_ends_the_request_and_the_real_reply_is_late(client):
    late = queue.Queue()
    client.on_message = lambda client, message: late.put(message) if "result" in message else None
    page = Page(client)
    first = client.submit({"id": 500, **page.evaluation(HELD)}, timeout=LONG)
    duplicate = {"id": 500, **page.evaluation("'duplicate'")}
    with pytest.raises(ValueError, match="in flight already"):
        client.send(duplicate)
    client.send(json.dumps(duplicate))  # ids in text are not checked
    with pytest.raises(RemoteError, match="Duplicate"):
        first.result(LONG)
    assert late.get(timeout=LONG)["result"]["result"]["value"] == "duplicate"
    assert client.stats.requests_late == 1
    assert evaluate(client, page, "'goes on'") == "goes on"


# --- events ----------------------------------------------------------------------------------------------------------


def test_events_go_to_their_handlers_streams_and_subscriptions(client):
    one, two = Page(client), Page(client)
    handled = queue.Queue()
    remove = client.on("Runtime.consoleAPICalled", lambda event: handled.put((event["sessionId"], written(event))))
    enable = one.message("Runtime.enable")
    with client.listen(two.event("Runtime.consoleAPICalled")) as of_two:
        ask(client, two, "Runtime.enable")
        with client.subscribe(enable, match=one.event("Runtime.consoleAPICalled"), timeout=LONG) as of_one:
            evaluate(client, one, "console.log('from one')")
            evaluate(client, two, "console.log('from two')")
            assert written(of_one.get(LONG)) == "from one"  # only of a subscription
            assert written(of_two.get(LONG)) == "from two"
            assert handled.get(timeout=LONG) == (two.id, "from two")
            with pytest.raises(TimeoutError):
                of_one.get(0)
        remove()
        evaluate(client, two, "console.log('again')")
        assert written(of_two.get(LONG)) == "again"
        assert handled.empty()


@contextlib.contextmanager
def site():
    """Serves one page over HTTP, and records the requests."""
    paths = queue.Queue()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            paths.put(self.path)
            body = b"<title>from the server</title>"
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), name="site")
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", paths
        finally:
            server.shutdown()
            thread.join()


def test_a_worker_answers_paused_requests_while_a_hook_waits_for_the_page(chromium):
    steps, results = [], queue.Queue()

    def paused(client, event):
        request = {"requestId": event["params"]["requestId"]}
        steps.append(event["params"]["request"]["url"].rpartition("/")[2])
        if steps[-1] == "mocked":
            body = base64.b64encode(b"<title>from the worker</title>").decode()
            message = {"method": "Fetch.fulfillRequest", "params": {**request, "responseCode": 200, "body": body}}
        else:
            message = {"method": "Fetch.continueRequest", "params": request}
        client.request({**message, "sessionId": event["sessionId"]}, timeout=LONG)

    def opened(client):
        page = Page(client)
        ask(client, page, "Fetch.enable", patterns=[{"resourceType": "Document"}])
        for name in ("mocked", "real"):
            ask(client, page, "Page.navigate", url=f"{address}/{name}")  # its reply comes after the worker has answered
            steps.append("navigated")
            results.put(evaluate(client, page, LOADED_TITLE))

    with site() as (address, paths):
        client = devtools(chromium.url, on_open=opened)
        client.on("Fetch.requestPaused", lambda event: paused(client, event), workers=1)
        with client:
            assert [results.get(timeout=LONG), results.get(timeout=LONG)] == ["from the worker", "from the server"]
        assert steps == ["mocked", "navigated", "real", "navigated"]
        assert "/real" in paths.queue  # and perhaps an icon
        assert "/mocked" not in paths.queue


# --- restarts --------------------------------------------------------------------------------------------------------


def recovers(chromium, url, how):
    """Chromium is ended and started during the work; each connection attaches a page and subscribes to its events."""
    pages = []
    client = devtools(url, on_session=lambda client, session: pages.append(Page(session)))
    with client:
        with client.subscribe(
            lambda: pages[-1].message("Runtime.enable"),
            match=lambda message: message.get("method") == "Runtime.consoleAPICalled",
        ) as console:
            evaluate(client, pages[-1], "console.log('before')")
            assert written(console.get(LONG)) == "before"
            cut = client.submit(pages[-1].evaluation(HELD), timeout=LONG)
            evaluate(client, pages[-1], "1")  # so that the one before has been sent
            first = chromium.url
            chromium.stop(how)
            with pytest.raises(ConnectionLost) as caught:
                cut.result(LONG)
            assert caught.value.sent is True
            eventually(lambda: client.state is not State.OPEN)
            queued = client.submit({"method": "Browser.getVersion"}, timeout=LONG)
            attempts = client.stats.failed_attempts
            eventually(lambda: client.stats.failed_attempts > attempts)
            chromium.start()
            assert chromium.url != first
            assert "Chrome" in queued.result(LONG)["product"]
            evaluate(client, pages[-1], "console.log('after')")
            assert written(console.get(LONG)) == "after"
            assert console.gaps == 1
        assert len({page.id for page in pages}) == 2
        assert client.stats.connections == 2
        assert client.last_disconnect.initiator in ("network", "remote")


@pytest.mark.parametrize("how", ["SIGTERM", "SIGKILL"])
def test_the_client_recovers_from_a_restart_with_another_url(chromium, how):
    recovers(chromium, lambda: chromium.url, how)


@pytest.mark.parametrize("how", ["SIGTERM", "SIGKILL"])
def test_a_url_function_that_asks_chromium_can_fail_while_it_is_not_running(tmp_path, how):
    def discover():
        with urllib.request.urlopen(f"http://127.0.0.1:{chromium.port}/json/version", timeout=LONG) as reply:
            return json.load(reply)["webSocketDebuggerUrl"]

    with Chromium(tmp_path, free_port()) as chromium:
        recovers(chromium, discover, how)
