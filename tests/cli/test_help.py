"""The help of each command has three examples, and they work."""

import contextlib
import json
import os
import pathlib
import queue
import re
import signal
import ssl
import subprocess
import sys
import threading

import pytest
import websockets

import wsclient
from wsclient.cli import main
from wsclient.cli.app import _COMMANDS
from wsclient.testing import Server

from ..support import LONG

ROOT = str(pathlib.Path(wsclient.__file__).parent.parent)
EVENTS = [{"type": "ping"}, {"type": "trade"}, {"type": "other"}]
SHORTER = {"-t 10": "-t 0.2", "-t 30": "-t 0.2", "-n 10000": "-n 50", "--warmup 5": "--warmup 0.1", "--watch 30": ""}
"""What an example does for many seconds, a test does for a short time."""


def answer(connection, message):
    """Echo a request with its id as JSON-RPC, JSON-RPC-like and plain clients expect it."""
    if not message.startswith("{"):
        return message
    request = json.loads(message)
    return {"jsonrpc": "2.0", "id": request.get("id"), "result": request.get("params"), "time": len(message)}


def feed(server, ended):
    """Send some events on each connection."""
    while not ended.is_set():
        with contextlib.suppress(queue.Empty, websockets.ConnectionClosed):
            connection = server.opened.get(timeout=0.1)
            for event in EVENTS:
                connection.send(json.dumps(event))


def examples(command, capsys):
    assert main([command, "--help"]) == 0
    text = capsys.readouterr().out.partition("Examples:")[2].partition("\n\n")[0]
    return [line.strip() for line in text.strip().splitlines()]


@pytest.mark.parametrize("command", _COMMANDS)
def test_each_command_has_three_examples(command, capsys):
    found = examples(command, capsys)
    assert len(found) == 3
    assert all(f"wsclient {command}" in line for line in found)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="the examples are written for POSIX shells")
@pytest.mark.parametrize("command", _COMMANDS)
def test_the_examples_work(command, capsys, tmp_path, authority):
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    ended = threading.Event()
    with Server(answer) as plain, Server(answer, tls=context_of(authority)) as secure:
        feeding = threading.Thread(target=feed, args=(plain, ended))
        if command in ("listen", "record"):
            feeding.start()
        if command == "replay":
            record = "wsclient record localhost:8765 session.jsonl --count 1"
            run(f"""printf '{{"token":"x","id":1}}\\n' | {record}""", plain, secure, tmp_path)
        for line in examples(command, capsys):
            run(line, plain, secure, tmp_path)
        ended.set()
    if command in ("listen", "record"):
        feeding.join(LONG)


def context_of(authority):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    return context


def run(line, plain, secure, folder):
    """Run an example with the addresses of these servers; one that goes on until Ctrl-C gets one."""
    line = line.replace("localhost:8443", f"localhost:{secure.port}")
    line = re.sub(r"localhost:(8765|6800)", f"127.0.0.1:{plain.port}", line)
    for long, short in SHORTER.items():
        line = line.replace(long, short)
    endless = line.startswith("wsclient replay") and "--to" not in line
    if line.startswith("wsclient listen") and "--count" not in line:
        line += " --count 1"
    line = line.replace("wsclient ", f"{sys.executable} -m wsclient ").replace("--port 8765", "")
    environment = {**os.environ, "PYTHONPATH": ROOT, "HOME": str(folder)}
    with subprocess.Popen(
        ["bash", "-c", f"exec {line}" if endless else line],
        cwd=folder, env=environment, text=True, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        if endless:
            assert process.stdout.readline().startswith("ws://")
            process.send_signal(signal.SIGINT)
        try:
            out, err = process.communicate(timeout=LONG)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    is_missed = endless and "--lenient" not in line  # no client came
    assert process.returncode == (1 if is_missed else 0), (line, out, err)
    assert "Traceback" not in err
    assert out or endless or not re.search("-m wsclient (call|listen|probe|bench|demo)", line), line
