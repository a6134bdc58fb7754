"""The pytest plugin, in separate sessions."""

import pytest

pytest_plugins = ["pytester"]

NO_LEAKS = """
import socket, threading, pytest, wsclient
pytestmark = pytest.mark.ws_no_leaks
"""


@pytest.fixture
def run(pytester):
    """Run a test file with the plugin as it is installed; return the outcome."""

    def run(text, *arguments):
        pytester.makepyfile(text)
        without = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-p", "no:xdist")  # reduces the time by half
        return pytester.runpytest_subprocess(*without, "-W", "error", *arguments)

    return run


@pytest.mark.slow
def test_the_fixtures_work_with_a_client(run):
    run("""
        import wsclient

        def test_server(ws_server):
            with wsclient.connect(ws_server.url, protocol=wsclient.Fifo()) as client:
                assert client.request("x", timeout=15) == "x"
            ws_server.handler = lambda connection, message: "other"
            with wsclient.connect(ws_server.url, protocol=wsclient.Fifo()) as client:
                assert client.request("x", timeout=15) == "other"

        def test_proxy(ws_server, ws_proxy):
            with wsclient.connect(ws_proxy.url, protocol=wsclient.Fifo()) as client:
                ws_proxy.cut()
                assert client.request("x", timeout=15, idempotent=True) == "x"
            assert ws_server.received[-1] == "x"
            assert ws_proxy.stats.cut == 1

        def test_replay(ws_server, ws_replay, tmp_path):
            tape = tmp_path / "session.jsonl"
            def script(url, **options):
                with wsclient.connect(url, protocol=wsclient.Fifo(), **options) as client:
                    return client.request("x", timeout=15)
            live = script(ws_server.url, record=tape)
            assert script(ws_replay(tape).url) == live
    """).assert_outcomes(passed=3)


@pytest.mark.slow
def test_a_strict_replay_fails_a_test_with_different_messages(run):
    result = run("""
        import wsclient

        def test_replay(ws_server, ws_replay, tmp_path):
            tape = tmp_path / "session.jsonl"
            with wsclient.connect(ws_server.url, record=tape) as client:
                client.send("recorded")
                client.flush()
            replay = ws_replay(tape)
            with wsclient.connect(replay.url, reconnect=None) as client:
                client.send("something else")
                client.wait_closed(15)
    """)
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*ReplayMismatch*"])


@pytest.mark.slow
def test_the_marker_is_registered_and_a_test_without_it_is_not_affected(run):
    run(
        """
        import pytest, wsclient

        kept = []

        def test_leaks(ws_server):
            kept.append(wsclient.connect(ws_server.url))

        def test_clean_up():
            kept.pop().close()
        """,
        "--strict-markers",
    ).assert_outcomes(passed=2)


@pytest.mark.slow
def test_a_test_without_leaks_passes(run):
    run(
        NO_LEAKS
        + """
def test_clean(ws_server, ws_proxy):
    with wsclient.connect(ws_proxy.url, on_message=lambda client, message: None) as client:
        client.send("x")
        client.flush()

def test_closed_without_waiting(ws_server):
    client = wsclient.connect(ws_server.url)
    client.close(wait=False)
    """
    ).assert_outcomes(passed=2)


@pytest.mark.slow
def test_a_client_that_is_still_closing_gets_time_to_end(run):
    """Its peer never answers the close frame, so it is still closing when the test ends."""
    run(
        NO_LEAKS
        + """
from wsclient.testing import RawServer

def never_closes_first(peer):
    peer.upgrade()
    while peer.sock.recv(65536):
        pass

@pytest.fixture(scope="module")
def server():
    with RawServer(never_closes_first) as server:
        yield server

def test_closing(server):
    client = wsclient.connect(server.url)
    client.close(timeout=0.5, wait=False)
    assert client.state is not wsclient.State.CLOSED

def test_for_which_the_server_stays(server):
    pass
    """
    ).assert_outcomes(passed=2)


def test_an_open_client_fails_its_test_and_no_other(run):
    result = run(
        NO_LEAKS
        + """
kept = []

def test_leaks(ws_server):
    kept.append(wsclient.connect(ws_server.url, name="forgotten"))

def test_next():
    assert kept[0].state is wsclient.State.CLOSED
    """
    )
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*wsclient.Client 'forgotten'* is open: close() it*"])


