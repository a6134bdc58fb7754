"""The measured cases. Each case is one operation, done many times; the figures are microseconds of one."""

from __future__ import annotations

import statistics
from typing import NamedTuple

from .peers.base import Peer
from .texts import row_of, text_of

KIB = 1024
MIB = 1024 * KIB


class Case(NamedTuple):
    """One case.

    Attributes:
        title: its description.
        action: ``receive``, ``send``, ``requests``, ``parallel`` or ``request_many``.
        count: how many operations a round has.
        size: bytes of a message; 0 for rows of market data of about 300 bytes.
        threads: how many threads make requests.
        main: whether it runs in the main thread, where interrupts are possible.
        deflated: whether messages are compressed.
    """

    title: str
    action: str
    count: int
    size: int = 128
    threads: int = 1
    main: bool = False
    deflated: bool = False


CASES = {
    "receive": Case("receive", "receive", 20_000),
    "receive-64k": Case("receive 64 KiB", "receive", 600, 64 * KIB),
    "receive-1m": Case("receive 1 MiB text", "receive", 40, MIB),
    "receive-deflate": Case("receive, compressed", "receive", 4_000, 0, deflated=True),
    "send": Case("send", "send", 20_000),
    "send-main": Case("send, main thread", "send", 20_000, main=True),
    "send-1m": Case("send 1 MiB text", "send", 20, MIB),
    "send-deflate": Case("send, compressed", "send", 4_000, 0, deflated=True),
    "request": Case("request", "requests", 3_000),
    "request-main": Case("request, main thread", "requests", 3_000, main=True),
    "request-16": Case("request, 16 threads", "parallel", 4_800, threads=16),
    "request-many": Case("request_many", "request_many", 5_000),
}


def prepare(case: Case, peer: Peer) -> list[str]:
    """Preparation before the clock starts; returns the messages to send."""
    if case.action == "receive":
        peer.order(f"!prepare {case.count} {case.size}")
    if case.action != "send":
        return []
    peer.order(f"!sink {case.count}")
    if case.deflated:
        return [row_of(number) for number in range(case.count)]
    return [text_of(case.size)] * case.count


def run(case: Case, peer: Peer, payloads: list[str]) -> float | None:
    """Run it; return the median of the single operations in seconds, if each has a separate end."""
    if case.action == "receive":
        peer.receive(case.count)
    elif case.action == "send":
        peer.send(payloads)
    elif case.action == "parallel":
        peer.parallel(case.threads, case.count)
    elif case.action == "request_many":
        peer.request_many(case.count)
    else:
        return statistics.median(peer.requests(case.count))
    return None
