"""The end of a client."""

import wsclient
from wsclient import State
from wsclient._connection.shutdown import begin_closing


def test_what_happened_to_subscriptions_before_the_close_is_handled_before_the_queue_is_closed():
    client = wsclient.Client("ws://localhost/")
    context = client._wsclient.context
    context.state.move(State.CONNECTING)
    context.state.move(State.OPEN)
    states = []
    context.subscriptions.post(lambda _: states.append((context.state.current, client.send("unsubscribe").state)), None)
    begin_closing(context)
    assert states == [(State.OPEN, "queued")]
    client.close()
