"""Chromium: a browser without a window, which tests drive with ``ChromeDevTools``."""

import re

from . import eventually
from .program import Program, find, removed

CHROMIUM = find("chromium") or find("chromium-browser") or find("google-chrome")
"""The path of the browser; None if there is none."""


class Chromium(Program):
    """A browser with a separate profile, which is deleted at each stop."""

    def __init__(self, home, port=0):
        self._asked_port = port
        self.port = self.url = None
        super().__init__(home, None)

    def start(self):
        self._found = False
        self._seen = len(self.output) if self._output.exists() else 0
        self._profile = self._home / "profile"
        self._command = [
            CHROMIUM,
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *(f"--remote-debugging-port={self._asked_port}", f"--user-data-dir={self._profile}", "about:blank"),
        ]
        super().start()

    def _listens(self):
        if not self._found:
            said = re.search(r"DevTools listening on (ws://127\.0\.0\.1:(\d+)/\S+)\n", self.output[self._seen :])
            if said is None:
                return False
            self.port, self.url, self._found = int(said[2]), said[1], True
        return super()._listens()

    def stop(self, how="SIGKILL"):
        super().stop(how)
        eventually(lambda: removed(self._profile))
