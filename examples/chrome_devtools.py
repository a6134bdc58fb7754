"""Control a browser over the DevTools protocol: open a page, evaluate in it, save a picture. Needs Chromium or Chrome.
Run: python examples/chrome_devtools.py PICTURE.png"""

import base64
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import wsclient
from wsclient.protocols import ChromeDevTools


def drive(url, picture):
    with wsclient.connect(url, protocol=ChromeDevTools()) as browser:
        page = ChromeDevTools.attach(browser)  # the id of a session, for all commands to this page
        browser.call("Page.enable", {"session": page})
        with browser.listen(lambda message: message.get("method") == "Page.loadEventFired") as loaded:
            address = "data:text/html,<title>A page</title><h1>Hello, browser!</h1>"
            browser.call("Page.navigate", {"session": page, "url": address})
            loaded.get(timeout=10)
        title = browser.call("Runtime.evaluate", {"session": page, "expression": "document.title"})
        print("title:", title["result"]["value"])
        Path(picture).write_bytes(base64.b64decode(browser.call("Page.captureScreenshot", {"session": page})["data"]))
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
