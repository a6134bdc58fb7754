"""Opens the connections of one client: gets the URL and the headers, connects, and makes the ``Connection``.

I/O thread only, except ``Connector.abort``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from .._errors import ConnectError, text_of
from .._network.connector import Connector
from .._options import Expiring
from .._rfc6455 import url as _url
from .._rfc6455.deflate import Deflater
from .._rfc6455.handshake import check_headers
from .._sending.writer import Writer
from .._threads.commands import Interrupted
from .backend import RecordingTap
from .connection import Connection
from .overdue import EndingOverdue, wrap_functions

if TYPE_CHECKING:
    from .._network.connector import UpgradedConnection
    from .._network.poller import Poller, Watch
    from .._requests.written import WrittenRequests
    from ..protocols import Protocol
    from .context import ClientContext
    from .renewal import Renewal

__all__ = ["Opener", "check_not_closed"]


class Opener:
    """Opens connections, one at a time.

    Attributes:
        connector: connects.
        lifetimes: of each ``Expiring`` that ``url`` and ``headers`` returned for the last attempt: when it was
            returned, and for how many seconds it is valid.
    """

    __slots__ = ("_context", "_heard", "_renewal", "_url_count", "connector", "lifetimes")

    def __init__(
        self, context: ClientContext, watch: Watch, renewal: Renewal, heard: Callable[[int, Any], object]
    ) -> None:
        """
        Args:
            context: the client.
            watch: the waits of the I/O thread.
            renewal: may contain the URL of the next attempt.
            heard: if ``Renew.on`` is given: called with the number of a connection and each message on it that does not
                answer a request in flight by its id or by the order of replies. A request with ``match=`` may still
                accept the message.
        """
        settings = context.settings
        handshake = settings.handshake
        self._context = context
        self._renewal = renewal
        self._heard = heard
        self._url_count = 0  # how many URLs of the list were used
        self.lifetimes: list[tuple[float, float]] = []
        self.connector = Connector(
            wrap_functions(context, settings.network),
            handshake.subprotocols or context.protocol.subprotocols,
            watch,
            handshake.compression,
            settings.name,
            sends_secret=context.protocol._has_secret,
        )

    def open(self, poller: Poller, protocol: Protocol) -> Connection:
        """Open a connection.

        Args:
            poller: waits for its socket.
            protocol: its message protocol.

        Raises:
            ConnectError: it could not be opened.
            Interrupted: a command ended the attempt.
        """
        context = self._context
        url, headers = self._next_url(), self._headers()
        check_not_closed(context)
        opened = self.connector.open(url, headers)
        number = context.sender.connection_number + 1
        written = context.table.new_connection(number)
        try:
            writer = self._writer(opened, written, protocol)
            connection = Connection(context, poller, opened, writer, written, protocol)
        except BaseException:
            context.table.end_connection(written)
            opened.transport.close()
            raise
        if self._renewal.options.on is not None:
            connection.router.watch = partial(self._heard, number)
        return connection

    def _writer(self, opened: UpgradedConnection, written: WrittenRequests, protocol: Protocol) -> Writer:
        context, deflater, tap = self._context, self._deflater(opened), None
        if context.recorder is not None:
            number = context.recorder.opened(opened.target.url, opened.subprotocol, opened.headers)
            tap = RecordingTap(context.recorder, number)
        return Writer(opened.transport, context.make_backend(written, protocol), deflater, tap)

    def _deflater(self, opened: UpgradedConnection) -> Deflater | None:
        compression = self._context.settings.handshake.compression
        if compression is None or opened.agreement is None:
            return None
        return Deflater(compression, opened.agreement)

    # --- the caller's options ----------------------------------------------------------------------------------------

    def _next_url(self) -> str:
        settings = self._context.settings
        self.lifetimes = []
        announced = self._renewal.take_url()
        if announced is not None:
            try:
                return _url.parse(announced).url
            except ValueError as error:
                raise ConnectError(f"Renew.on returned a URL that can't be used. {error}", last=error) from error
        if settings.url_function is None:
            url = settings.urls[self._url_count % len(settings.urls)]
            self._url_count += 1
            return url
        url = self._unwrapped(self._ask("url", settings.url_function))
        try:
            return _url.parse(url).url
        except (TypeError, ValueError) as error:
            raise ConnectError(
                f"The url function returned a value that can't be used. {error}", last=error, retry=False
            ) from error

    def _headers(self) -> Mapping[str, str]:
        handshake = self._context.settings.handshake
        headers = handshake.headers
        if callable(headers):
            headers = self._unwrapped(self._ask("headers", headers))
            try:
                check_headers(headers)
            except (TypeError, ValueError) as error:
                text = f"The headers function returned a value that can't be used. {error}"
                raise ConnectError(text, last=error, retry=False) from error
        return {**({} if handshake.origin is None else {"Origin": handshake.origin}), **(headers or {})}

    def _unwrapped(self, value: Any) -> Any:
        """Return the value of an ``Expiring``. With the option ``renew``, also store how long the value is valid."""
        if not isinstance(value, Expiring):
            return value
        if self._context.settings.renew is not None:
            self.lifetimes.append((time.monotonic(), value.expires_in))
        return value.value

    def _ask(self, option: str, function: Callable[[], Any]) -> Any:
        try:
            with EndingOverdue(self._context, option):
                return function()
        except Exception as error:
            text = f"The {option} function raised {type(error).__name__}: {text_of(error)}"
            raise ConnectError(text, last=error) from error


def check_not_closed(context: ClientContext) -> None:
    """End the opening of a connection if the client was closed while user code ran.

    Raises:
        Interrupted: it was closed.
    """
    if context.commands.close is not None:
        raise Interrupted("The client was closed while a connection was being opened.")
