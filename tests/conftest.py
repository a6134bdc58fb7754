"""Fixtures, and the check of resources that a test leaves."""

import collections
import contextlib
import gc
import importlib
import os
import pathlib
import signal
import socket
import ssl
import sys

import hypothesis
import pytest
import trustme

from wsclient.testing._leaks import Resources, close_clients, describe, left_since

from .support import LONG, FaultProxy, RawServer, Server
from .support.hanging import HANG, HANG_SLOW, fails_if_it_hangs
from .support.peers import open_against
from .support.stage import Hang, Stage, Watcher

BYTECODE = pathlib.Path(__file__).parent.parent / "build" / "bytecode"
"""The folder of compiled modules if the environment forbids them beside the sources."""

if sys.dont_write_bytecode:
    # Each worker and each of some hundred child processes would compile all modules again.
    sys.dont_write_bytecode, sys.pycache_prefix = False, str(BYTECODE)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = str(BYTECODE)

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell without job control starts its background jobs like this; tests of Ctrl-C need Python's own handler.
    signal.signal(signal.SIGINT, signal.default_int_handler)

EXPLORE = "EXPLORE" in os.environ
hypothesis.settings.register_profile(
    "wsclient",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
    derandomize=not EXPLORE,
    max_examples=1000 if EXPLORE else 25,
    stateful_step_count=30,
)
hypothesis.settings.load_profile("wsclient")
"""The one profile of all property tests. No example has a time limit, since a busy machine exceeds any. The examples
are the same few in each run; with ``EXPLORE`` in the environment (``nox -s long``) they are new ones, and many."""

NOT_RUN = {
    "slow": "most examples, minutes of load, thousands of reconnects, time that has to pass",
    "network": "unplugged cables and lost packets between network namespaces",
    "servers": "nginx, Chromium, aria2 and other programs; see tests/README.md",
}
"""The markers that the plain command omits, and the subjects of their tests."""


def pytest_xdist_auto_num_workers(config):
    """Four workers for each core, since most tests wait for sockets and threads; but at most sixteen.

    Each worker collects all tests, which takes it five seconds of processor time. On a machine whose cores are busy,
    more workers get a larger part of the time: of two cores beside two busy loops, 10 workers needed 168 s, 6 needed
    192 s.
    """
    return min(4 * (os.cpu_count() or 1), 16)


def pytest_sessionstart(session):
    """Start the collection: without the garbage collector, which would check all objects and find no garbage.

    A worker imports its share of the test modules before it collects all of them.

    In a fresh checkout pytest rewrites and compiles each module that it collects. All workers collect in the same
    order, so each of them would compile each module; this way one compiles it and the others read the result.
    """
    gc.disable()
    worker = getattr(session.config, "workerinput", None)
    if worker is None or session.config.args_source is not pytest.Config.ArgsSource.TESTPATHS:
        return
    root = pathlib.Path(__file__).parent
    share = sorted(root.rglob("test_*.py"))[int(worker["workerid"].removeprefix("gw")) :: worker["workercount"]]
    for path in share:
        # The collection imports it again, and reports errors.
        with contextlib.suppress(Exception, pytest.skip.Exception):
            importlib.import_module(".".join(path.relative_to(root.parent).with_suffix("").parts))


def pytest_collection_modifyitems(items):
    """All tests in ``tests/servers/`` use programs of other projects."""
    for item in items:
        if "servers" in item.path.parts:
            item.add_marker("servers")


def pytest_collection_finish():
    """Exclude thousands of permanent objects from garbage collection; many tests call it."""
    gc.freeze()
    gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_deselected(items):
    """Count the tests of each marker that this run omits."""
    for item in items:
        for marker in NOT_RUN:
            if item.get_closest_marker(marker):
                item.config.stash.setdefault(left_out, collections.Counter())[marker] += 1
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """A test that hangs, also in a fixture, fails with the stacks of all threads, and the next test is run."""
    with fails_if_it_hangs(HANG_SLOW if item.get_closest_marker("slow") else HANG):
        return (yield)


