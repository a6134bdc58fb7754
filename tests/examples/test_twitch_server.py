"""The server that follows the rules of Twitch's EventSub, rule by rule."""

import json
import urllib.error
import urllib.request

import pytest
from serving import answering
from twitch_server import EventSub

from ..support.services import closing, guest, take


@pytest.fixture
def start(run):
    """``start(keepalive=...)`` returns a service and the URL of its server."""

    def start(**rules):
        service = EventSub(**rules)
        return service, run(service.handle) + "/ws"

    return start


def subscribe(service, welcome, kind="channel.follow"):
    transport = {"method": "websocket", "session_id": welcome["payload"]["session"]["id"]}
    return service.subscribe({"type": kind, "transport": transport})[0]


def kind_of(message):
    return message["metadata"]["message_type"]


def test_a_session_begins_with_a_welcome_and_its_subscriptions_with_a_post(start):
    service, url = start()
    with guest(url) as connection, answering(service.subscribe) as api:
        session = take(connection)["payload"]["session"]
        assert (session["status"], session["keepalive_timeout_seconds"]) == ("connected", 10)
        body = {"type": "channel.follow", "transport": {"method": "websocket", "session_id": session["id"]}}
        with urllib.request.urlopen(api, json.dumps(body).encode()) as answer:
            assert (answer.status, json.load(answer)["data"][0]["status"]) == (202, "enabled")
        with pytest.raises(urllib.error.HTTPError, match="409"):
            urllib.request.urlopen(api, json.dumps(body).encode())
        service.publish("channel.raid", {})
        service.publish("channel.follow", {"user": "ann"})
        event = take(connection)
        assert (kind_of(event), event["payload"]["event"]) == ("notification", {"user": "ann"})


def test_nothing_can_be_subscribed_to_without_a_session(start):
    service, _ = start()
    assert service.subscribe({"type": "channel.follow", "transport": {"session_id": "gone"}})[0] == 400


def test_a_session_without_a_subscription_is_closed(start):
    _, url = start(unused=0.1)
    with guest(url) as connection:
        assert closing(connection) == (4003, "connection unused")


def test_a_client_that_sends_is_closed(start):
    _, url = start()
    with guest(url) as connection:
        connection.send("hello")
        assert closing(connection) == (4001, "sent inbound traffic")


def test_silence_is_interrupted_by_keepalives(start):
    service, url = start(keepalive=0.05)
    with guest(url) as connection:
        subscribe(service, take(connection))
        assert [kind_of(take(connection)) for _ in range(3)] == ["session_keepalive"] * 3


def test_the_old_connection_serves_until_the_welcome_of_the_new_one(start):
    service, url = start()
    with guest(url) as old:
        subscribe(service, take(old))
        service.reconnect()
        asked = take(old)["payload"]["session"]
        assert asked["status"] == "reconnecting"
        service.publish("channel.follow", {"n": 1})
        assert take(old)["payload"]["event"] == {"n": 1}
        with guest(asked["reconnect_url"]) as new:
            welcome = take(new)
            assert kind_of(welcome) == "session_welcome"
            service.publish("channel.follow", {"n": 2})
            assert take(new)["payload"]["event"] == {"n": 2}
            assert subscribe(service, welcome) == 409  # the subscription has moved
            service.reconnect()  # the next message of the old connection: the event did not go there
            assert kind_of(take(old)) == "session_reconnect"


def test_an_old_connection_that_stays_open_is_closed(start):
    service, url = start(grace=1.0)
    with guest(url) as old:
        subscribe(service, take(old))
        service.reconnect()
        with guest(take(old)["payload"]["session"]["reconnect_url"]) as new:
            take(new)
            assert closing(old) == (4004, "client reconnect grace time expired")
            service.publish("channel.follow", {})
            assert kind_of(take(new)) == "notification"


def test_a_reconnect_url_is_valid_once(start):
    service, url = start()
    with guest(url) as old:
        take(old)
        service.reconnect()
        address = take(old)["payload"]["session"]["reconnect_url"]
        with guest(address) as new:
            assert kind_of(take(new)) == "session_welcome"  # the server has seen it before the second one connects
            with guest(address) as second, guest(f"{url}?reconnect_id=unknown") as third:
                assert closing(second) == closing(third) == (4007, "invalid reconnect attempt")


def test_an_event_for_a_session_that_is_gone_harms_no_other_one(start):
    service, url = start()
    with guest(url) as gone, guest(url) as connection:
        subscribe(service, take(gone))
        subscribe(service, take(connection))
        gone.close()
        service.publish("channel.follow", {})
        assert kind_of(take(connection)) == "notification"
