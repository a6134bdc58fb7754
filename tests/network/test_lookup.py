"""Name look-ups that block, fail or never end."""

import socket
import threading

import pytest

from wsclient import ConnectError
from wsclient._network import lookup as lookup_module
from wsclient._network.lookup import Lookups
from wsclient._threads.commands import Interrupted

from ..support import LONG, eventually
from ..support.stage import within

ADDRESS = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 80))


class Resolver:
    """Replaces ``getaddrinfo``: a look-up ends when the test answers it.

    Attributes:
        asked: the names that were looked up.
    """

    def __init__(self):
        self.asked = []
        self._may_end = threading.Event()
        self._outcome = []

    def __call__(self, host, port, **options):
        self.asked.append(host)
        self._may_end.wait(LONG)
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome

    def answer(self, outcome):
        """End all look-ups, also later ones, with addresses or an error; return when their threads have ended."""
        self._outcome = outcome
        self._may_end.set()
        eventually(lambda: not threads())

    def hold(self):
        """Later look-ups block again."""
        self._may_end.clear()


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "tester-lookup"]


@pytest.fixture
def resolver(monkeypatch):
    resolver = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    yield resolver
    resolver.answer([])


@pytest.fixture
def lookups(watcher):
    return Lookups(watcher, "tester")


def abandon(lookups, name):
    """Start a look-up that does not end before its deadline."""
    with pytest.raises(ConnectError, match=f"The name '{name}' could not be looked up within open_timeout"):
        lookups.find(name, 80, within(0.01))


def test_the_addresses_are_returned(resolver, lookups):
    resolver.answer([ADDRESS])
    assert lookups.find("here.invalid", 80, within(LONG)) == [ADDRESS]


def test_an_error_of_the_resolver_is_raised(resolver, lookups):
    error = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    resolver.answer(error)
    with pytest.raises(socket.gaierror) as caught:
        lookups.find("here.invalid", 80, within(LONG))
    assert caught.value is error


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_an_address_needs_no_thread(lookups, monkeypatch, address):
    monkeypatch.setattr(threading.Thread, "start", lambda thread: pytest.fail("a thread was started"))
    assert lookups.find(address, 80, within(0))[0][4][:2] == (address, 80)


def test_where_no_thread_can_be_started_the_name_is_looked_up_on_this_one(resolver, lookups, monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    resolver.answer([ADDRESS])
    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert lookups.find("here.invalid", 80, within(LONG)) == [ADDRESS]


def test_a_lookup_that_still_runs_is_not_started_again(resolver, lookups):
    abandon(lookups, "slow.invalid")
    abandon(lookups, "slow.invalid")
    assert len(threads()) == 1
    ender = threading.Timer(0.01, resolver.answer, [[ADDRESS]])
    ender.start()
    assert lookups.find("slow.invalid", 80, within(LONG)) == [ADDRESS]
    ender.join(LONG)
    assert resolver.asked == ["slow.invalid"]


def test_lookups_of_another_port_or_family_are_separate(resolver, lookups):
    abandon(lookups, "slow.invalid")
    for port, family in ((81, socket.AF_UNSPEC), (80, socket.AF_INET)):
        with pytest.raises(ConnectError):
            lookups.find("slow.invalid", port, within(0.01), family)
    assert len(threads()) == 3


def test_the_result_of_an_abandoned_lookup_is_used_once(resolver, lookups):
    abandon(lookups, "slow.invalid")
    resolver.answer([ADDRESS])
    resolver.hold()
    assert lookups.find("slow.invalid", 80, within(0)) == [ADDRESS]
    abandon(lookups, "slow.invalid")


def test_an_old_result_of_an_abandoned_lookup_is_not_used(resolver, lookups, monkeypatch):
    monkeypatch.setattr(lookup_module, "_FRESH", 0.0)
    abandon(lookups, "slow.invalid")
    resolver.answer([])
    resolver.answer([ADDRESS])
    assert lookups.find("slow.invalid", 80, within(LONG)) == [ADDRESS]


def test_after_an_abandoned_lookup_failed_another_one_is_made(resolver, lookups):
    abandon(lookups, "slow.invalid")
    resolver.answer(socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"))
    resolver.answer([ADDRESS])
    assert lookups.find("slow.invalid", 80, within(LONG)) == [ADDRESS]


def test_the_number_of_lookups_that_run_is_bounded(resolver, lookups):
    for number in range(2 * lookup_module._MAX_RUNNING):
        abandon(lookups, f"slow-{number}.invalid")
    eventually(lambda: len(resolver.asked) >= lookup_module._MAX_RUNNING)
    assert len(resolver.asked) == len(threads()) == lookup_module._MAX_RUNNING
    resolver.answer([ADDRESS])
    assert lookups.find("other.invalid", 80, within(LONG)) == [ADDRESS]


def test_a_command_ends_the_wait(resolver, lookups, watcher):
    failed = []

    def find():
        try:
            lookups.find("slow.invalid", 80, within(LONG))
        except Interrupted as error:
            failed.append(error)

    waiting = threading.Thread(target=find)
    waiting.start()
    assert watcher.waits.wait(LONG)
    watcher.order()
    waiting.join(LONG)
    assert failed
    assert len(threads()) == 1
