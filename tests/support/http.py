"""HTTP responses as bytes, and the credentials of a request."""

import base64

from wsclient._rfc6455.http11 import ResponseReader

ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
"""The accept value of the key in the example of RFC 6455 §1.3."""


def head(*lines, status="101 Switching Protocols"):
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode("latin-1")


def good_head(*more, upgrade="websocket", connection="Upgrade", accept=ACCEPT):
    return head(f"Upgrade: {upgrade}", f"Connection: {connection}", f"Sec-WebSocket-Accept: {accept}", *more)


def answer(data):
    """The response in these bytes."""
    response = ResponseReader("The server").feed(data)
    assert response is not None
    return response


def basic(credentials):
    return f"Basic {base64.b64encode(credentials.encode()).decode()}"
