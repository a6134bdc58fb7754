"""The messages of the benchmarks, and the compression of both sides. Needs no package: every module may import it."""

from __future__ import annotations

import json
import random

WINDOW_BITS = 12
MEMORY_LEVEL = 5
LEVEL = 6
"""The compression level of both sides: the default of ``websockets``."""


def text_of(size: int) -> str:
    """A text of that many bytes that is not JSON: letters that zlib can hardly compress."""
    return "".join(random.Random(size).choices("abcdefghijklmnopqrstuvwxyz ABCDEFGH.,0123456789", k=size))


def row_of(number: int) -> str:
    """A line of market data of about 300 bytes, as in real feeds."""
    chance = random.Random(number)
    return json.dumps({
        "channel": "trades", "symbol": chance.choice(["BTC-USD", "ETH-USD", "SOL-EUR"]),
        "sequence": 10_000_000 + number,
        "time": 1_700_000_000_000 + 37 * number, "side": chance.choice(["buy", "sell"]),
        "price": f"{chance.uniform(100, 60_000):.2f}", "size": f"{chance.uniform(0, 10):.8f}",
        "maker": f"{chance.getrandbits(64):016x}", "taker": f"{chance.getrandbits(64):016x}",
        "flags": ["post_only", "reduce_only"], "fee": {"currency": "USD", "rate": "0.0010"},
    })  # fmt: skip
