"""Commands: one assignment and one wake-up each, and how several are combined."""

import functools
import itertools
import math

import pytest

from wsclient._errors import ConnectionLost
from wsclient._network.poller import READ, Poller
from wsclient._threads.commands import Commands
from wsclient._threads.waiting import Deadline
from wsclient._threads.wakeup import Wakeup

from ..support.strikes import strikes

ORDERS = {
    "close": lambda commands: commands.order_close(1000, "bye", Deadline(1.0)),
    "drain": lambda commands: commands.order_drain(Deadline(1.0)),
    "reconnect": lambda commands: commands.order_reconnect("because"),
    "drop": lambda commands: commands.order_drop(3, ConnectionLost("gone")),
}


def has_wake_up(wakeup):
    poller = Poller(wakeup)
    ready = poller._poll.poll(0)
    wakeup.clear()
    return [mask for _, mask in ready] == [READ]


def test_each_command_wakes_the_io_thread():
    wakeup = Wakeup()
    commands = Commands()
    commands.attach(wakeup)
    for name, give in ORDERS.items():
        assert not has_wake_up(wakeup), name
        give(commands)
        assert has_wake_up(wakeup), name
    wakeup.close()


def test_commands_given_before_the_io_thread_exists_are_kept():
    commands = Commands()
    for give in ORDERS.values():
        give(commands)
    assert (commands.close.code, commands.close.reason) == (1000, "bye")
    assert commands.drain.at == 1.0
    assert commands.reconnect == "because"
    assert list(commands.drop) == [3]


def test_the_code_and_reason_of_the_first_close_and_the_shortest_deadline_apply():
    commands = Commands()
    commands.order_close(1001, "first", Deadline(10.0))
    commands.order_close(1000, "second", Deadline(5.0))
    commands.order_close(1000, "third", Deadline(7.0))
    order = commands.close
    assert (order.code, order.reason, order.deadline.at) == (1001, "first", 5.0)


def test_the_shortest_deadline_of_several_drains_applies():
    commands = Commands()
    for at in (10.0, None, 5.0, 7.0):
        commands.order_drain(Deadline(at))
    assert commands.drain.at == 5.0


def test_the_reason_of_the_last_reconnect_applies():
    commands = Commands()
    commands.order_reconnect("one")
    commands.order_reconnect("")
    assert commands.reconnect == ""


def test_without_an_io_thread_wake_ups_have_no_effect():
    commands = Commands()
    commands.wake()
    commands.close_descriptors()
    wakeup = Wakeup()
    commands.attach(wakeup)
    commands.close_descriptors()
    assert wakeup.fileno() == -1
    commands.order_drain(Deadline(math.inf))
    commands.attach(None)
    commands.wake()


@pytest.mark.parametrize("name", ORDERS)
def test_an_interrupted_command_is_given_completely_or_not_at_all(name):
    for moment in itertools.count():
        commands = Commands()
        struck = strikes(moment, functools.partial(ORDERS[name], commands))
        assert commands.given or not getattr(commands, name)
        if not struck:
            break
    assert moment > 2
