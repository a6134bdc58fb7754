"""``connect``: the same options as the client, and an open client as its result."""

import pytest

import wsclient


def test_connect_returns_an_open_client_with_every_option_it_was_given(server):
    with wsclient.connect(server.url, name="feed", headers={"X-Test": "1"}, protocol=wsclient.Fifo()) as client:
        assert client.state is wsclient.State.OPEN
        assert "'feed'" in repr(client)
        assert isinstance(client.protocol, wsclient.Fifo)


def test_connect_raises_if_no_server_answers_and_leaves_nothing():
    with pytest.raises(wsclient.ConnectError):
        wsclient.connect("ws://127.0.0.1:1/", proxy=None)


def test_connect_refuses_the_same_options_as_the_client():
    with pytest.raises(TypeError, match="colour"):
        wsclient.connect("ws://localhost/", colour="red")
    with pytest.raises(ValueError, match="open_timeout"):
        wsclient.connect("ws://localhost/", open_timeout=0)
