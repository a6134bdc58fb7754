"""``OpenAIRealtime``: which server events answer a client event, on a server with the published rules."""

import itertools
import json
import pickle

import pytest

import wsclient
from wsclient import End, Event, Failure, Item, RemoteError, Reply
from wsclient.protocols import OpenAIRealtime

from ..support import LONG, eventually
from ..support.peers import SOON
from ..support.server import Server

TURN = {"type": "conversation.item.create", "item": {"type": "message", "role": "user", "content": []}}


class Session:
    """The handler of the server: one session for each connection, with one response at a time."""

    def __init__(self):
        self.numbers = itertools.count(1)
        self.active = {}  # the response in progress of each connection
        self.clears = True  # whether responses end by themselves

    def __call__(self, connection, text):
        event = json.loads(text)
        kind = event["type"]
        item = event.get("item", {}).get("id") or event.get("item_id")

        def send(kind, **members):
            connection.send(json.dumps({"type": kind, "event_id": f"server_{next(self.numbers)}", **members}))

        def refuse(code, message):
            details = {"type": "invalid_request_error", "code": code, "message": message}
            send("error", error={**details, "event_id": event.get("event_id")})

        if kind == "response.create":
            if connection in self.active:
                refuse("conversation_already_has_active_response", "Conversation already has an active response")
                return
            self.begin(connection, send, event.get("response", {}).get("metadata"))
            send("response.output_text.delta", response_id=self.active[connection][0], delta="Hel")
            if self.clears:
                send("response.output_text.delta", response_id=self.active[connection][0], delta="lo")
                self.end(connection, send, "completed")
        elif kind == "response.cancel":
            if connection not in self.active:
                refuse("response_cancel_not_active", "No active response")
                return
            self.end(connection, send, "cancelled")
        elif kind == "session.update":
            if not isinstance(event.get("session"), dict):
                refuse("missing_required_parameter", "Missing 'session'")
                return
            send("session.updated", session=event["session"])
        elif kind == "conversation.item.create":
            send("conversation.item.added", item=event["item"])
            send("conversation.item.done", item=event["item"])
        elif kind == "conversation.item.delete":
            if item == "unknown":
                refuse("item_delete_invalid_item_id", "No such item")
                return
            send("conversation.item.deleted", item_id=item)
        elif kind == "speech":  # voice detection begins a response without a request
            self.begin(connection, send, None)
            self.end(connection, send, "completed")

    def begin(self, connection, send, metadata):
        self.active[connection] = response, metadata = f"resp_{next(self.numbers)}", metadata
        send("response.created", response={"id": response, "status": "in_progress", "metadata": metadata})

    def end(self, connection, send, status):
        response, metadata = self.active.pop(connection)
        send("response.done", response={"id": response, "status": status, "metadata": metadata})


@pytest.fixture
def session():
    return Session()


@pytest.fixture
def service(session):
    with Server(session) as server:
        yield server


def connect(service, **options):
    return wsclient.connect(
        service.url, protocol=OpenAIRealtime(), reconnect=SOON, request_timeout=LONG, ping_interval=None, **options
    )


# --- against the server ----------------------------------------------------------------------------------------------


def test_a_response_is_a_stream_of_its_events(service):
    with connect(service) as client:
        assert client.request(TURN)["type"] == "conversation.item.added"
        with client.stream({"type": "response.create"}) as events:
            found = list(events)
        assert [event["type"] for event in found] == [
            "response.created",
            "response.output_text.delta",
            "response.output_text.delta",
            "response.done",
        ]
        assert "".join(event.get("delta", "") for event in found) == "Hello"
        done = client.call("response.create", {"response": {"instructions": "Be brief.", "metadata": {"topic": "a"}}})
        assert done["response"]["metadata"]["topic"] == "a"


def test_a_second_response_is_refused_while_the_first_one_is_in_progress(service, session):
    session.clears = False
    with connect(service) as client, client.stream({"type": "response.create"}) as first:
        assert next(first)["type"] == "response.created"
        with pytest.raises(RemoteError) as caught:
            client.request({"type": "response.create"})
        assert caught.value.code == "conversation_already_has_active_response"
        assert client.call("session.update", {"session": {"a": 1}})["session"] == {"a": 1}
        client.send({"type": "response.cancel"})
        assert [event.get("response", {}).get("status") for event in first] == [None, "cancelled"]


def test_closing_the_stream_of_a_response_cancels_it(service, session):
    session.clears = False
    with connect(service) as client:
        with client.stream({"type": "response.create"}) as events:
            response = next(events)["response"]["id"]
        eventually(lambda: not session.active)
        assert json.loads(service.received[-1]) == {"type": "response.cancel", "response_id": response}


def test_errors_that_name_the_request_are_raised_and_others_are_events(service):
    errors = []
    with connect(service) as client:
        client.on("error", errors.append)
        with pytest.raises(RemoteError, match="Missing") as caught:
            client.call("session.update")
        assert caught.value.code == "missing_required_parameter"
        with pytest.raises(RemoteError, match="No such item"):
            client.request({"type": "conversation.item.delete", "item_id": "unknown"})
        client.send({"type": "response.cancel"})
        eventually(lambda: [one["error"]["code"] for one in errors] == ["response_cancel_not_active"])
        assert client.request({"type": "session.update", "session": {"a": 1}})["session"] == {"a": 1}


def test_responses_that_the_server_begins_are_events(service):
    kinds = []
    with connect(service, on_message=lambda client, message: kinds.append(message["type"])) as client:
        client.on("response.done", lambda message: kinds.append("by topic"))
        client.send({"type": "speech"})
        eventually(lambda: sorted(kinds) == ["by topic", "response.created", "response.done"])


