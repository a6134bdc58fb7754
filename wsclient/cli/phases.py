"""The phases of a connection up to TLS, each measured separately: proxy, look-up, TCP, tunnel, TLS.

They use the functions with which the client opens its connections.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from .._errors import ConnectError, ProxyError, text_of
from .._network import dial, tls
from .._network import proxy as _proxy
from .._network.lookup import Lookups, address_of
from .._network.poller import READ, WRITE, Poller
from .._network.transport import make_transport
from .._options import DEFAULT_LIMITS
from .._threads.waiting import Deadline
from .._threads.wakeup import Wakeup
from . import causes
from .diagnosis import Diagnosis, Failed, Finding
from .exits import sentence_of

if TYPE_CHECKING:
    from .._network.options import NetworkOptions
    from .._network.proxy import Proxy
    from .._rfc6455.url import Target
    from .certificates import Certificate

__all__ = ["NetworkPhases", "Waits"]

_FEW_DAYS: Final = 14
"""Days. A certificate that expires within this time is a warning. A certificate of 90 days is usually renewed 30 days
before it expires."""

_FAMILIES: Final = {socket.AF_INET: "IPv4", socket.AF_INET6: "IPv6"}
_VARIABLES: Final = {"ws": ("ws_proxy", "http_proxy", "all_proxy"), "wss": ("wss_proxy", "https_proxy", "all_proxy")}
"""The environment variables that may name the proxy, for each scheme of a URL."""

_TRIAL: Final = 2.0
"""Longest time in seconds of a further connection that finds out whether the port uses TLS, or HTTP without TLS."""


class Waits:
    """Waits for sockets on the calling thread. It implements the protocol ``_network.poller.Watch``."""

    def __init__(self) -> None:
        self._wakeup = Wakeup()
        self._poller = Poller(self._wakeup)

    def wait(self, sock: socket.socket, events: int, deadline: Deadline) -> None:
        """Wait until the socket is ready; raise ``TimeoutError`` at the deadline."""
        try:
            while not self._poller.wait(sock, events, _left(deadline)):
                pass
        finally:
            self._poller.forget()

    def wait_any(self, socks: dict[socket.socket, int], deadline: Deadline) -> list[socket.socket]:
        """Wait until some of the sockets are ready, and return those; an empty list at the deadline."""
        while not (ready := self._poller.wait_any(socks, deadline.left(time.monotonic()))):
            if deadline.passed(time.monotonic()):
                break
        return ready

    def wait_until(self, happened: Callable[[], bool], deadline: Deadline) -> None:
        """Wait until the condition is true; raise ``TimeoutError`` at the deadline."""
        while not happened():
            self._poller.wait(None, 0, _left(deadline))

    @property
    def wake(self) -> Callable[[], None]:
        """Return a function that ends the present wait. Any thread may call it."""
        return self._wakeup.wake

    def close(self) -> None:
        """Close the descriptors."""
        self._wakeup.close()


class _Dialing(threading.Thread):
    """Connects to one address, while other threads connect to the other addresses. It is a daemon, so the process can
    end after Ctrl-C before the attempt has ended.

    Attributes:
        address: the address.
        sock: the connected socket, or None.
        error: why it is not connected, or None.
        seconds: how long it took.
    """

    def __init__(self, address: dial.Address, deadline: Deadline) -> None:
        super().__init__(name="wsclient-probe", daemon=True)
        self.address = address
        self.sock: socket.socket | None = None
        self.error: OSError | None = None
        self.seconds = 0.0
        self._deadline = deadline

    def run(self) -> None:
        """Connect."""
        waits = Waits()
        began = time.monotonic()
        try:
            self.sock = dial.connect([self.address], None, waits, self._deadline)
        except OSError as error:
            self.error = error
        self.seconds = time.monotonic() - began
        waits.close()

    def facts(self) -> dict[str, Any]:
        """Return the values for machines."""
        family, (address, port, *_) = self.address
        return {
            "family": _family(family),
            "address": address,
            "port": port,
            "seconds": round(self.seconds, 6),
            "error": None if self.error is None else _words(self.error),
        }

    def line(self, used: _Dialing | None) -> str:
        """Return the line for people; ``used`` is the attempt whose connection is used."""
        family, (address, port, *_) = self.address
        mark = "" if self is not used else "  <- used"
        return f"{_family(family)} {address} port {port}: {_outcome(self.error, self.seconds)}{mark}"


class NetworkPhases:
    """Opens a socket to one server, phase by phase.

    Args:
        target: the server.
        options: those of the client; ``open_timeout`` limits each phase.
        diagnosis: receives the findings.
    """

    def __init__(
        self,
        target: Target,
        options: NetworkOptions,
        diagnosis: Diagnosis,
    ) -> None:
        self._target = target
        self._options = options
        self._context: ssl.SSLContext | None = None
        self._name = options.server_hostname or target.tls_name
        self._diagnosis = diagnosis
        self._waits = Waits()
        self._lookups = Lookups(self._waits, "wsclient-probe")
        self._proxy: Proxy | None = None
        self._address: dial.Address | None = None

    def close(self) -> None:
        """Close the descriptors that the waits use."""
        self._waits.close()

    def context(self) -> ssl.SSLContext:
        """Return the client's TLS settings. They are made only once, since making them loads all CAs of the
        system.

        Raises:
            ConnectError: they can't be made.
        """
        if self._context is None:
            self._context = tls.tls_context(self._options)
        return self._context

    def open(self) -> socket.socket | None:
        """Go through all phases.

        Returns:
            The connected socket, with TLS if the scheme of the URL is ``wss``. None for a ``wss`` server behind an
            ``https`` proxy: the connection is TLS within TLS, which only the client can open.

        Raises:
            Failed: a phase failed.
        """
        if self._target.path is not None:
            return self._unix(self._target.path)
        self._proxy = self._choose_proxy()
        addresses = self._look_up()
        sock = self._tcp(addresses)
        if self._proxy is not None:
            if self._proxy.scheme == "https" and self._target.secure:
                sock.close()
                self._diagnosis.add(Finding("tls", "not measured: TLS to the server is within TLS to the proxy", "ok"))
                return None
            sock = self._tunnel_phase(sock)
        return self._tls_phase(sock) if self._target.secure else sock

    # --- the phases --------------------------------------------------------------------------------------------------

    def _unix(self, path: str) -> socket.socket:
        finding = self._diagnosis.add(Finding("tcp", f"Unix domain socket {path}", facts={"path": path}))
        began = time.monotonic()
        try:
            sock = dial.connect_unix(path, self._waits, self._deadline())
        except OSError as error:
            raise Failed(finding, f"{path}: {_words(error)}.", causes.of_tcp([error])) from error
        finding.seconds = time.monotonic() - began
        return sock

    def _choose_proxy(self) -> Proxy | None:
        finding = self._diagnosis.add(Finding("proxy", facts={"url": None, "from": None}))
        try:  # on Windows and macOS this may look up the server's name
            found = self._lookups.run(
                "proxy", partial(_proxy.choose, self._options.proxy, self._target), self._deadline()
            )
        except (ProxyError, TimeoutError) as error:
            raise Failed(finding, sentence_of(error, 500), "") from error
        source = self._source_of_proxy()
        if found is None:
            exempt = "" if source is None else f": NO_PROXY exempts this host from {source}"
            finding.summary = f"none{exempt}"
            return None
        finding.facts = {"url": repr(found), "from": source or "the system's settings"}
        finding.summary = f"{found!r}, from {finding.facts['from']}"
        return found

    def _source_of_proxy(self) -> str | None:
        """The option or environment variable that names the proxy."""
        if self._options.proxy is None:
            return None
        if self._options.proxy != "env":
            return "--proxy"
        names = [name for lower in _VARIABLES[self._target.scheme] for name in (lower, lower.upper())]
        return next((name for name in names if os.environ.get(name)), None)

    def _look_up(self) -> list[dial.Address]:
        host, port = (
            (self._target.host, self._target.port) if self._proxy is None else (self._proxy.host, self._proxy.port)
        )
        finding = self._diagnosis.add(Finding("dns", facts={"host": host, "addresses": []}))
        began = time.monotonic()
        try:
            addresses = dial.resolve(host, port, self._lookups, self._deadline())
        except ConnectError as error:
            finding.seconds, finding.summary = time.monotonic() - began, f"{host} was not found"
            raise Failed(finding, sentence_of(error, 500), causes.of_lookup(error.last, host)) from error
        finding.seconds = time.monotonic() - began
        found = [(_family(family), address[0]) for family, address in addresses]
        finding.facts["addresses"] = [{"family": family, "address": address} for family, address in found]
        finding.details = [f"{family} {address}" for family, address in found]
        whose = "the proxy " if self._proxy is not None else ""
        if address_of(host) is not None:
            finding.summary, finding.seconds, finding.details = f"{whose}{host} is an address", None, []
        else:
            finding.summary = f"{whose}{host}: {_count(len(found), 'address', 'addresses')}"
        return addresses

    def _tcp(self, addresses: list[dial.Address]) -> socket.socket:
        finding = self._diagnosis.add(Finding("tcp"))
        deadline = self._deadline()
        attempts = [_Dialing(address, deadline) for address in addresses]
        for attempt in attempts:
            attempt.start()
        for attempt in attempts:
            attempt.join()
        finding.facts["addresses"] = [attempt.facts() for attempt in attempts]
        connected = [(number, attempt) for number, attempt in enumerate(attempts) if attempt.sock is not None]
        if not connected:
            finding.summary = "no address accepts a connection"
            finding.details = [attempt.line(None) for attempt in attempts]
            errors = [attempt.error for attempt in attempts if attempt.error is not None]
            words = "; ".join(dict.fromkeys(_words(error) for error in errors))
            where = _count(len(attempts), "address", "addresses")
            raise Failed(finding, f"No connection to {where}: {words}.", causes.of_tcp(errors))
        # The client begins an attempt every `attempt_delay` seconds, and takes the connection that is open first.
        _, used = min(connected, key=lambda pair: pair[0] * DEFAULT_LIMITS.attempt_delay + pair[1].seconds)
        for attempt in attempts:
            if attempt.sock is not None and attempt is not used:
                attempt.sock.close()
        finding.facts["used"] = used.facts()["address"]
        finding.details = [attempt.line(used) for attempt in attempts]
        finding.summary = f"{len(connected)} of {_count(len(attempts), 'address', 'addresses')} accept"
        finding.seconds = used.seconds
        finding.state = "ok" if len(connected) == len(attempts) else "warning"
        self._address = used.address
        sock = used.sock
        assert sock is not None
        return sock

    def _tunnel_phase(self, sock: socket.socket) -> socket.socket:
        target = self._target
        finding = self._diagnosis.add(Finding("tunnel", f"the proxy opened a tunnel to {target.host}:{target.port}"))
        began = time.monotonic()
        try:
            sock = self._tunnel(sock, self._deadline())
        except OSError as error:
            finding.summary, finding.seconds = "the proxy opened no tunnel", time.monotonic() - began
            cause = error.last if isinstance(error, ConnectError) else error
            sentence = sentence_of(error, 500) if isinstance(error, ConnectError) else f"{_words(error)}."
            raise Failed(finding, sentence, causes.of_proxy(cause, sentence)) from error
        finding.seconds = time.monotonic() - began
        return sock

    def _tls_phase(self, sock: socket.socket) -> socket.socket:
        finding = self._diagnosis.add(Finding("tls"))
        try:
            context = self.context()
        except ConnectError as error:
            sock.close()
            raise Failed(finding, sentence_of(error, 500), "") from error
        began = time.monotonic()
        try:
            secured = tls.start_tls(sock, self._name, context, self._waits, self._deadline())
        except ssl.SSLCertVerificationError as error:
            finding.seconds = time.monotonic() - began
            raise self._refused_certificate(finding, error) from error
        except OSError as error:
            finding.seconds, finding.summary = time.monotonic() - began, "the handshake failed"
            error_text = f"The TLS handshake failed: {_words(error)}."
            raise Failed(finding, error_text, causes.of_tls(error, answers_http=self.answers_http())) from error
        finding.seconds = time.monotonic() - began
        self._describe(finding, secured, is_verified=context.verify_mode is not ssl.CERT_NONE)
        return secured

    # --- the certificate ---------------------------------------------------------------------------------------------

    def _refused_certificate(self, finding: Finding, error: ssl.SSLCertVerificationError) -> Failed:
        """Show the certificate by a second handshake, which does not verify it."""
        chain: list[Certificate] = []
        try:
            secured = self._connect_unverified(self._deadline())
        except OSError as second:
            finding.details.append(
                f"the certificate can't be shown, since a second connection failed: {_words(second)}"
            )
        else:
            chain = self._describe(finding, secured, is_verified=False)
            secured.close()
        finding.summary = "the certificate was refused"
        words = f"The certificate was refused: {error.verify_message.rstrip('.')}."
        finding.facts["verify_code"], finding.facts["verify_message"] = error.verify_code, error.verify_message
        return Failed(finding, words, causes.of_certificate(error.verify_code, self._name, chain))

    def _describe(self, finding: Finding, sock: ssl.SSLSocket, *, is_verified: bool) -> list[Certificate]:
        try:
            from .certificates import decode  # only TLS needs `cryptography`, which takes 70 ms to import

            chain = [decode(der) for der in _chain(sock)]
        except ValueError as error:
            chain = []
            finding.details.append(f"the certificate can't be shown: {error}")
        cipher = sock.cipher()
        facts: dict[str, Any] = {
            "version": sock.version(),
            "cipher": None if cipher is None else cipher[0],
            "alpn": sock.selected_alpn_protocol(),
            "verified": is_verified,
            "server_name": self._name,
            "chain": [_certificate_facts(one) for one in chain],
        }
        finding.facts |= facts
        verdict = "the certificate is valid" if is_verified else "the certificate is NOT verified"
        finding.summary = f"{facts['version']}, {verdict}"
        finding.details += [
            f"{facts['version']}, cipher {facts['cipher']}",
            f"ALPN {facts['alpn'] or 'none (the client offers none)'}",
        ]
        if not is_verified:
            finding.state = "warning"
        if chain:
            self._describe_chain(finding, chain)
        return chain

    def _describe_chain(self, finding: Finding, chain: list[Certificate]) -> None:
        leaf, days = chain[0], chain[0].days_left(datetime.now(timezone.utc))
        matches = leaf.matches(self._name)
        finding.facts |= {"issuer": chain[0].issuer, "days_left": days, "matches": matches, "names": list(leaf.names)}
        if days < _FEW_DAYS:
            finding.state = "warning"
        ends = f"{days} days left" if days >= 0 else f"EXPIRED {-days} days ago"
        finding.details += [
            f"certificate {leaf.subject or '(without a subject)'}",
            f"issuer {leaf.issuer}",
            f"valid from {leaf.not_before:%Y-%m-%d} to {leaf.not_after:%Y-%m-%d}: {ends}",
            f"names {', '.join(leaf.names) or '(none)'}: {self._name} {'matches' if matches else 'DOES NOT MATCH'}",
            *(f"chain {number}: {one.subject}, issuer {one.issuer}" for number, one in enumerate(chain[1:], 1)),
        ]

    # --- further connections -----------------------------------------------------------------------------------------

    def speaks_tls(self) -> bool:
        """Find out by a further connection whether the port accepts TLS."""
        with contextlib.suppress(OSError, ValueError):
            self._connect_unverified(self._deadline(_TRIAL)).close()
            return True
        return False

    def answers_http(self) -> bool:
        """Find out by a further connection whether the port answers HTTP without TLS."""
        deadline = self._deadline(_TRIAL)
        try:
            sock = self._connect(deadline)
        except OSError:
            return False
        with sock, contextlib.suppress(OSError):
            self._waits.wait(sock, WRITE, deadline)
            sock.send(f"GET / HTTP/1.1\r\nHost: {self._target.host_header}\r\n\r\n".encode("latin-1"))
            self._waits.wait(sock, READ, deadline)
            return sock.recv(16).startswith(b"HTTP/1.")
        return False

    def _connect(self, deadline: Deadline) -> socket.socket:
        """Connect again, through the tunnel if there is a proxy."""
        if self._address is None:
            raise ConnectionError("there is no address")
        sock = dial.connect([self._address], None, self._waits, deadline)
        return sock if self._proxy is None else self._tunnel(sock, deadline)

    def _connect_unverified(self, deadline: Deadline) -> ssl.SSLSocket:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return tls.start_tls(self._connect(deadline), self._name, context, self._waits, deadline)

    def _tunnel(self, sock: socket.socket, deadline: Deadline) -> socket.socket:
        """Let the proxy open a tunnel. If that fails, the socket is closed."""
        assert self._proxy is not None
        try:
            if self._proxy.scheme == "https":
                context = self.context()
                bare = tls.without_certificate(context, had_authorities=tls.has_authorities(context))
                sock = tls.start_tls(sock, self._proxy.host, bare, self._waits, deadline)
            _proxy.open_tunnel(make_transport(sock), self._proxy, self._target, self._waits, deadline, self._lookups)
        except BaseException:
            sock.close()
            raise
        return sock

    def _deadline(self, seconds: float | None = None) -> Deadline:
        longest = self._options.open_timeout
        return Deadline.after(longest if seconds is None else min(seconds, longest), time.monotonic())


def _left(deadline: Deadline) -> float | None:
    left = deadline.left(time.monotonic())
    if left == 0.0:
        raise TimeoutError
    return left


def _chain(sock: ssl.SSLSocket) -> list[bytes]:
    """The certificates that the server sent; before Python 3.13 only its own one."""
    if sys.version_info < (3, 13):  # pragma: no cover  (coverage is measured with a later version)
        leaf = sock.getpeercert(binary_form=True)
        return [] if leaf is None else [leaf]
    return list(sock.get_unverified_chain())


def _certificate_facts(one: Certificate) -> dict[str, Any]:
    return {
        "subject": one.subject,
        "issuer": one.issuer,
        "names": list(one.names),
        "not_before": one.not_before.isoformat(),
        "not_after": one.not_after.isoformat(),
        "days_left": one.days_left(datetime.now(timezone.utc)),
    }


def _family(family: int) -> str:
    return next((name for known, name in _FAMILIES.items() if known == family), str(family))


def _outcome(error: OSError | None, seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if error is None else _words(error)


def _words(error: BaseException) -> str:
    """What happened, as a part of a sentence."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.rstrip(".")
    return text_of(error, 300).rstrip(".") or type(error).__name__


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
