"""The client of EventSub in ``examples/services/``."""

import contextlib

import pytest
import tenacity
from serving import answering
from twitch_client import Events
from twitch_server import EventSub

import wsclient

from ..support import LONG, eventually
from ..support.services import printed

KIND = "channel.follow"


@pytest.fixture
def start(run):
    """``start(silence=...)`` returns a service and a client that has subscribed."""
    with contextlib.ExitStack() as stack:

        def start(silence=12, **rules):
            service = EventSub(**rules)
            api = stack.enter_context(answering(service.subscribe))
            soon = wsclient.Reconnect(wait=tenacity.wait_none())
            client = Events(run(service.handle) + "/ws", api, [KIND], silence=silence, reconnect=soon)
            return service, stack.enter_context(client)

        yield start


def numbers_of(client):
    return sorted(event["number"] for event in client.received.values())


@pytest.mark.slow
def test_it_runs():
    assert printed("twitch_client.py") == [
        "201 events, none missing: True",
        "1 renewal, 2 connections, lost: None",
    ]


def test_the_old_connection_is_closed_by_the_client_within_the_grace_time(start):
    service, client = start()
    (old,) = service.sessions.values()
    service.reconnect()
    eventually(lambda: old.id not in service.sessions)
    assert old.connection.close_code == 1000
    assert client.stats.renewals == 1
    service.publish(KIND, {"number": 1})
    eventually(lambda: numbers_of(client) == [1])


def test_after_a_lost_connection_the_client_subscribes_again(start):
    service, client = start()
    (old,) = service.sessions.values()
    old.connection.close_socket()
    eventually(lambda: client.stats.connections == 2 and client.state is wsclient.State.OPEN)
    service.publish(KIND, {"number": 1})
    eventually(lambda: numbers_of(client) == [1])


def test_a_service_without_keepalives_is_left(start):
    """Its connection answers pings, but brings nothing more."""
    _, client = start(silence=0.3)
    eventually(lambda: client.stats.connections >= 2, LONG)
    assert client.stats.renewals >= 1
