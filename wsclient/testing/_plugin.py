"""The pytest plugin: servers and faults as fixtures, and a marker for tests that must leave nothing behind.

pytest loads it where ``wsclient-sdk`` is installed, for suites that have no use for it too. So it imports everything
where it is used; the packages it stands in load their names late.
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
    from ._leaks import Belongings
    from ._replay.replay import Replay
    from ._servers.server import Server

__all__: list[str] = []

MARKER: Final = "ws_no_leaks"
_BEFORE: Final[pytest.StashKey[Belongings]] = pytest.StashKey()


@pytest.fixture
def ws_server() -> Iterator[Server]:
    """A ``wsclient.testing.Server`` that sends each message back; assign its ``handler`` for something else."""
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
    """Plays recordings back: ``ws_replay("session.jsonl", strict=False)`` gives a running ``wsclient.testing.Replay``.

    It takes what ``Replay`` takes. At the end of the test each is closed, and one that is strict fails the test if the
    client did not do what was recorded.
    """
    from ._replay.replay import Replay

    with ExitStack() as replays:
        yield partial(_play, replays, Replay)


def _play(replays: ExitStack, replay: type[Replay], path: str | os.PathLike[str], **options: Any) -> Replay:
    return replays.enter_context(replay(path, **options))


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line(
        "markers",
        f"{MARKER}: the test fails if it leaves an open client of wsclient, a client's thread or a descriptor behind.",
    )


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, Any, Any]:
    """Take down what there is before the test's fixtures."""
    if item.get_closest_marker(MARKER) is not None:
        from ._leaks import Belongings

        item.config.stash[_BEFORE] = Belongings.now()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, Any, Any]:
    """What a fixture of a wider scope makes is there after the test as well, and not its fault."""
    before = None if fixturedef.scope == "function" else request.config.stash.get(_BEFORE, None)
    if before is None:
        return (yield)
    from ._leaks import Belongings

    earlier = Belongings.now()
    try:
        return (yield)
    finally:
        before.add(Belongings.now().without(earlier))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, Any, Any]:
    """Look at what is left once the test's fixtures are gone."""
    before = item.config.stash.get(_BEFORE, None)
    if before is None:
        return (yield)
    from ._leaks import close_clients, left_since, told

    try:
        result = yield
    except BaseException:  # a fixture's own failure says more; the next test is spared all the same
        close_clients(left_since(before).clients)
        raise
    finally:
        del item.config.stash[_BEFORE]
    left = left_since(before)
    if left:
        words = told(left)
        close_clients(left.clients)
        pytest.fail(f"Marker {MARKER}. {words}", pytrace=False)
    return result
