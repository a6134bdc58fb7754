"""The bot of ``examples/services/``, at a gateway with Discord's rules."""

import contextlib

import pytest
import tenacity
from discord_client import Bot
from discord_server import Gateway

import wsclient

from ..support import LONG, eventually
from ..support.services import printed

TOKEN = "secret"
SOON = wsclient.Reconnect(wait=tenacity.wait_none())


@pytest.fixture
def start(run):
    """``start(...)`` returns a gateway with these rules, and a bot that has got READY."""
    bots = []

    def start(**rules):
        gateway = Gateway(TOKEN, **rules)
        bots.append(Bot(run(gateway.handle), TOKEN, reconnect=SOON, ping_timeout=1.5).start())
        assert bots[-1].events.get(timeout=LONG)[0] == "READY"
        return gateway, bots[-1]

    yield start
    for bot in bots:
        bot.close()


def names_of(bot, count):
    return [bot.events.get(timeout=LONG)[0] for _ in range(count)]


@pytest.mark.slow
def test_it_runs():
    assert printed("discord_client.py") == [
        "READY",
        "MESSAGE_CREATE {'content': 'hello'}",
        "MESSAGE_CREATE {'content': 'while the bot was away'}",
        "RESUMED",
        "2 connections, 1 session",
    ]


def test_no_event_is_missed_and_none_comes_twice_whenever_the_connection_is_lost(start):
    gateway, bot = start()
    (session,) = gateway.sessions.values()
    for number in range(40):
        gateway.dispatch("MESSAGE_CREATE", {"number": number})
        if number % 10 == 5:
            lost = session.connection
            lost.close_socket()
            eventually(lambda: session.connection is not lost)  # noqa: B023
    numbers = []
    while numbers[-1:] != [39]:
        name, data = bot.events.get(timeout=LONG)
        numbers += [data["number"]] if name == "MESSAGE_CREATE" else []
    assert numbers == list(range(40))
    assert len(gateway.sessions) == 1


def test_an_invalid_session_that_is_resumable_is_resumed(start):
    gateway, bot = start()
    gateway.invalid = [True]
    gateway.reconnect()
    assert names_of(bot, 1) == ["RESUMED"]
    assert len(gateway.sessions) == 1


def test_an_invalid_session_is_replaced(start):
    gateway, bot = start()
    gateway.invalid = [False]
    gateway.reconnect()
    assert names_of(bot, 1) == ["READY"]
    assert len(gateway.sessions) == 2  # the gateway forgets the first one later


def test_the_bot_sends_heartbeats_in_the_interval_of_the_gateway(start):
    gateway, bot = start(interval=0.15, tolerance=200)
    (session,) = gateway.sessions.values()
    before = bot.stats.messages_sent
    eventually(lambda: bot.stats.messages_sent >= before + 3)
    assert bot.stats.connections == 1
    assert session.connection.close_code is None


def test_a_connection_without_acknowledgements_is_replaced_and_the_session_resumed(start):
    gateway, bot = start(interval=0.2, tolerance=150)
    gateway.silent = True
    eventually(lambda: bot.last_disconnect)
    lost = bot.last_disconnect
    gateway.silent = False
    assert names_of(bot, 1) == ["RESUMED"]
    assert lost.initiator == "keepalive"
    assert len(gateway.sessions) == 1


def test_a_wrong_token_is_fatal(run):
    bot = Bot(run(Gateway(TOKEN).handle), "wrong", reconnect=SOON)
    with contextlib.suppress(wsclient.ClientClosed):  # it may be over before start() returns
        bot.start()
    assert bot.wait_closed(LONG)
    assert bot.state is wsclient.State.FAILED
    assert bot.last_disconnect.code == 4004
