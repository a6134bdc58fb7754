"""A peer in a separate process: connects, then measures a case for each line that it receives.

``python -m tests.benchmarks.worker PEER URL``. A case as JSON on standard input, a line of JSON back: microseconds of
wall and of CPU time (of all threads) for one operation, and the median of single ones if there is one.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

from .cases import Case, prepare, run
from .machine import CLIENT_CORE, pin
from .peers import make
from .peers.base import Peer


def measure(case: Case, peer: Peer) -> dict[str, float | None]:
    """One round of a case."""
    payloads = prepare(case, peer)
    if case.main or peer.one_thread:
        return _measure(case, peer, payloads)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(_measure, case, peer, payloads).result()


def _measure(case: Case, peer: Peer, payloads: list[str]) -> dict[str, float | None]:
    cpu, wall = time.process_time(), time.perf_counter()
    median = run(case, peer, payloads)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {
        "wall": wall / case.count * 1e6,
        "cpu": cpu / case.count * 1e6,
        "p50": None if median is None else median * 1e6,
    }


def main(name: str, url: str) -> None:
    """Answer until standard input ends."""
    pin(CLIENT_CORE)
    peers: dict[bool, Peer] = {}
    for line in sys.stdin:
        case = Case(**json.loads(line))
        try:
            if case.deflated not in peers:
                peers[case.deflated] = make(name, url + ("deflate" if case.deflated else ""), case.deflated)
            answer = measure(case, peers[case.deflated])
        except NotImplementedError as error:
            answer = {"unable": str(error) or "it can't do that"}
        except ModuleNotFoundError as error:
            answer = {"missing": f"the package {error.name} is not installed"}
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)
    os._exit(0)  # closing is not measured


if __name__ == "__main__":
    main(*sys.argv[1:])
