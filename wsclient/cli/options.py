"""The options that all commands with a URL share, and the client that they describe."""

from __future__ import annotations

import base64
import functools
import logging
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import click

from .exits import CommandError
from .output import Color, Output
from .profiles import load_profile, run_for_secret
from .protocols import NAMES, protocol_of, uncorrelated
from .tracing import FramePrinter, OpenNotice, log_to
from .urls import completed_url, shown

if TYPE_CHECKING:
    from .._client.client import Client
    from ..protocols import Protocol

__all__ = ["CLOSE_TIMEOUT", "FOREVER", "SHARED", "ClientCommand", "Connection"]

CLOSE_TIMEOUT: Final = 1.0
"""Seconds that a command waits at its end for the server to answer the close frame. The user waits for the command to
end, so this is less than the default of ``Client.close``."""

FOREVER: Final = -1
"""The number of attempts that ``--retry forever`` means."""


def _attempts(value: Any) -> int:
    """The value of ``--retry``: a number of attempts, or ``forever``.

    Raises:
        CommandError: it is neither.
    """
    if value in ("forever", FOREVER):
        return FOREVER
    if not str(value).isdecimal():
        raise CommandError(f"--retry must be a number of attempts or 'forever', not {value!r}.")
    return int(value)


def _complete_protocol(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    return [name for name in NAMES if name.startswith(incomplete) and "=" not in name and ":" not in name]


def _complete_retry(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    return ["forever"] if "forever".startswith(incomplete) else []


_SECONDS: Final = click.FloatRange(min=0, min_open=True)

SHARED: Final[tuple[tuple[tuple[str, ...], dict[str, Any]], ...]] = (
    (("-H", "--header", "headers"), {"multiple": True, "metavar": "'NAME: VALUE'", "help": "Add a header."}),
    (("--auth",), {"metavar": "USER:PASS", "help": "Basic authentication."}),
    (
        ("--token-cmd",),
        {
            "metavar": "CMD",
            "help": "Run CMD before every attempt to connect; its output is sent as 'Authorization: Bearer'.",
        },
    ),
    (("--subprotocol",), {"multiple": True, "metavar": "NAME", "help": "Offer a subprotocol; repeatable."}),
    (("--origin",), {"metavar": "ORIGIN", "help": "Send this Origin header."}),
    (
        ("--protocol",),
        {
            "shell_complete": _complete_protocol,
            "metavar": "NAME",
            "help": f"Message protocol, which finds the reply to a request: {' | '.join(NAMES)}.",
        },
    ),
    (("-k", "--insecure"), {"is_flag": True, "default": None, "help": "Do not verify the server's certificate."}),
    (("--ca",), {"type": click.Path(dir_okay=False), "help": "PEM file of the CAs to trust."}),
    (("--cert",), {"type": click.Path(dir_okay=False), "help": "PEM file of the client certificate."}),
    (("--key",), {"type": click.Path(dir_okay=False), "help": "PEM file of the private key of --cert."}),
    (("--server-name",), {"metavar": "NAME", "help": "Host name to expect in the server's certificate."}),
    (("--proxy",), {"metavar": "URL", "help": "Proxy, or 'none'; by default that of the environment."}),
    (
        ("--timeout",),
        {"type": _SECONDS, "metavar": "SECONDS", "help": "Longest time to connect, and to wait for each reply."},
    ),
    (
        ("--retry",),
        {
            "type": _attempts,
            "shell_complete": _complete_retry,
            "metavar": "N|forever",
            "help": "Number of further attempts to connect, after a failed one or a lost connection.",
        },
    ),
    (("--compression/--no-compression",), {"default": None, "help": "Offer compression (default: yes)."}),
    (("--max-size",), {"type": click.IntRange(min=1), "metavar": "BYTES", "help": "Largest message that is accepted."}),
    (("--profile",), {"metavar": "NAME", "help": "Options of a profile in profiles.toml."}),
    (("-v", "--verbose"), {"count": True, "help": "Print what happens to the connection; -vv: every frame."}),
    (
        ("--color",),
        {"type": click.Choice(("auto", "always", "never")), "default": "auto", "help": "Colours on the terminal."},
    ),
)
"""The shared options: the names and the keyword arguments of ``click.Option``. The members of a profile have the same
names."""

_OPTION_NAMES: Final = ("headers", "auth", "token_cmd", "subprotocol", "origin", "protocol", "insecure", "ca", "cert",
                        "key", "server_name", "proxy", "timeout", "retry", "compression", "max_size", "profile",
                        "verbose", "color")  # fmt: skip
"""The names of the shared options in Python."""


class ClientCommand(click.Command):
    """A command with the shared options. Its function gets them as one argument, ``connection``."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.params += [click.Option(names, **keywords) for names, keywords in SHARED]

    def invoke(self, ctx: click.Context) -> Any:
        """Combine the shared options, and run the command."""
        shared = {name: ctx.params.pop(name) for name in _OPTION_NAMES}
        ctx.params["connection"] = Connection.of(shared)
        return super().invoke(ctx)


@dataclass
class Connection:
    """The shared options of one command.

    Attributes:
        headers: name and value of each header.
        retry: number of further attempts to connect; ``FOREVER``: no limit; None: the default of the command.
        url: the URL of the profile, or None.
        verbose: 0, 1 (``-v``) or 2 (``-vv``).

    The other attributes are the options of the same names.
    """

    headers: Mapping[str, str] = field(default_factory=dict)
    auth: str | None = None
    token_cmd: str | None = None
    subprotocol: tuple[str, ...] = ()
    origin: str | None = None
    protocol: str | None = None
    insecure: bool = False
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    server_name: str | None = None
    proxy: str | None = None
    timeout: float | None = None
    retry: int | None = None
    compression: bool = True
    max_size: int | None = None
    verbose: int = 0
    color: Color = "auto"
    url: str | None = None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Connection:
        """Combine the options of the command line and of the profile. An option of the command line replaces that of
        the profile.

        Args:
            given: the options of the command line, by name. Those that were not given are None or empty, except for
                ``verbose`` and ``color``, which a profile can't contain.

        Raises:
            CommandError: a header has no colon, or the profile can't be used.
        """
        profile = load_profile(given["profile"]) if given["profile"] else {}
        headers = {str(name): str(value) for name, value in profile.pop("headers", {}).items()}
        for header in given["headers"]:
            name, colon, value = header.partition(":")
            if not colon or not name.strip():  # what follows the first word may be a secret
                raise CommandError(f"{' '.join(header.split()[:1])!r} is not a header; write 'NAME: VALUE'.")
            headers = _with_header(headers, name.strip(), value.strip())
        explicit = {
            name: value
            for name, value in given.items()
            if name not in ("headers", "profile") and value is not None and value != ()
        }
        if "retry" in profile:
            profile["retry"] = _attempts(profile["retry"])
        merged = {**profile, **explicit, "headers": headers}
        merged["subprotocol"] = tuple(merged.get("subprotocol", ()))
        return cls(**merged)

    def output(self, *, raw: bool = False) -> Output:
        """Return what prints the messages and notices of the command."""
        return Output(self.color, raw=raw)

    def arguments(self, url: str | None, more: tuple[str, ...] = ()) -> tuple[str, tuple[str, ...]]:
        """Return the URL to connect to, and the arguments that follow it.

        If the profile has a URL, and the first argument does not contain ``://``, the URL is that of the profile; the
        first argument is then returned with the others.

        Raises:
            CommandError: there is no URL.
        """
        if self.url is not None and (url is None or "://" not in url):
            return self._completed(self.url), more if url is None else (url, *more)
        if url is None:
            raise CommandError("Which URL? Write it as the first argument, or use --profile.")
        return self._completed(url), more

    def client(
        self,
        url: str,
        output: Output,
        *,
        retry: int = 0,
        protocol: Protocol | None = None,
        level: int = logging.ERROR,
        **more: Any,
    ) -> Client:
        """Return a client that is not started yet. With ``-v`` it prints what happens to its connections, with ``-vv``
        every frame too.

        Args:
            url: the complete URL.
            output: prints.
            retry: number of further attempts to connect if ``--retry`` is not given; ``FOREVER``: no limit.
            protocol: the message protocol if ``--protocol`` is not given; None: no correlation.
            level: the lowest level of ``logging`` whose records are printed without ``-v``.
            more: further options of the client. They replace those that the shared options set.

        Raises:
            CommandError: an option can't be used.
            ValueError, TypeError: the client refuses an option.
        """
        from .._client.client import Client

        if self.insecure:
            output.warn("wsclient: --insecure: the server's certificate is NOT verified; anyone may read and change")
            output.warn("wsclient: what is sent and received. Use --ca with the server's CA instead.")
        log_to(output, logging.INFO if self.verbose else level)
        if self.verbose:
            more["on_open"] = OpenNotice(output, more.get("on_open"))
        if self.verbose > 1:
            more.setdefault("record", FramePrinter(output))
        return Client(url, **{**self.options(retry, protocol), **more})

    def options(self, retry: int = 0, protocol: Protocol | None = None) -> dict[str, Any]:
        """Return the options of the client, see ``client``."""
        options: dict[str, Any] = {
            "headers": self._headers() if self.token_cmd is None else self._headers_with_token,
            "subprotocols": self.subprotocol,
            "origin": self.origin,
            "compression": "deflate" if self.compression else None,
            "ssl_context": self._ssl_context(),
            "server_hostname": self.server_name,
            "proxy": {None: "env", "none": None}.get(self.proxy, self.proxy),
            **self._retries(retry if self.retry is None else self.retry),
        }
        if self.protocol is not None:
            options["protocol"] = protocol_of(self.protocol, self._secret_function())
        else:
            options["protocol"] = uncorrelated() if protocol is None else protocol
        if self.timeout is not None:
            options |= {"open_timeout": self.timeout, "request_timeout": self.timeout}
        if self.max_size is not None:
            options["max_message_size"] = self.max_size
        return options

    def _completed(self, typed: str) -> str:
        url = completed_url(typed)
        if self.verbose and url != typed:
            self.output().notice(f"* the URL {shown(typed)} means {shown(url)}")
        return url

    # --- the parts ---------------------------------------------------------------------------------------------------

    def _headers(self) -> dict[str, str]:
        headers = dict(self.headers)
        if self.auth is not None:
            if ":" not in self.auth:
                raise CommandError("--auth must be USER:PASS.")
            basic = base64.b64encode(self.auth.encode()).decode()
            return _with_header(headers, "Authorization", f"Basic {basic}")
        return headers

    def _headers_with_token(self) -> dict[str, str]:
        """Run ``--token-cmd``; called before every attempt."""
        assert self.token_cmd is not None
        return _with_header(self._headers(), "Authorization", f"Bearer {run_for_secret(self.token_cmd)}")

    def _secret_function(self) -> Any:
        """Return a function that runs ``--token-cmd`` and returns its output; None without the option."""
        return None if self.token_cmd is None else functools.partial(run_for_secret, self.token_cmd)

    def _ssl_context(self) -> ssl.SSLContext | None:
        if self.key and not self.cert:
            raise CommandError("--key needs --cert, the certificate of this key.")
        if not (self.insecure or self.ca or self.cert):
            return None
        try:
            context = ssl.create_default_context(cafile=_readable(self.ca, "--ca"))
        except ssl.SSLError as error:
            raise CommandError(f"--ca {self.ca} can't be used: {error}.") from error
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.cert:
            certificate, key = _readable(self.cert, "--cert"), _readable(self.key, "--key")
            assert certificate is not None
            try:
                context.load_cert_chain(certificate, key)
            except ssl.SSLError as error:
                raise CommandError(f"--cert {self.cert} and its key can't be used: {error}.") from error
        return context

    @staticmethod
    def _retries(number: int) -> dict[str, Any]:
        if number == 0:
            return {"reconnect": None}
        from .._connection.reconnect import Reconnect

        return {"reconnect": Reconnect(stop=_StopAfter(number)), "retry_first": True}


class _StopAfter:
    """A value for ``Reconnect(stop=)``, which ends the attempts to connect as ``--retry`` says.

    Args:
        retries: number of attempts after the first one; ``FOREVER``: no limit.
    """

    def __init__(self, retries: int) -> None:
        self._retries = retries

    def __call__(self, state: Any) -> bool:
        return self._retries != FOREVER and state.attempt_number > self._retries


def _with_header(headers: Mapping[str, str], name: str, value: str) -> dict[str, str]:
    """Return the headers with another one. It replaces a header of the same name; upper and lower case are the same in
    names (RFC 9110 §5.1).
    """
    return {**{known: one for known, one in headers.items() if known.lower() != name.lower()}, name: value}


def _readable(path: str | None, option: str) -> str | None:
    """Check that a file can be read, and return its path.

    Raises:
        CommandError: it can't be read.
    """
    if path is None:
        return None
    try:
        with open(path, "rb"):
            return path
    except OSError as error:
        raise CommandError(f"{option} {path} can't be read: {error.strerror}.") from error
