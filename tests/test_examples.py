"""Every example, run like a reader would run it."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import pytest

from .support.node import NODE, npm
from .support.ocpp import PYTHON, CentralSystem, has_ocpp  # noqa: F401  (for the mark)
from .support.program import Program, free_port

EXAMPLES = pathlib.Path(__file__).parent.parent / "examples"

LONGER = {
    "own_protocol.py": 75,  # a protocol and the server for it
    "chat_room.py": 100,  # a server, its page, and two clients
    "live_data.py": 85,  # a server, its page, and a client
}
"""The maximum number of lines of the examples that contain several programs; others have 40."""


def run(name, *arguments, server_may_complain=False, **environment):
    command = [sys.executable, "-u", str(EXAMPLES / name), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, **environment})
    assert done.returncode == 0, done.stderr
    assert server_may_complain or "Traceback" not in done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def echo_server():
    process = subprocess.Popen(
        [sys.executable, str(EXAMPLES / "echo_server.py"), "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    yield re.search(r"ws://\S+", process.stdout.readline())[0]
    process.terminate()
    process.communicate(timeout=30)


def test_hello_client_runs(echo_server):
    lines = run("hello_client.py", echo_server)
    assert lines == ["message: Echo: Hello, server!", "closed: 1000"] * 2


def test_request_reply_runs(echo_server):
    lines = run("request_reply.py", echo_server)
    assert lines[:4] == [
        "1 + 2 = 3",
        "doubled: 0 2 4 6 8 10 12 14 16 18",
        "plus one: 1 2 3 4 5",
        "Echo: no id in plain text",
    ]
    assert lines[4].startswith("RequestTimeout:")
    assert lines[5] == "17 requests answered"


@pytest.mark.slow
def test_your_client_runs():
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-n0",
        "-p",
        "no:cacheprovider",
        str(EXAMPLES / "test_your_client.py"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=EXAMPLES)
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout


@pytest.mark.slow
def test_chat_room_runs():
    # Up to websockets 16 the server logs a refused handshake with a traceback.
    *heard, refused = run("chat_room.py", server_may_complain=True)
    assert sorted(heard) == [f"{name} heard ['Ann', 'Bob', 'Cleo']" for name in ("Ann", "Bob", "Cleo")]
    assert refused == "a page of another site is refused with HTTP 403"


@pytest.mark.slow
def test_live_data_runs():
    lines = run("live_data.py")
    prices = [float(line.removeprefix("price: ")) for line in lines if line.startswith("price: ")]
    assert len(prices) == 15
    assert all(85 < price < 115 for price in prices)
    assert sum(line.startswith("cut: the peer closed the connection") for line in lines) >= 2
    (numbers,) = re.findall(r"(\d+) connections, (\d+) gaps", "\n".join(lines))
    assert int(numbers[0]) >= 3
    assert int(numbers[1]) >= 2


@pytest.mark.slow
def test_protocol_tour_runs():
    # Up to websockets 16 the server logs a refused handshake with a traceback.
    assert run("protocol_tour.py", server_may_complain=True) == [
        "upgraded to websocket",
        "got you did not ask: either side may speak at any time",
        "got a text frame",
        "got b'a binary frame'",
        "got {'JSON': 'in a text frame'}",
        "a ping was answered: True",
        "closed with 1000 the tour is over",
        "another origin is refused with HTTP 403",
    ]


def test_every_example_is_listed_and_short_and_run_here():
    files = {path.name for path in EXAMPLES.glob("*.py")}
    listed = set(re.findall(r"\]\((\w+\.py)\)", (EXAMPLES / "README.md").read_text(encoding="utf-8")))
    assert listed == files
    for name in files:
        assert 10 <= len((EXAMPLES / name).read_text(encoding="utf-8").splitlines()) <= LONGER.get(name, 40), name
        assert name.removesuffix(".py") in pathlib.Path(__file__).read_text(encoding="utf-8"), name


def test_every_page_is_short_and_needs_no_other_host():
    pages = set((EXAMPLES / "pages").glob("*.html"))
    assert {page.stem for page in pages} == {"chat_room", "live_data"}
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 80, page
        assert re.findall(r"(?:src|href)=\"([^\"]*)", text) == ["data:,"], page  # and no icon is requested
        assert "innerHTML" not in text, page  # the text of other people must stay text


def test_every_service_is_listed_and_short_and_tested():
    folder = EXAMPLES / "services"
    files = {path.name for path in folder.glob("*.py")}
    listed = set(re.findall(r"\]\(services/(\w+\.py)\)", (EXAMPLES / "README.md").read_text(encoding="utf-8")))
    assert listed == files
    tested = {path.name.removeprefix("test_") for path in pathlib.Path(__file__).parent.joinpath("examples").glob("*")}
    assert files - tested == {"serving.py"}  # all others use it
    for name in files:
        assert len((folder / name).read_text(encoding="utf-8").splitlines()) <= 120, name


@pytest.mark.slow
def test_replay_offline_runs():
    *first, changed = run("replay_offline.py")
    assert first == [
        "recorded: welcome, ann: 3",
        "the password is in the file: False",
        "played back: welcome, ann: 3",
    ]
    expected = '{"id":2,"jsonrpc":"2.0","method":"add","params":[1,2]}'
    assert changed == f"changed: expected {expected}, got {expected.replace('2]', '3]')}."


@pytest.mark.slow
def test_own_protocol_runs():
    assert run("own_protocol.py") == ["answer: desserts", "error: nothing to turn", "items: one two three"]


@pytest.mark.servers
@pytest.mark.skipif(shutil.which("aria2c") is None, reason="ARIA2 IS MISSING: json_rpc.py is not run")
def test_json_rpc_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # the folder for its download
    version, downloaded = run("json_rpc.py")
    assert re.fullmatch(r"aria2 [\d.]+", version)
    (file,) = tmp_path.glob("*/*")
    size = file.stat().st_size
    assert size > 0
    assert downloaded == f"downloaded {size} of {size} bytes: {file}"


class GraphQL(Program):
    def __init__(self, home):
        self.port = free_port()
        server = pathlib.Path(__file__).parent / "servers" / "graphql_server.cjs"
        super().__init__(home, [NODE, server, str(self.port)])


@pytest.mark.servers
@pytest.mark.skipif(
    npm("graphql-ws", "graphql", "ws") is None,
    reason="GRAPHQL-WS IS MISSING: graphql_subscription.py is not run",
)
def test_graphql_subscription_runs(tmp_path):
    with GraphQL(tmp_path) as server:
        assert run("graphql_subscription.py", f"ws://127.0.0.1:{server.port}/") == [
            "{'data': {'add': 42}}",
            "count: 1",
            "count: 2",
            "count: 3",
            "ticks: 1 2 3",
            "ticks: 1 2 3",
            "2 connections, 1 gap",
            'RemoteError: The server answered with error: Cannot query field "nope" on type "Query".',
        ]


@pytest.mark.servers
@pytest.mark.skipif("not has_ocpp()", reason="OCPP IS MISSING: ocpp_payloads.py is not run; see tests/README.md")
def test_ocpp_payloads_runs(tmp_path):
    with CentralSystem(tmp_path, "1.6") as central:
        command = [PYTHON, str(EXAMPLES / "ocpp_payloads.py"), central.url]
        env = {**os.environ, "PYTHONPATH": str(EXAMPLES.parent)}
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=env)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["boot: Accepted 1", "its call: Accepted hello"]


@pytest.mark.servers
@pytest.mark.skipif(shutil.which("chromium") is None, reason="CHROMIUM IS MISSING: chrome_devtools.py is not run here")
def test_chrome_devtools_runs(tmp_path):
    picture = tmp_path / "page.png"
    with tempfile.TemporaryDirectory(prefix="example-") as scratch:  # socket names have a maximum length
        assert run("chrome_devtools.py", str(picture), TMPDIR=scratch) == ["title: A page"]
        assert os.listdir(scratch) == []
    assert picture.read_bytes().startswith(b"\x89PNG")
