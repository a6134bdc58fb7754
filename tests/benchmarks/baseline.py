"""The comparison in CI: ratios to peers on the same machine in the same minute, never a time. Pure.

The file has ``machine`` (where it was recorded) and ``ratios``: case, peer, this library's CPU time divided by the
peer's.
"""

from __future__ import annotations

from typing import Any

from .cases import CASES as ALL
from .goals import OURS
from .running import Results

CASES = {
    **{name: ALL[name] for name in ("receive", "receive-1m", "send", "request", "request-16", "request-many")},
    "receive-1m": ALL["receive-1m"]._replace(count=200),  # 40 take 20 ms: too few for a stable ratio
}
PEERS = (OURS, "WebSocketApp tuned", "websockets.sync")
"""The subset that takes two minutes."""

ROUNDS = 5
TOLERANCE = 1.5
"""A ratio may be this many times the recorded one. Ratios of two runs on a busy machine differ by 10 or 20 %."""

LOOKS = 3
"""How often a case must be too slow, in consecutive measurements: a busy machine may disturb one of them."""

Ratios = dict[str, dict[str, float]]


def ratios(results: Results) -> Ratios:
    """Our CPU time divided by that of each peer."""
    return {
        case: {peer: round(1 / figures["ratio"], 3) for peer, figures in peers.items() if peer != OURS}
        for case, peers in results.items()
        if OURS in peers
    }


def recorded(results: Results, machine: dict[str, str]) -> dict[str, Any]:
    """The content of the file."""
    return {"machine": machine, "ratios": ratios(results)}


def worse(baseline: dict[str, Any], results: Results) -> dict[str, str]:
    """A sentence for each case that became too slow, by case."""
    measured = ratios(results)
    found = {}
    for case, peers in baseline["ratios"].items():
        sentences = [
            f"{case} takes {now:.2f} times the CPU time of {peer}; recorded are {before:.2f}, and more than "
            f"{TOLERANCE:g} times that is too slow."
            for peer, before in peers.items()
            if (now := measured.get(case, {}).get(peer)) is not None and now > TOLERANCE * before
        ]
        if sentences:
            found[case] = " ".join(sentences)
    return found


def unmatched(baseline: dict[str, Any], results: Results) -> list[str]:
    """A sentence for each pair of a case and a peer that only one side has, so that it was not compared."""
    before = {(case, peer) for case, peers in baseline["ratios"].items() for peer in peers}
    now = {(case, peer) for case, peers in ratios(results).items() for peer in peers}
    gone = [f"{case} beside {peer} is recorded but was not measured." for case, peer in sorted(before - now)]
    return gone + [f"{case} beside {peer} was measured but is not recorded." for case, peer in sorted(now - before)]
