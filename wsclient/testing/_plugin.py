"""The pytest plugin: fixtures for servers and network faults, and a marker for tests that must clean up.

pytest loads it in each environment in which ``wsclient-sdk`` is installed, even for test suites that do not use it. So
modules of ``wsclient`` are imported only inside the functions that need them. The packages ``wsclient`` and
``wsclient.testing``, which are imported before the plugin, import their names on first use too.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from ._fault_proxy.proxy import FaultProxy
    from ._leaks import Resources
    from ._replay.replay import Replay
    from ._servers.server import Server

__all__: list[str] = []

MARKER: Final = "ws_no_leaks"
_BEFORE: Final[pytest.StashKey[Resources]] = pytest.StashKey()


@pytest.fixture
def ws_server() -> Iterator[Server]:
    """A ``wsclient.testing.Server`` that sends each message back; assign its ``handler`` to change its answers."""
    from ._servers.server import Server

    with Server() as server:
        yield server


@pytest.fixture
def ws_proxy(ws_server: Server) -> Iterator[FaultProxy]:
    """A ``wsclient.testing.FaultProxy`` in front of ``ws_server``: connect to its ``url``."""
    from ._fault_proxy.proxy import FaultProxy

    with FaultProxy(ws_server.url) as proxy:
        yield proxy


@pytest.fixture
def ws_replay() -> Iterator[Callable[..., Replay]]:
    """Replays recordings: ``ws_replay("session.jsonl", strict=False)`` returns a running ``Replay``.

    The arguments are those of ``Replay``. At the end of the test each replay is closed; a strict one fails the test if
    the client did not do what was recorded.
    """
    from ._replay.replay import Replay

    with ExitStack() as replays:
        yield partial(_play, replays, Replay)


def _play(replays: ExitStack, replay: type[Replay], path: str | os.PathLike[str], **options: Any) -> Replay:
    return replays.enter_context(replay(path, **options))


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line(
        "markers",
        f"{MARKER}: the test fails if it leaves a client of wsclient, a client's thread or a file descriptor open.",
    )


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, Any, Any]:
    """List the resources before the test's fixtures are set up."""
    if item.get_closest_marker(MARKER) is not None:
        from ._leaks import Resources

        item.config.stash[_BEFORE] = Resources.now()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, Any, Any]:
    """Exclude the resources that a fixture of a wider scope creates, since they must still exist after the test."""
    before = None if fixturedef.scope == "function" else request.config.stash.get(_BEFORE, None)
    if before is None:
        return (yield)
    from ._leaks import Resources

    earlier = Resources.now()
    try:
        return (yield)
    finally:
        before.add(Resources.now().without(earlier))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, Any, Any]:
    """Check which resources remain after the teardown of the test's fixtures."""
    before = item.config.stash.get(_BEFORE, None)
    if before is None:
        return (yield)
    from ._leaks import close_clients, describe, left_since

    try:
        result = yield
    except BaseException:  # the failure of the fixture is reported; the clients are closed for the next test
        close_clients(left_since(before).clients)
        raise
    finally:
        del item.config.stash[_BEFORE]
    left = left_since(before)
    if left:
        words = describe(left)
        close_clients(left.clients)
        pytest.fail(f"Marker {MARKER}. {words}", pytrace=False)
    return result
