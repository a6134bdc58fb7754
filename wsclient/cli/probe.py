"""``wsclient probe``: a connection, phase by phase, and the likely cause if it fails."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import click

from .._client.client import Client
from .._errors import printable
from .._network.options import NetworkOptions
from .._options import DEFAULT_LIMITS, Limits
from .._recording.redaction import Redactor
from .._rfc6455 import url as _url
from .._rfc6455.handshake import may_be_secret
from .._settings import OPEN_TIMEOUT, SESSION_TIMEOUT
from .causes import Sent
from .diagnosis import Diagnosis, Failed, Finding, Round
from .exits import CommandError, sentence_of
from .options import ClientCommand, Connection
from .phases import NetworkPhases
from .protocols import may_log_in
from .tracing import FramePrinter
from .upgrade import Checks, Redirected, Tap

if TYPE_CHECKING:
    from .._rfc6455.url import Target
    from .output import Output

__all__ = ["command"]

_LONGEST_LINE: Final = 1000
"""Characters after which a line of text is cut."""

_EPILOG: Final = """\b
Examples:
  wsclient probe localhost:8765
  wsclient probe wss://localhost:8443/ws --ca ca.pem --watch 30
  wsclient probe localhost:8765 --origin https://example.org --json
"""


@click.command(
    cls=ClientCommand,
    epilog=_EPILOG,
    help="Diagnose a connection, phase by phase: proxy, DNS, TCP, TLS, upgrade, pings, close. --timeout limits each"
    " phase. There is one attempt, so --retry has no effect.",
)
@click.argument("url", required=False)
@click.option(
    "--watch",
    type=click.FloatRange(min=0),
    default=0.0,
    metavar="SECONDS",
    help="How long to wait for pings of the server (default: 0).",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object with all values; times are in seconds.")
def command(connection: Connection, url: str | None, watch: float, as_json: bool) -> int:
    """Run the command."""
    url, more = connection.arguments(url)
    if more:
        raise CommandError(f"{more[0]!r} is one argument too many.")
    output = connection.output()
    diagnosis = Diagnosis()
    try:
        _diagnose(connection, url, watch, output, diagnosis)
    except Failed as failure:
        diagnosis.failure = failure
    except KeyboardInterrupt:
        if not as_json and diagnosis.rounds:
            diagnosis.interrupt()
            _print(diagnosis, output, as_json=False)  # it shows which phase hangs
        raise
    _print(diagnosis, output, as_json=as_json)
    return diagnosis.code


def _print(diagnosis: Diagnosis, output: Output, *, as_json: bool) -> None:
    if as_json:
        output.message(diagnosis.as_json())
    elif output.is_terminal:
        from .tree import print_tree

        print_tree(diagnosis, has_color=output.has_color)
    else:
        for line in diagnosis.lines():
            output.text(printable(line, _LONGEST_LINE))


def _diagnose(connection: Connection, url: str, watch: float, output: Output, diagnosis: Diagnosis) -> None:
    """Go through all phases, again for each redirect.

    Raises:
        Failed: a phase failed.
    """
    target = _url.parse(url)
    for _ in range(DEFAULT_LIMITS.max_redirects + 1):
        diagnosis.rounds.append(Round(_url.redact(target.url)))
        try:
            return _Attempt(connection, target, output, diagnosis).run(watch)
        except Redirected as redirect:
            finding = diagnosis.rounds[-1].findings[-1]
            target, connection = _follow(target, connection, redirect, finding)
    raise Failed(finding, f"The server redirected more than {DEFAULT_LIMITS.max_redirects} times.", "")


def _follow(
    target: Target, connection: Connection, redirect: Redirected, finding: Finding
) -> tuple[Target, Connection]:
    """Return the target of a redirect, and the options for that server. For another origin, the options contain nothing
    that may be secret.

    Raises:
        Failed: the client does not follow it.
    """
    try:
        found = _url.redirected(target, redirect.location)
        is_same_origin = found.origin == target.origin
        if not is_same_origin and any(map(may_be_secret, connection.subprotocol)):
            raise ValueError("It leads to another origin, and a subprotocol is so long that it may be a secret.")
    except ValueError as error:
        words = f"The redirect is not followed. {sentence_of(error, 500)}"
        cause = "the URL is old, or an HTTP server answers; use the URL to which the redirect leads."
        raise Failed(finding, words, cause) from error
    if is_same_origin:
        return found, connection
    no_secrets: dict[str, Any] = {"headers": {}, "auth": None, "token_cmd": None, "cert": None, "key": None}
    if connection.protocol is not None and may_log_in(connection.protocol):
        no_secrets["protocol"] = None
    return found, dataclasses.replace(connection, **no_secrets)


def _sent(target: Target, headers: Mapping[str, str], origin: str | None) -> Sent:
    path, _, query = target.resource.partition("?")
    names = [*headers, *(pair.partition("=")[0] for pair in query.split("&"))]
    redactor = Redactor()
    return Sent(
        path,
        target.user is not None or any(redactor.is_secret(name) for name in names),
        next((value for name, value in headers.items() if name.lower() == "origin"), origin),
    )


class _Attempt:
    """One connection to one URL.

    Args:
        connection: the shared options.
        target: the server.
        output: prints notices.
        diagnosis: gets the findings.

    Raises:
        CommandError, ValueError, TypeError: an option can't be used.
    """

    def __init__(self, connection: Connection, target: Target, output: Output, diagnosis: Diagnosis) -> None:
        options = connection.options()
        headers = options["headers"]
        if callable(headers):
            # This may run --token-cmd. It is called here, so that it runs only once, and not in the measured time.
            headers = headers()
        self._sent = _sent(target, headers, options["origin"])
        self._target = target
        self._diagnosis = diagnosis
        self._timeout = options.get("open_timeout", OPEN_TIMEOUT)
        self._connection = connection
        self._output = output
        self._tap = Tap(FramePrinter(output) if connection.verbose > 1 else None)
        self._overrides: dict[str, Any] = {
            "headers": headers,
            "reconnect": None,
            "retry_first": False,
            "ping_interval": None,
            "limits": Limits(max_redirects=0),
            "record": self._tap,
        }
        # The constructor refuses options that can't be used, so they are refused before anything is opened.
        Client(target.url, **{**options, **self._overrides}).close()
        network = NetworkOptions(
            open_timeout=self._timeout,
            session_timeout=SESSION_TIMEOUT,
            ping_interval=None,
            ping_timeout=None,
            ssl_context=options["ssl_context"],
            proxy=options["proxy"],
            source_address=None,
            server_hostname=options["server_hostname"],
        )
        self._phases = NetworkPhases(target, network, diagnosis)
        if target.secure:
            self._overrides["ssl_context"] = self._phases.context  # the client need not load all CAs again

    def run(self, watch: float) -> None:
        """Go through the phases.

        Args:
            watch: seconds to wait for pings of the server.

        Raises:
            Failed: a phase failed.
            Redirected: the server redirects.
        """
        try:
            sock = self._phases.open()
            given = {} if sock is None else {"sock": sock, "proxy": None}
            client = self._connection.client(self._target.url, self._output, **{**self._overrides, **given})
            checks = Checks(client, self._tap, self._diagnosis, self._timeout)
            try:
                checks.upgrade(self._sent, None if self._target.secure else self._phases.speaks_tls)
                checks.pings()
                checks.watch(watch)
                checks.close()
            finally:
                client.close(timeout=0)
        finally:
            self._phases.close()