@pytest.mark.slow
def test_a_remaining_thread_fails_the_test(run):
    result = run(
        NO_LEAKS
        + """
gate = threading.Event()

def test_leaks(ws_server):
    entered = threading.Event()
    client = wsclient.connect(ws_server.url, name="busy", on_pong=lambda client, data: (entered.set(), gate.wait(30)))
    client.flush()
    assert entered.wait(15)
    client.close(timeout=0)

def test_next():
    gate.set()
    """
    )
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*The thread 'busy-hooks' of a client still runs*"])


@pytest.mark.slow
def test_a_remaining_descriptor_fails_the_test(run):
    result = run(
        NO_LEAKS
        + """
kept = []

def test_leaks():
    kept.append(socket.socket())

def test_next():
    kept.pop().close()
    """
    )
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*The file descriptor * is open: socket:*"])


@pytest.mark.slow
def test_a_resource_of_a_fixture_with_a_wider_scope_is_not_a_leak(run):
    run(
        NO_LEAKS
        + """
from wsclient.testing import Server

@pytest.fixture(scope="module")
def client():
    with Server() as server, wsclient.connect(server.url, on_message=lambda client, message: None) as client:
        yield client

def test_first(client):
    client.send("x")

def test_second(client):
    client.flush()
    """
    ).assert_outcomes(passed=2)


@pytest.mark.slow
def test_the_failure_of_the_test_is_reported_together_with_its_leak(run):
    result = run(
        NO_LEAKS
        + """
kept = []

def test_leaks(ws_server):
    kept.append(wsclient.connect(ws_server.url))
    assert False, "its own"
    """
    )
    result.assert_outcomes(failed=1, errors=1)
    result.stdout.fnmatch_lines(["*its own*"])


@pytest.mark.slow
def test_a_resource_that_is_ending_is_not_a_leak(run):
    run(
        NO_LEAKS
        + """
def close_soon(pair):
    threading.Event().wait(0.3)
    for sock in pair:
        sock.close()

def test_clean():
    threading.Thread(target=close_soon, args=(socket.socketpair(),)).start()
"""
    ).assert_outcomes(passed=1)


@pytest.mark.slow
def test_a_fixture_that_fails_in_its_teardown_fails_no_other_test(run):
    result = run("""
        import pytest, socket, wsclient
        from wsclient._threads import processes as _processes

        @pytest.fixture
        def broken():
            yield
            raise RuntimeError("the fixture's own failure")

        kept = []

        @pytest.mark.ws_no_leaks
        def test_leaks(ws_server, broken):
            kept.extend(socket.socketpair())
            kept.append(wsclient.connect(ws_server.url))

        def test_next():
            assert not _processes._running_clients

        def test_last():
            kept[0].close(), kept[1].close()
    """)
    result.assert_outcomes(passed=3, errors=1)
    result.stdout.fnmatch_lines(["*RuntimeError: the fixture's own failure*"])


HEAVY = {"wsclient._client.client", "websocket", "websockets", "trustme", "tenacity"}


@pytest.mark.slow
def test_the_plugin_imports_no_large_module_in_a_suite_that_does_not_use_it(run):
    run(f"""
        import sys

        def test_modules(pytestconfig):
            assert pytestconfig.pluginmanager.get_plugin("wsclient") is sys.modules["wsclient.testing._plugin"]
            assert not {HEAVY} & set(sys.modules)
    """).assert_outcomes(passed=1)


@pytest.mark.slow
def test_the_marker_needs_no_server(run):
    run("""
        import pytest, sys

        @pytest.mark.ws_no_leaks
        def test_modules():
            assert "wsclient.testing._leaks" in sys.modules
            assert not {"websockets", "trustme"} & set(sys.modules)
    """).assert_outcomes(passed=1)


@pytest.mark.slow
def test_a_name_lookup_that_hangs_is_not_a_leak(run):
    run(
        NO_LEAKS
        + """
release = threading.Event()

def test_look_up(monkeypatch):
    def getaddrinfo(*args, **options):
        with socket.socket():  # like that of a resolver
            release.wait(30)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(wsclient.ConnectError, match="could not be looked up"):
        wsclient.connect("ws://slow.invalid/", open_timeout=0.1)

def test_release():
    release.set()
"""
    ).assert_outcomes(passed=2)