def pytest_enter_pdb():
    """A debugger may wait for its user."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, 0)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    """No proxy of the machine is used between the tests and their servers on loopback."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def nothing_left():
    """A test must leave no client open and no thread of one; if it fails, later tests are not affected."""
    before = Resources.of_clients()
    yield
    left = left_since(before, LONG, Resources.of_clients)
    if left:
        words = describe(left)
        close_clients(left.clients)
        pytest.fail(words, pytrace=False)


@pytest.fixture
def server():
    with Server() as server:
        yield server


@pytest.fixture
def mute_server():
    """Accepts messages and does not answer."""
    with Server(lambda connection, message: None) as server:
        yield server


@pytest.fixture
def raw():
    with RawServer() as raw:
        yield raw


@pytest.fixture
def proxy(server):
    with FaultProxy(server.port) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def authority():
    """Signs certificates that only ``trusting`` accepts."""
    return trustme.CA()


@pytest.fixture
def ca_file(authority, tmp_path):
    """The path of the certificate of ``authority``, as a PEM file."""
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path


@pytest.fixture(scope="module")
def server_tls(authority):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def trusting(authority):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # not the system's authorities: to load them takes 50 ms
    authority.configure_trust(context)
    return context


@pytest.fixture
def dead():
    """A port without a listener."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


@pytest.fixture
def hang():
    """A function that blocks until the end of the test, or until ``hang.release()``."""
    hang = Hang()
    yield hang
    hang.release()


@pytest.fixture
def hanging_lookup(hang, monkeypatch):
    """From the call ``hanging_lookup(name)`` on, the look-up of this name blocks like ``hang``."""
    look_up = socket.getaddrinfo

    def make_hang(name):
        def getaddrinfo(host, *args, **options):
            return (hang if host == name else look_up)(host, *args, **options)

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        hang.result = []

    return make_hang


@pytest.fixture
def watcher():
    watcher = Watcher()
    yield watcher
    watcher.close()


@pytest.fixture
def stage():
    """``stage(act, ...)`` is a server that runs these actions."""
    with contextlib.ExitStack() as stack:
        yield lambda *acts, tls=None: stack.enter_context(Stage(*acts, tls=tls))


@pytest.fixture
def against(raw):
    """Opens a client like ``open_against``, and closes it at the end."""
    clients = []

    def open_one(**options):
        client, peer, seen = open_against(raw, **options)
        clients.append(client)
        return client, peer, seen

    yield open_one
    for client in clients:
        client.close(timeout=0)


@pytest.fixture
def figures(request):
    """Lines for the end of the report: measurements of a test."""

    def record(*lines):
        request.node.user_properties.append(("figures", "\n".join(lines)))

    return record


left_out = pytest.StashKey[collections.Counter]()


def pytest_sessionfinish(session):
    """A worker of pytest-xdist reports its counts to the process that prints the summary."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left_out"] = dict(session.config.stash.get(left_out, {}))


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    """Each worker collects all tests, so the counts of any worker are those of the run."""
    node.config.stash[left_out] = collections.Counter(getattr(node, "workeroutput", {}).get("left_out", {}))


def pytest_terminal_summary(terminalreporter):
    """Print the measurements that tests have recorded, then a line for each marker that was omitted."""
    print_figures(terminalreporter)
    for marker, count in terminalreporter.config.stash.get(left_out, {}).items():
        command = f"python -m pytest -m {marker}"
        terminalreporter.write_line(f"NOT RUN: {count:3} tests marked {marker:7} ({NOT_RUN[marker]}): {command}")


def print_figures(terminalreporter):
    """The lines that tests gave to the fixture ``figures``."""
    reports = [report for name in ("passed", "failed") for report in terminalreporter.getreports(name)]
    texts = [text for report in reports for name, text in getattr(report, "user_properties", ()) if name == "figures"]
    if texts:
        terminalreporter.section("figures")
        for text in texts:
            terminalreporter.write_line(text)
