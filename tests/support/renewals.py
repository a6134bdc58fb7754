"""A client whose connection is renewed, and the peers of its connections."""

import contextlib
import json

import wsclient

from . import LONG, eventually
from .peers import open_pair, start_call

__all__ = ["answer_ping", "answered_close", "asked_on", "begin_renewal", "close_code", "open_renewing", "renewed"]


def open_renewing(raw, **options):
    """An open client without pings, and its peer."""
    options.setdefault("ping_interval", None)
    options.setdefault("renew", wsclient.Renew())
    return open_pair(raw, **options)


def begin_renewal(client, raw, reason=""):
    """Begin a renewal; return the future of ``renew(wait=True)``, and the peer, whose request is not answered yet."""
    future = start_call(lambda: client.renew(reason, wait=True, timeout=LONG))
    return future, raw.accept()


def renewed(client, raw, reason=""):
    """Renew the connection; return the peer of the new one."""
    future, peer = begin_renewal(client, raw, reason)
    peer.upgrade()
    assert future.result(LONG) is True
    return peer


def answer_ping(peer):
    """Answer the ping that is the peer's next frame."""
    opcode, ping = peer.receive_frame()
    assert opcode == 9
    peer.send_frame(10, ping)


def asked_on(peer):
    """The next text message that a peer receives, decoded."""
    return json.loads(peer.receive_text())


def close_code(peer):
    """Receive until the client's close frame; return its code and reason."""
    while True:
        opcode, payload = peer.receive_frame()
        if opcode == 8:
            return int.from_bytes(payload[:2], "big"), payload[2:].decode()


def answered_close(peer):
    """Receive the client's close frame, and close in turn; return its code and reason."""
    received = close_code(peer)
    peer.send_frame(8, received[0].to_bytes(2, "big"))
    with contextlib.suppress(OSError):
        peer.finish()
    return received


def is_alone(client):
    """Whether no replaced connection is served any more."""
    return client._wsclient.context.sender.retiring is None


def await_alone(client):
    """Wait until no replaced connection is served any more."""
    eventually(lambda: is_alone(client))
