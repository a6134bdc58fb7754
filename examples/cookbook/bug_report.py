"""Record what a bug report needs: the messages, the log, the versions; without the secrets.

Why: "it sometimes hangs" can't be examined; a recording can be read, and played back without the server.
How: ``record=`` writes each connection and message, with its time, into a file. Passwords, tokens and cookies are
redacted by their names; add yours with ``redact=``. The logger ``wsclient`` tells why connections were lost.
Play it back: ``wsclient replay session.jsonl``, or ``wsclient.testing.Replay`` (see ``replay_offline.py``).

Change: the folder, ``redact=``, and the part of your program between "from here" and "to here".
Run: python examples/cookbook/bug_report.py
"""

import json
import logging
import pathlib
import platform
import tempfile

import wsclient
from wsclient.testing import Server


def write_report(folder, url):
    log = logging.FileHandler(folder / "log.txt")
    log.setFormatter(logging.Formatter("%(asctime)s %(threadName)s %(levelname)s %(message)s"))
    logging.getLogger("wsclient").addHandler(log)
    logging.getLogger("wsclient").setLevel(logging.DEBUG)
    recording = wsclient.Recording(folder / "session.jsonl", redact=["pin"])
    with wsclient.connect(url, record=recording) as client:
        client.request({"op": "login", "password": "sesame", "pin": 1234})  # from here
        client.request({"op": "balance"})  # to here
    versions = f"wsclient {wsclient.__version__}, Python {platform.python_version()}, {platform.platform()}"
    (folder / "report.txt").write_text(f"{versions}\n{client.stats}\n{client.last_disconnect}\n", "utf-8")
    logging.getLogger("wsclient").removeHandler(log)
    log.close()


if __name__ == "__main__":
    with (
        tempfile.TemporaryDirectory() as name,
        Server(lambda connection, text: {"id": json.loads(text)["id"], "balance": 42}) as server,
    ):
        folder = pathlib.Path(name)
        write_report(folder, server.url)
        files = {path.name: path.read_text("utf-8") for path in sorted(folder.iterdir())}
        print("files:", *files)
        print("messages are in it:", "balance" in files["session.jsonl"])
        print("secrets are in it:", any(secret in text for text in files.values() for secret in ("sesame", "1234")))
