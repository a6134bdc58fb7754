"""A soak of any length: one run after the other. The records of a run are discarded after its check, to save memory."""

from __future__ import annotations

import math
import threading
import time
from typing import Final

from .round import Result, Round
from .screen import PlainScreen, Screen, rows_of, summary

__all__ = ["replay_command", "soak"]

ROUND_SECONDS: Final = 60.0
"""Longest time of one run, in seconds. The first run has the given seed, each further run the next higher one."""

LOOK: Final = 0.25
"""Seconds between two updates of the screen."""

REPORTED: Final = 20
"""How many broken promises of a run are shown; one defect of the library breaks many."""


def soak(seconds: float, seed: int, screen: Screen | None = None, tls: bool | None = None) -> list[Result]:
    """Run clients under load and faults, and compare the results of callers with what the server received.

    Args:
        seconds: the total time; runs of at most 60 s follow each other.
        seed: the seed of the first run.
        screen: shows the progress; by default line by line.
        tls: with or without TLS in each run; None if its seed decides.

    Returns:
        The result of each run.
    """
    screen = PlainScreen() if screen is None else screen
    rounds = max(1, math.ceil(seconds / ROUND_SECONDS))
    results: list[Result] = []
    try:
        for number in range(rounds):
            length = min(ROUND_SECONDS, seconds - number * ROUND_SECONDS)
            result = _play(Round(seed + number, length, tls), screen, number * ROUND_SECONDS, seconds, results)
            results.append(result)
            _tell(screen, result, replay_command(result.seed, length, tls))
    except KeyboardInterrupt:
        screen.note("Interrupted: the summary contains the finished runs.")
    finally:
        screen.close()
    for title, rows in summary(results):
        screen.table(title, rows)
    return results


def replay_command(seed: int, seconds: float, tls: bool | None = None) -> str:
    """The command that repeats a run with the same faults and the same load."""
    wanted = "" if tls is None else " --tls" if tls else " --no-tls"
    return f"python -m tests.soak --seconds {seconds:g} --seed {seed}{wanted}"


class _Player:
    """Plays a run in a thread of its own, so that the main thread can show the progress."""

    def __init__(self, round_: Round) -> None:
        self.result: Result | None = None
        self.error: BaseException | None = None
        self._round = round_
        self.thread = threading.Thread(target=self._play, name="soak-run", daemon=True)
        self.thread.start()

    def _play(self) -> None:
        try:
            self.result = self._round.play()
        except BaseException as error:
            self.error = error


def _play(round_: Round, screen: Screen, before: float, total: float, results: list[Result]) -> Result:
    player = _Player(round_)
    began = time.monotonic()
    broken = sum(len(result.verdict.broken) for result in results)
    try:
        while player.thread.is_alive():
            done = min(round_.seconds, time.monotonic() - began)
            screen.progress(before + done, total, rows_of(round_, broken))
            player.thread.join(LOOK)
    except KeyboardInterrupt:
        round_.stop()
        player.thread.join()
        raise
    if player.error is not None:
        raise player.error
    assert player.result is not None
    return player.result


def _tell(screen: Screen, result: Result, again: str) -> None:
    circumstances = f"{result.dialing}; {result.ending}"
    if not result.verdict.broken:
        screen.note(f"Run with seed {result.seed}: every promise kept ({circumstances}).")
        return
    screen.note(f"Run with seed {result.seed}: {len(result.verdict.broken)} broken promises ({circumstances}).")
    for sentence in result.verdict.broken[:REPORTED]:
        screen.note(f"  {sentence}")
    if len(result.verdict.broken) > REPORTED:
        screen.note(f"  … and {len(result.verdict.broken) - REPORTED} more.")
    screen.note(f"Repeat it with: {again}")
