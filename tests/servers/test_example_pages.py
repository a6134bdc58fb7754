"""The pages of ``examples/``, in Chromium: what people see and type, beside threads of this library in the same room.

``ChromeDevTools`` drives the browser. With ``PICTURES=folder`` in the environment, the pictures for the README of the
examples are written to that folder.
"""

import base64
import contextlib
import json
import os
import pathlib
import re
import signal
import struct
import subprocess
import sys

import pytest

import wsclient
from wsclient.protocols import ChromeDevTools

from ..support import LONG, eventually
from ..support.chromium import CHROMIUM, Chromium
from ..support.program import free_port

EXAMPLES = pathlib.Path(__file__).parent.parent.parent / "examples"
WIDTH, HEIGHT = 640, 430
"""The size of the window, and so of the pictures, in pixels."""

pytestmark = pytest.mark.skipif(
    CHROMIUM is None,
    reason="CHROMIUM IS MISSING, so the pages of the examples are not tested: apt-get install chromium",
)


class Example:
    """An example that serves a page, from the construction to ``stop()``."""

    def __init__(self, name, port):
        self.process = subprocess.Popen(
            [sys.executable, "-u", str(EXAMPLES / name), "--serve", str(port)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.port = int(re.search(r"open http://localhost:(\d+)/", self.process.stdout.readline())[1])
        self.page = f"http://localhost:{self.port}/"
        self.url = f"ws://localhost:{self.port}/"

    def stop(self):
        """End it like a user does, with Ctrl-C."""
        if self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGINT)
        try:
            _, errors = self.process.communicate(timeout=LONG)
        finally:
            self.process.kill()  # if it has not ended
        assert self.process.returncode == 0, errors
        # Up to websockets 16 the server logs requests for the page and refused origins too, as failed handshakes.
        assert "handler failed" not in errors


@pytest.fixture
def serve():
    """Starts examples, which are ended after the test."""
    with contextlib.ExitStack() as examples:

        def start(name, port=0):
            example = Example(name, port)
            examples.callback(example.stop)
            return example

        yield start


@pytest.fixture
def browser(tmp_path):
    with Chromium(tmp_path) as chromium:
        with wsclient.connect(chromium.url, protocol=ChromeDevTools()) as browser:
            yield browser


class Window:
    """A window of the browser: what a person sees and does in it."""

    def __init__(self, browser, address):
        self._browser = browser
        self._session = ChromeDevTools.attach(browser)
        size = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False}
        self._call("Emulation.setDeviceMetricsOverride", **size)
        self._call("Page.navigate", url=address)

    def _call(self, method, **params):
        return self._browser.call(method, {"session": self._session, **params}, timeout=LONG)

    def evaluate(self, expression):
        answer = self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def shows(self, text):
        """Wait until a text is in the page, and not hidden."""
        try:
            eventually(lambda: text in self.text())
        except AssertionError:
            raise AssertionError(f"The page does not show {text!r}, but:\n{self.text()}") from None

    def text(self):
        return self.evaluate("document.body?.innerText") or ""

    def write(self, field, text):
        """Write into a field, with the keyboard."""
        self.evaluate(f"document.querySelector({json.dumps(field)}).focus()")
        self._call("Input.insertText", text=text)

    def enter(self):
        """Press the key Enter."""
        key = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13}
        self._call("Input.dispatchKeyEvent", type="keyDown", text="\r", **key)
        self._call("Input.dispatchKeyEvent", type="keyUp", **key)

    def picture(self, path):
        """Save what is on the screen as a PNG file."""
        self._call("Page.bringToFront")
        path.write_bytes(base64.b64decode(self._call("Page.captureScreenshot", format="png")["data"]))


@pytest.fixture
def pictures(tmp_path):
    return pathlib.Path(os.environ.get("PICTURES", tmp_path))


def size(picture):
    """The width and the height of a small PNG file (PNG specification, 11.2.2: IHDR is the first chunk)."""
    data = picture.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    assert len(data) < 60_000
    return struct.unpack(">II", data[16:24])


