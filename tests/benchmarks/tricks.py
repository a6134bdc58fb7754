"""The gain of each optimisation of the hot paths: the same case with it and without it, in turns.

``python -m tests.benchmarks.tricks [ROUNDS]``. Each optimisation is removed in a separate process, by a change to the
loaded library that is defined here. One that gains less than 5 % in its best case is removed from the library.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from wsclient._rfc6455 import read_size

from .cases import CASES

OURS = "wsclient"
WITHOUT = "wsclient without: "
"""Prefix of the name of a peer that is this library without one optimisation."""

ROUNDS = 7


def _no_large_reads() -> None:
    from wsclient._rfc6455 import frames

    read_size._keep_memory()  # which is a separate optimisation
    frames.next_read_size = lambda size, messages, missing: read_size.READ_SIZE


def _no_kept_memory() -> None:
    read_size._keep_memory = lambda: None


def _no_floods() -> None:
    from wsclient._sending import sender

    sender.BURST = sys.maxsize


def _no_way_past_the_queue() -> None:
    from wsclient._sending import sender

    sender.Sender.write_now = lambda self, entry: False


def _no_accelerator() -> None:
    from wsclient._rfc6455 import masking

    masking.apply_mask = masking.mask_in_python


def _accelerator_now() -> None:
    from wsclient._rfc6455 import masking

    masking.apply_mask = masking.accelerated() or masking.mask_in_python


def _no_joining() -> None:
    from wsclient._sending import writer

    writer.JOINED_BYTES = 1


def _no_inline_write() -> None:
    from wsclient._sending import sender
    from wsclient._threads import guard

    sender.Sender.write_now = lambda self, entry: False
    guard.Guard.on_main_thread = lambda self: True  # so that ``write_queued`` leaves it to the I/O thread


def _no_pool_of_keys() -> None:
    from wsclient._rfc6455 import masking

    masking.keys.clear()
    masking.new_key = lambda: os.urandom(4)


def _no_short_cut_in_the_inbox() -> None:
    from wsclient._receiving import inbox
    from wsclient._threads.sections import this_thread

    def put(self, item, size, key=None, must_keep_reading=False):
        max_items, max_bytes, _ = self._bounds
        with this_thread.section, self._lock:
            verdict = inbox.Put.KEPT if self.ended else self._put_at_limit(item, size, key, must_keep_reading)
            self.full = self.overflow == "block" and (len(self) >= max_items or self._bytes >= max_bytes)
        self._filled.announce()
        return verdict

    inbox.Inbox.put = put


def _no_splicing() -> None:
    from wsclient.protocols import JsonId

    JsonId._encodes_by_id = lambda self: True


def _one_message_at_a_time() -> None:
    from wsclient._receiving import inbox

    inbox._BATCH_FROM = sys.maxsize


class Trick(NamedTuple):
    """One optimisation.

    Attributes:
        what: its description.
        case: the case in which it gains most.
        undo: removes it.
    """

    what: str
    case: str
    undo: Callable[[], None]


TRICKS = {
    "large-reads": Trick("a MiB a read while messages are large", "receive-64k", _no_large_reads),
    "kept-memory": Trick("malloc keeps what large messages give back", "receive-1m", _no_kept_memory),
    "floods": Trick("a flood is left to the I/O thread", "send", _no_floods),
    "past-the-queue": Trick("past the queue, in the main thread too", "request-main", _no_way_past_the_queue),
    "accelerator": Trick("masking in C", "send-1m", _no_accelerator),
    "accelerator-small": Trick("masking in C, 128 bytes", "send", _no_accelerator),
    "joining": Trick("many frames in one send()", "request-many", _no_joining),
    "inline": Trick("the caller writes, not the I/O thread", "request", _no_inline_write),
    "keys": Trick("1 024 masking keys from one urandom()", "send", _no_pool_of_keys),
    "inbox": Trick("a short cut for a message that finds room", "receive", _no_short_cut_in_the_inbox),
    "handfuls": Trick("the hook thread takes 16 messages at once", "receive", _one_message_at_a_time),
    "splicing": Trick("the id is spliced into the encoded request", "request-many", _no_splicing),
}


def begin(peer: str) -> None:
    """Remove the optimisation in the name of this peer. All others have the accelerator from the start."""
    name = peer.removeprefix(WITHOUT)
    if not name.startswith("accelerator"):
        _accelerator_now()
    if peer != OURS:
        TRICKS[name].undo()


def main(rounds: int = ROUNDS) -> None:
    """Measure all of them and print a table."""
    from .running import measure

    console = Console(width=None if sys.stdout.isatty() else 120)
    table = Table("trick", "case", "with, µs", "without, µs", "gain")
    for name, trick in TRICKS.items():
        figures = measure([trick.case], [OURS, WITHOUT + name], rounds)[trick.case]
        with_it, without = figures[OURS]["cpu"], figures[WITHOUT + name]
        gain = 1 - 1 / without["ratio"]
        table.add_row(trick.what, CASES[trick.case].title, f"{with_it:.2f}", f"{without['cpu']:.2f}", f"{gain:.0%}")
        console.print(f"{name}: {gain:.0%}")
    console.print(table)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
