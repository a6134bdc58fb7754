"""A renewal while ``rate=`` or ``pause_sending()`` holds messages back, or while a connection is quiet."""

from wsclient import JsonRpc, SendQueue

from ..support import LONG, eventually
from ..support.peers import cut, event, put, reply, results, subscribed, taken
from ..support.renewals import answered_close, await_alone, open_renewing, renewed


def reconnected(client, peer, raw):
    """Cut the connection; return the peer of the second one, which is open."""
    peer = cut(client, peer, raw)
    eventually(lambda: client.connection is not None and client.connection.number == 2)
    return peer


# --- subscriptions ---------------------------------------------------------------------------------------------------


def test_subscriptions_that_still_waited_for_their_turn_on_the_old_connection_are_requested_on_the_new_one(raw):
    client, old = open_renewing(raw, protocol=JsonRpc())
    subscription = subscribed(client, old, "0xa")
    client.pause_sending(LONG)
    old = reconnected(client, old, raw)  # the request waits for the end of the pause
    new = renewed(client, raw)
    client.pause_sending(0)
    put(new, reply(taken(new), "0xb"), event("0xb", 1))
    assert results(subscription, 1) == [1]
    assert answered_close(old)[0] == 1000  # without a further message
    await_alone(client)
    assert len(client._wsclient.core.subscriptions.members) == 1
    client.close(timeout=0)


def test_requests_of_subscriptions_that_waited_for_a_token_move_to_the_new_connection(raw):
    def set_up(client, session):
        if session.number == 2:
            for _ in range(2):
                session.send("takes a token")

    client, old = open_renewing(raw, protocol=JsonRpc(), send_queue=SendQueue(rate=0.001, burst=2), on_session=set_up)
    first, second = subscribed(client, old, "0xa"), subscribed(client, old, "0xb", {"method": "other"})
    reconnected(client, old, raw)
    new = renewed(client, raw)
    for name in ("0xc", "0xd"):
        put(new, reply(taken(new), name), event(name, name))
    assert results(first, 1) == ["0xc"]
    assert results(second, 1) == ["0xd"]
    client.close(timeout=0)