def test_people_in_browsers_and_threads_of_the_client_talk_in_one_room(serve, browser, pictures):
    example = serve("chat_room.py")
    ann, bob = Window(browser, example.page), Window(browser, example.page)
    for window in (ann, bob):
        window.shows("connected")
        window.shows("room: Welcome!")
    cleo = wsclient.Client(example.url)
    with cleo.listen() as heard, cleo:
        assert heard.get(LONG) == {"from": "room", "text": "Welcome!"}
        ann.write("#name", "Ann")
        ann.write("#text", "Hello from a browser!")
        ann.enter()
        said = [heard.get(LONG), heard.get(LONG)]
        greeting = "Hello, Ann! I am a thread of a Python program."
        assert said == [{"from": "Ann", "text": "Hello from a browser!"}, {"from": "Greeter", "text": greeting}]
        for window in (ann, bob):
            window.shows(f"Ann: Hello from a browser!\nGreeter: {greeting}")
        cleo.send({"from": "Cleo", "text": "Hello from a thread!"})
        bob.shows("Cleo: Hello from a thread!\nGreeter: Hello, Cleo!")
        bob.write("#name", "Bob")
        bob.write("#text", "Hello to <b>all</b> of you!")
        bob.enter()
        ann.shows("Bob: Hello to <b>all</b> of you!\nGreeter: Hello, Bob!")
    assert ann.evaluate("document.querySelectorAll('#messages b').length") == 0  # text stays text
    assert ann.evaluate("document.querySelector('#text').value") == ""
    picture = pictures / "chat_room.png"
    ann.picture(picture)
    assert size(picture) == (WIDTH, HEIGHT)


def test_the_page_connects_again_after_a_restart_of_the_server(serve, browser):
    port = free_port()
    example = serve("chat_room.py", port)
    window = Window(browser, example.page)
    window.shows("room: Welcome!")
    example.stop()
    window.shows("not admitted (1006): this server does not run")
    serve("chat_room.py", port)
    window.shows("room: Welcome!\nroom: Welcome!")
    assert window.text().count("connected") == 1


def tried(url):
    """An expression for what a page gets from a WebSocket: "open", or the close code."""
    return f"""new Promise(resolve => {{
        const socket = new WebSocket("{url}");
        socket.onopen = () => resolve("open");
        socket.onclose = event => resolve(event.code);
    }})"""


def test_a_page_of_another_origin_is_not_admitted_to_the_room(serve, browser):
    chat, other = serve("chat_room.py"), serve("live_data.py")
    foreign, own = Window(browser, f"http://127.0.0.1:{chat.port}/"), Window(browser, chat.page)
    own.shows("room: Welcome!")
    foreign.shows(f"or does not accept the origin http://127.0.0.1:{chat.port}")
    foreign.shows("not admitted (1006)")
    assert "Welcome" not in foreign.text()
    assert foreign.evaluate("document.querySelector('button').disabled") is True
    site = Window(browser, other.page)
    site.shows("connected")
    assert [site.evaluate(tried(chat.url)), own.evaluate(tried(chat.url))] == [1006, "open"]
    assert [site.evaluate(tried(other.url)), own.evaluate(tried(other.url))] == ["open", 1006]
    with pytest.raises(wsclient.HandshakeError) as refused:
        wsclient.connect(chat.url, origin=other.page.rstrip("/"))
    assert refused.value.status == 403


LINES = """[...document.querySelectorAll("polyline")].map(line => ({
    shown: line.getBoundingClientRect().toJSON(),
    points: [...line.points].map(point => [point.x, point.y]),
}))"""
"""An expression for the lines of the plot: their place on the screen, and their points in the units of the plot."""


def test_the_plot_is_live_and_has_a_gap_where_the_connection_was_lost(serve, browser, pictures):
    example = serve("live_data.py")
    window = Window(browser, example.page)
    window.shows("connected, 1 connections")
    with wsclient.connect(example.url) as client, client.listen() as prices:
        client.send({"op": "subscribe", "channel": "prices"})
        assert 85 < prices.get(LONG)["price"] < 115  # a thread gets them beside the page
    window.shows("connected, 2 connections")
    eventually(lambda: [len(line["points"]) > 20 for line in window.evaluate(LINES)] == [True, True])
    picture = pictures / "live_data.png"
    window.picture(picture)
    assert size(picture) == (WIDTH, HEIGHT)
    lost, current = window.evaluate(LINES)
    assert len(lost["points"]) == 60
    assert current["points"][0][0] - lost["points"][-1][0] > 55  # one second of ten is 60 of 600 units
    assert current["shown"]["x"] - lost["shown"]["right"] > 45  # the same on the screen
    for line in (lost, current):
        assert line["points"] == sorted(line["points"])  # from left to right
        assert line["shown"]["width"] > 50
        assert 0 < line["shown"]["top"] < line["shown"]["bottom"] < HEIGHT
    newest = """[[...document.querySelectorAll("polyline")].at(-1).points].map(points =>
        [points[points.length - 1].x, points[points.length - 1].y, Number(price.textContent)])[0]"""
    x, y, value = window.evaluate(newest)  # at one moment
    assert x == pytest.approx(600)
    assert y == pytest.approx(240 * (115 - value) / 30, abs=0.01)


@pytest.mark.parametrize("name", ["chat_room", "live_data"])
def test_the_readme_of_the_examples_shows_the_pages(name):
    assert f"](pages/{name}.png)" in (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert size(EXAMPLES / "pages" / f"{name}.png") == (WIDTH, HEIGHT)
