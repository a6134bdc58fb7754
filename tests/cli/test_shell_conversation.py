"""Which messages of a shell are subscriptions whose events only a subscription receives."""

import pytest

import wsclient
from wsclient.cli.shell_conversation import _marks_events


class Topics(wsclient.JsonId):
    """Its events have the topic of the subscription's request."""

    def stream_of(self, request, id, reply=None):
        return request["topic"]


@pytest.mark.parametrize(
    ("request_", "marks"),
    [({"topic": "news"}, True), ({"topic": None}, False), ({"op": "subscribe"}, False), (["news"], False), (5, False)],
)
def test_a_message_that_is_no_subscription_of_the_protocol_has_ordinary_events(request_, marks):
    assert _marks_events(Topics(), request_) is marks
