"""No error text of an option or a message, and no ``repr``, shows a secret that the caller passed in a wrong way."""

import logging
import ssl
import traceback

import pytest

import wsclient
from wsclient._rfc6455.url import parse

from ..support import LONG
from ..support.stage import redirect, upgrade

SECRET = "s3cr3t"
TOKEN = "bearer." + "t" * 40 + SECRET
PEM = f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----\n"


def shown(error):
    return "".join(traceback.format_exception_only(error)) + repr(error) + repr(error.args)


@pytest.mark.parametrize(
    "options",
    [
        {"subprotocols": TOKEN},
        {"subprotocols": {TOKEN}},
        {"subprotocols": TOKEN.encode()},
        {"subprotocols": [TOKEN.encode()]},
        {"subprotocols": [[TOKEN]]},
        {"subprotocols": [f"{TOKEN} "]},
        {"subprotocols": [TOKEN, TOKEN]},
        {"headers": f"Authorization: {SECRET}"},
        {"headers": [("Authorization", SECRET)]},
        {"headers": {"Authorization": [SECRET]}},
        {"headers": {"Authorization": SECRET.encode()}},
        {"headers": {"Authorization": f"{SECRET}\n"}},
        {"headers": {f"Authorization: Bearer {SECRET}": ""}},
        {"headers": {f"Bearer {SECRET}": "Authorization"}},
        {"headers": {("Authorization", SECRET): ""}},
        {"headers": {f"Authorization: {SECRET}".encode(): ""}},
        {"headers": {f"Authorization: {SECRET}": None}},
        {"origin": {"Authorization": SECRET}},
        {"origin": [f"https://me:{SECRET}@host"]},
        {"ssl_context": ("cert.pem", "key.pem", SECRET)},
        {"ssl_context": PEM},
        {"ssl_ca": PEM},
        {"ssl_ca": PEM.encode()},
        {"ssl_ca": ("ca.pem", SECRET)},
        {"server_hostname": f"wss://me:{SECRET}@host/?token={SECRET}"},
        {"server_hostname": f"me:{SECRET}@host"},
        {"server_hostname": ("host", SECRET)},
        {"proxy": f"me:{SECRET}@host:1"},
        {"proxy": ("host", SECRET)},
    ],
    ids=lambda options: ascii(options).replace(SECRET, "*")[:60],
)
def test_the_error_of_an_option_does_not_show_its_secret(options):
    with pytest.raises((TypeError, ValueError)) as caught:
        wsclient.Client("ws://localhost/", **options)
    assert SECRET not in shown(caught.value)
    assert next(iter(options)) in str(caught.value)


@pytest.mark.parametrize("names", [SECRET, {SECRET}, [SECRET.encode()]], ids=["str", "set", "bytes"])
def test_the_error_of_a_recording_does_not_show_what_is_to_be_redacted(tmp_path, names):
    with pytest.raises(TypeError, match="must be a list of names") as caught:
        wsclient.Recording(tmp_path / "x", redact=names)
    assert SECRET not in shown(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"ssl_context": lambda: ("cert.pem", "key.pem", SECRET)},
        {"headers": lambda: f"Authorization: {SECRET}"},
        {"headers": lambda: {f"Authorization: {SECRET}": ""}},
        {"headers": lambda: {"Authorization": SECRET.encode()}},
    ],
    ids=["ssl_context", "headers", "header's name", "header's value"],
)
def test_the_error_of_a_function_does_not_show_the_secret_that_it_returned(options, caplog):
    caplog.set_level(logging.DEBUG)
    with pytest.raises(wsclient.ConnectError) as caught:
        wsclient.connect("wss://127.0.0.1:1/", reconnect=None, **options)
    assert SECRET not in shown(caught.value)
    assert SECRET not in caplog.text


def test_the_errors_of_messages_do_not_show_them(server):
    class Codec:
        dumps = staticmethod(lambda value: f'["{SECRET}"]')
        loads = staticmethod(lambda text: text)

    with wsclient.connect(server.url, json=Codec(), reconnect=None) as client, pytest.raises(TypeError) as caught:
        client.request({"password": SECRET}, timeout=LONG)
    assert SECRET not in shown(caught.value)
    with (
        wsclient.connect(server.url, reconnect=None) as client,
        pytest.raises(TypeError, match="method must") as caught,
    ):
        client.call({"op": "login", "password": SECRET})
    assert SECRET not in shown(caught.value)
    nested = wsclient.JsonId(("login", "id"))
    with wsclient.connect(server.url, protocol=nested, reconnect=None) as client, pytest.raises(TypeError) as caught:
        client.request({"login": SECRET}, timeout=LONG)
    assert SECRET not in shown(caught.value)


@pytest.mark.parametrize(
    "fail",
    [
        lambda session: session.send(f"login {SECRET} \ud800"),
        lambda session: session.request({"login": f"{SECRET} \ud800"}),
        lambda session: f"{SECRET}\xff".encode("latin-1").decode(),
    ],
    ids=["send", "request", "decode"],
)
def test_a_set_up_with_a_text_that_cannot_be_encoded_does_not_show_it(server, caplog, fail):
    caplog.set_level(logging.DEBUG)
    with pytest.raises(wsclient.ConnectError, match="could not be set up: 'utf-8' codec can't") as caught:
        wsclient.connect(server.url, on_session=lambda client, session: fail(session), reconnect=None)
    assert SECRET not in shown(caught.value)
    assert SECRET not in "".join(record.getMessage() for record in caplog.records)


def objects_of(client):
    """The client, what it made, and its settings, which a tool that reports errors shows if a frame refers to them."""
    settings = client._wsclient.context.settings
    return [
        *(client, settings, settings.handshake, settings.network, settings.bounds, *map(parse, settings.urls)),
        *(client.stats, client.connection, client.protocol, client._wsclient.context, client._wsclient.lifecycle),
    ]


def test_no_object_of_a_client_shows_a_secret(stage, tmp_path):
    server = stage(
        redirect(f"/there?token={SECRET}"), upgrade(f"Set-Cookie: sid={SECRET}", f"Sec-WebSocket-Protocol: {TOKEN}")
    )
    url = f"ws://me{SECRET}:{SECRET}@127.0.0.1:{server.port}/?token={SECRET}&{SECRET}"
    client = wsclient.Client(
        url, headers={"X-Api-Key": SECRET}, subprotocols=[TOKEN], record=tmp_path / "x", reconnect=None
    )
    with client:
        delivery = client.send({"password": SECRET})
        future = client.submit({"password": SECRET})
        stream = client.listen()
        opened = client._wsclient.lifecycle._supervisor._served.present.opened
        for one in [*objects_of(client), opened, delivery, future, stream, wsclient.Recording(tmp_path / "x")]:
            assert SECRET not in repr(one), type(one)
        client.close(timeout=0)
    assert SECRET not in repr(client.last_disconnect)
    assert SECRET not in repr(future.exception(LONG))
    proxied = wsclient.Client("ws://h/", proxy=f"http://me:{SECRET}@h:1")
    assert SECRET not in "".join(map(repr, objects_of(proxied)))


def test_a_context_is_named_by_its_type():
    with pytest.raises(TypeError, match=r"or None, not tuple\.$"):
        wsclient.Client("ws://h/", ssl_context=("a", "b"))
    with pytest.raises(TypeError, match=r"or None, not <class 'ssl\.SSLContext'>\.$"):
        wsclient.Client("ws://h/", ssl_context=ssl.SSLContext)