def test_a_renewed_session_is_configured_and_the_old_one_completes_its_response(service, session):
    session.clears = False

    def on_session(client, one):
        one.call("session.update", {"session": {"instructions": f"number {one.number}"}})

    with connect(service, on_session=on_session, renew=OpenAIRealtime.renew) as client:
        with client.stream({"type": "response.create"}) as events:
            next(events)
            assert client.renew(wait=True, timeout=LONG)
            assert client.request({"type": "response.create"}, until=lambda event: True)["type"] == "response.created"
            assert len(session.active) == 2  # one in each session
            assert next(events)["delta"] == "Hel"
    sent = [json.loads(text) for text in service.received]
    assert [one["session"]["instructions"] for one in sent if one["type"] == "session.update"] == [
        "number 1",
        "number 2",
    ]


def test_the_renewal_comes_before_the_limit_of_60_minutes():
    renew = OpenAIRealtime.renew
    assert renew.every * (1 + renew.jitter) + renew.overlap < 3600
    assert pickle.loads(pickle.dumps(renew)) == renew
    wsclient.Client("ws://localhost:1/", protocol=OpenAIRealtime(), renew=renew).close()


# --- pure ------------------------------------------------------------------------------------------------------------


def encoded(protocol, message, id):
    return json.loads(protocol.encode_request(message, id))


def decoded(protocol, kind, **members):
    return protocol.decode(json.dumps({"type": kind, **members}))


def test_each_request_has_the_id_where_its_answer_repeats_it():
    protocol = OpenAIRealtime()
    assert encoded(protocol, {"type": "response.create"}, "event_1") == {
        "event_id": "event_1",
        "type": "response.create",
        "response": {"metadata": {"event_id": "event_1"}},
    }
    assert encoded(protocol, TURN, "event_2")["item"]["id"] == "event_2"
    own = {"type": "conversation.item.create", "item": {"id": "mine"}}
    assert encoded(protocol, own, "event_3")["item"]["id"] == "mine"
    assert own == {"type": "conversation.item.create", "item": {"id": "mine"}}
    added = decoded(protocol, "conversation.item.added", item={"id": "mine"})
    assert (type(added), added.id) == (Reply, "event_3")
    assert type(decoded(protocol, "conversation.item.added", item={"id": "by the model"})) is Event
    assert decoded(protocol, "conversation.item.created", item={"id": "event_2"}).id == "event_2"
    assert OpenAIRealtime().new_id() == "event_1"


@pytest.mark.parametrize("item", [None, [], "text"])
def test_an_item_that_is_not_an_object_is_refused(item):
    with pytest.raises(TypeError, match="'item' must be an object"):
        OpenAIRealtime().encode_request({**TURN, "item": item}, "event_1")


def test_answers_of_the_same_type_answer_the_requests_in_their_order():
    protocol = OpenAIRealtime()
    for id in ("event_1", "event_2", "event_3"):
        encoded(protocol, {"type": "session.update", "session": {}}, id)
    assert decoded(protocol, "session.updated").id == "event_1"
    assert decoded(protocol, "error", error={"event_id": "event_2", "type": "x"}).id == "event_2"
    assert decoded(protocol, "session.updated").id == "event_3"
    assert type(decoded(protocol, "session.updated")) is Event
    encoded(protocol, {"type": "input_audio_buffer.commit"}, "event_4")
    assert decoded(protocol, "input_audio_buffer.committed", item_id="item_1").id == "event_4"
    encoded(protocol, {"type": "session.update", "session": {}}, "event_5")
    protocol.reset()
    assert type(decoded(protocol, "session.updated")) is Event


def test_a_response_that_failed_is_an_error():
    protocol = OpenAIRealtime()
    response = {"id": "resp_1", "metadata": {"event_id": "event_1"}}
    assert type(decoded(protocol, "response.created", response=response)) is Item
    failed = {"status": "failed", "status_details": {"error": {"type": "server_error", "message": "broken"}}}
    failure = decoded(protocol, "response.done", response={**response, **failed})
    assert (type(failure), failure.id, failure.error.code, failure.error.message) == (
        Failure,
        "event_1",
        "server_error",
        "broken",
    )
    assert type(decoded(protocol, "response.output_text.delta", response_id="resp_1")) is Event
    incomplete = decoded(protocol, "response.done", response={**response, "status": "incomplete"})
    assert type(incomplete) is End
    bare = decoded(protocol, "response.done", response={**response, "status": "failed", "status_details": None})
    assert (type(bare), bare.error.code) == (Failure, None)


def test_a_trial_encoding_is_not_a_request():
    protocol = OpenAIRealtime()
    client = wsclient.Client("ws://localhost:1/", protocol=protocol)
    protocol._encoder({"type": "session.update", "session": {}})
    assert type(decoded(protocol, "session.updated")) is Event
    client.close()


@pytest.mark.parametrize("text", ["[]", "{}", '{"type": 1}', "text", '{"type": "error"}', '{"type": "response.done"}'])
def test_other_messages_are_events(text):
    assert type(OpenAIRealtime().decode(text)) is Event


def test_what_has_no_answer_is_no_request():
    protocol = OpenAIRealtime()
    for kind in ("input_audio_buffer.append", "response.cancel", None):
        with pytest.raises(ValueError, match="send"):
            protocol.encode_request({"type": kind}, "event_1")
    with pytest.raises(TypeError, match="dict"):
        protocol.encode_request("text", "event_1")
    with pytest.raises(ValueError, match="event_id"):
        protocol.encode_request({**TURN, "event_id": "mine"}, "event_1")
    assert protocol.unsubscribe({"type": "session.update"}, "event_1", None) is None


def test_it_can_be_pickled():
    protocol = OpenAIRealtime()
    protocol.new_id()
    assert pickle.loads(pickle.dumps(protocol)).new_id() == "event_2"
