"""Control a browser over the DevTools protocol: open a page, evaluate in it, save a picture. Needs Chromium or Chrome.
Run: python examples/chrome_devtools.py PICTURE.png"""

import base64
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import wsclient


def drive(url, picture):
    with wsclient.connect(url, protocol=wsclient.JsonRpc(version=None)) as browser:
        target = browser.call("Target.createTarget", {"url": "about:blank"})
        page = browser.call("Target.attachToTarget", {**target, "flatten": True})["sessionId"]

        def ask(method, **params):  # messages for a page contain the id of its session
            return browser.request({"method": method, "params": params, "sessionId": page})

        ask("Page.enable")
        with browser.listen(lambda message: message.get("method") == "Page.loadEventFired") as loaded:
            ask("Page.navigate", url="data:text/html,<title>A page</title><h1>Hello, browser!</h1>")
            loaded.get(timeout=10)
        print("title:", ask("Runtime.evaluate", expression="document.title")["result"]["value"])
        Path(picture).write_bytes(base64.b64decode(ask("Page.captureScreenshot")["data"]))
        browser.call("Browser.close")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        options = ["--headless", "--no-sandbox", "--remote-debugging-port=0", f"--user-data-dir={home}"]
        command = [shutil.which("chromium") or "google-chrome", *options]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603
            try:
                drive(next(line.split()[-1] for line in process.stderr if "ws://" in line), sys.argv[1])
                process.wait(10)
            finally:
                process.terminate()
