"""Selenium: a faster WebSocket under its WebDriver BiDi. Needs ``pip install selenium``, Chromium and chromedriver.

Why: Selenium's own connection checks every 0.1 s whether an answer has arrived, so each call takes 0.1 s at least. When
the connection is lost during a call, the call waits for its whole timeout (30 s by default), and all later calls fail.
``quit()`` waits for the connection's thread, in some runs as long as the timeout, too.
How: with this class a call ends when its answer arrives or its connection is lost, and the next call uses a new
connection to the same browser session.

Change: copy ``FastConnection`` and the assignment in ``open_browser()``, and run them before the first use of
BiDi. The rest of your program stays as it is.

Note: the class that is replaced is internal to Selenium; this is tested with Selenium 4.51. Callbacks of events run one
after the other, in the order of the events, and may make calls; Selenium starts a thread for each. On a new connection
the events are subscribed again; what happened meanwhile is lost, and the browser repeats the log entries that it has
stored. The certificate of a remote browser (``wss://``) is verified; Selenium accepts every one.

Run: python examples/cookbook/selenium_bidi.py [TIMEOUT]. It measures Selenium without this class and with it:

    WebSocketConnection: a call takes 100.6 ms, quit() 0.2 s; where the connection is lost, it fails after 29.6 s, and
    the next one fails
    FastConnection: a call takes 2.9 ms, quit() 0.1 s; where the connection is lost, it fails after 0.0 s, and the next
    one succeeds
"""

import itertools
import json
import shutil
import statistics
import sys
import threading
import time
import types

from selenium import webdriver
from selenium.common import WebDriverException
from selenium.webdriver.remote import webdriver as remote
from selenium.webdriver.remote import websocket_connection

import wsclient
from wsclient.testing import FaultProxy  # for the measurement only


class FastConnection(websocket_connection.WebSocketConnection):
    def _start_ws(self):
        codec = types.SimpleNamespace(dumps=websocket_connection._BiDiEncoder().encode, loads=json.loads)
        timeout = self.response_wait_timeout
        self._subscribing = []
        hooks = {"on_session": self._subscribe, "on_message": self._on_event}
        self._ws = wsclient.connect(self.url, json=codec, request_timeout=timeout, **hooks)
        self._started = True

    def _subscribe(self, client, session):  # on each connection: chromedriver forgets what the lost one has subscribed
        for command in self._subscribing:
            session.request(command)

    def _on_event(self, client, message):
        for callback in list(self.callbacks.get(message.get("method"), ())):
            callback(message["params"])

    def _round_trip(self, command):
        session = {"sessionId": self.session_id} if self.session_id else {}
        try:
            reply = self._ws.request(command | session)
        except wsclient.WebSocketClientError as error:
            raise WebDriverException(str(error)) from error
        if command["method"] == "session.subscribe" and "error" not in reply:
            self._subscribing.append(command | session)
        return reply  # all of it: Selenium raises its "error"

    def close(self):
        self._ws.close()


def open_browser(connection, timeout):
    remote.WebSocketConnection = connection  # this assignment is all that a program needs
    options = webdriver.ChromeOptions()
    options.enable_bidi = True
    options.binary_location = shutil.which("chromium") or shutil.which("google-chrome")
    for argument in ("--headless", "--no-sandbox", "--disable-gpu"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    driver.command_executor.client_config.websocket_timeout = timeout
    return driver


def ending(function):
    """When this call ended, and its error."""
    error = None
    try:
        function()
    except Exception as raised:
        error = raised
    return time.monotonic(), error


def measure(connection, timeout):
    driver = open_browser(connection, timeout)
    ends = [ending(driver.browsing_context.get_tree)[0] for _ in range(22)]  # the first call opens the connection
    call = statistics.median(later - earlier for earlier, later in itertools.pairwise(ends))
    quitting = ending(driver.quit)[0] - ends[-1]

    driver, cut = open_browser(connection, timeout), []
    with FaultProxy(driver.caps["webSocketUrl"]) as proxy:
        driver.caps["webSocketUrl"] = proxy.url
        driver.browsing_context.get_tree()
        threading.Timer(0.5, lambda: (cut.append(time.monotonic()), proxy.cut())).start()
        failing, _ = ending(lambda: driver.script.execute("() => new Promise(() => {})"))  # it never ends
        _, error = ending(driver.browsing_context.get_tree)
        driver.quit()
    print(f"a call takes {1000 * call:.1f} ms, quit() {quitting:.1f} s;", end=" ")
    print(f"where the connection is lost, it fails after {failing - cut[0]:.1f} s,", end=" ")
    print(f"and the next one {'fails' if error else 'succeeds'}")


if __name__ == "__main__":
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 30.0
    for connection in (websocket_connection.WebSocketConnection, FastConnection):
        print(connection.__name__, end=": ", flush=True)
        measure(connection, seconds)
