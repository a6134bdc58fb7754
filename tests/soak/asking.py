"""Single calls of the client, each with a record of its outcome."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from wsclient._client.client import Client
from wsclient._errors import ClientClosed, ConnectionLost, RequestTimeout, SendQueueFull
from wsclient._models import Initiator
from wsclient._sending.delivery import Delivery

from .history import FINAL, Asked, Called, History, Sent

__all__ = [
    "Log",
    "Posted",
    "ask_at_once",
    "ask_many",
    "ask_matching",
    "ask_somehow",
    "ask_submitting",
    "flush",
    "send",
    "timed",
]

MOSTLY: Final = 2.0
"""Timeout of most requests, in seconds."""

SHORT: Final = (0.02, 0.4)
"""Range of the timeout of the other requests, in seconds: they may time out queued, waiting, or as the reply comes."""

SHORT_SHARE: Final = 0.2
IDEMPOTENT_SHARE: Final = 0.4
CANCELLED_SHARE: Final = 0.15
"""Shares of the requests with a short timeout, of the idempotent ones, and of those that are cancelled."""

LARGEST_HOLD: Final = 4
"""The server sends an answer after at most so many further messages."""

EXPIRING_SHARE: Final = 0.2
"""Share of the messages with ``expires=``."""

MANY: Final = 4
"""Messages that ``request_many`` sends at once."""


@dataclass
class Posted:
    """A message that was sent.

    Attributes:
        number, expires, earlier, expired_by: as in ``Sent``.
        delivery: its delivery.
    """

    number: int
    delivery: Delivery
    expires: tuple[float, float] | None = None
    earlier: str | None = None
    expired_by: float | None = None

    def look(self) -> str:
        """Read the delivery's state; record the first moment it is ``expired``, and the first final state."""
        state = self.delivery.state
        if state == "expired" and self.expired_by is None:
            self.expired_by = time.monotonic()
        if self.earlier is None and state in FINAL:
            self.earlier = state
        return state


class Log:
    """The random numbers and the records of one thread; no other thread uses them.

    Attributes:
        sender: the thread's name in messages.
        chance: its random numbers, seeded by the run's seed and the name.
        asked: its requests.
        called: its calls.
        deliveries: the messages it sent.
        surprises: a sentence for each unexpected event.
    """

    def __init__(self, sender: str, seed: int) -> None:
        self.sender = sender
        self.chance = random.Random(f"{seed} {sender}")
        self.asked: list[Asked] = []
        self.called: list[Called] = []
        self.deliveries: list[Posted] = []
        self.surprises: list[str] = []
        self._number = 0

    def next(self) -> int:
        """The number of the thread's next message."""
        self._number += 1
        return self._number

    def hand_over(self, history: History) -> None:
        """Add all records to the history. The thread must have ended, or hang in its last call."""
        history.asked += self.asked
        history.called += self.called
        history.surprises += self.surprises
        for one in self.deliveries:
            one.look()
        history.sent += [
            Sent(self.sender, one.number, one.delivery.state, one.earlier, one.expires, one.expired_by)
            for one in self.deliveries
        ]


def timed(log: Log, what: str, bound: float, call: Callable[[], Any]) -> Any:
    """Make a call, and record how long it took. Until it returns, it is recorded as a call that never returned.

    Args:
        log: where to record it.
        what: the call's name.
        bound: seconds that it may take.
        call: the call.

    Raises:
        BaseException: the exception of the call.
    """
    fact = Called(what, bound, float("inf"))
    log.called.append(fact)
    began = time.monotonic()
    try:
        return call()
    finally:
        fact.took = time.monotonic() - began


def ask_somehow(log: Log, client: Client) -> bool:
    """Make requests with a random one of the functions below. False if the client is closed."""
    return log.chance.choice((ask_at_once, ask_at_once, ask_submitting, ask_many, ask_matching))(log, client)


def ask_at_once(log: Log, client: Client) -> bool:
    """``request()``."""
    asked, message, timeout = _draw(log)
    call = partial(client.request, message, timeout=timeout, idempotent=asked.idempotent)
    return _end(log, asked, partial(timed, log, f"request({asked.key})", timeout, call))


def ask_matching(log: Log, client: Client) -> bool:
    """``request(match=)``: the reply is found by its key, not by its id."""
    asked, message, timeout = _draw(log)
    call = partial(
        client.request, message, timeout=timeout, idempotent=asked.idempotent, match=partial(_has_key, asked.key)
    )
    return _end(log, asked, partial(timed, log, f"request({asked.key}, match=)", timeout, call))


def ask_submitting(log: Log, client: Client) -> bool:
    """``submit()``; some are cancelled. The done-callback records the outcome, so that a second outcome is detected."""
    asked, message, timeout = _draw(log)
    try:
        future = timed(
            log,
            f"submit({asked.key})",
            0.0,
            partial(client.submit, message, timeout=timeout, idempotent=asked.idempotent),
        )
    except (ClientClosed, SendQueueFull):
        asked.outcomes.append("refused")
        return False
    future.add_done_callback(partial(_ended, log, asked))
    if log.chance.random() < CANCELLED_SHARE:
        future.cancel()
        return True
    try:
        timed(log, f"result of submit({asked.key})", timeout, partial(future.exception, timeout + 10.0))
    except CancelledError:
        log.surprises.append(f"{asked.key} was cancelled, although no thread had cancelled it.")
    return True


def ask_many(log: Log, client: Client) -> bool:
    """``request_many()``."""
    drawn = [_draw(log, hold=False) for _ in range(MANY)]
    idempotent, timeout = drawn[0][0].idempotent, drawn[0][2]
    for asked, _, _ in drawn:
        asked.idempotent = idempotent
    call = partial(
        client.request_many,
        [message for _, message, _ in drawn],
        timeout=timeout,
        return_exceptions=True,
        idempotent=idempotent,
    )
    try:
        results = timed(log, f"request_many({drawn[0][0].key}, …)", timeout, call)
    except ClientClosed:
        for asked, _, _ in drawn:
            asked.outcomes.append("closed")
        return False
    for (asked, _, _), result in zip(drawn, results, strict=True):
        _note(log, asked, result)
    return True


def send(log: Log, client: Client, size: int) -> Posted:
    """``send()``.

    Raises:
        ClientClosed: as the call does.
    """
    number = log.next()
    # Random digits: compressible text would not fill the socket's buffers.
    message = {"op": "note", "key": f"{log.sender}:{number}", "pad": f"{log.chance.getrandbits(4 * size + 4):x}"}
    expires = log.chance.uniform(0.0, 1.0) if log.chance.random() < EXPIRING_SHARE else None
    call = partial(client.send, message, timeout=5.0, expires=expires)
    began = time.monotonic()
    delivery: Delivery = timed(log, f"send({log.sender}:{number})", 0.0, call)
    posted = Posted(number, delivery)
    if expires is not None:
        posted.expires = began + expires, time.monotonic() + expires
    log.deliveries.append(posted)
    return posted


def flush(log: Log, client: Client, timeout: float) -> bool:
    """``flush()``. False if the client is closed."""
    try:
        timed(log, "flush()", timeout, partial(client.flush, timeout))
    except ClientClosed:
        return False
    except (ConnectionLost, RequestTimeout):
        pass
    return True


def _draw(log: Log, *, hold: bool = True) -> tuple[Asked, dict[str, Any], float]:
    chance = log.chance
    asked = Asked(log.sender, log.next(), chance.random() < IDEMPOTENT_SHARE)
    log.asked.append(asked)
    message: dict[str, Any] = {"op": "echo", "key": asked.key, "pad": "x" * chance.randint(0, 300)}
    if hold:
        message["hold"] = chance.randint(0, LARGEST_HOLD)
    return asked, message, chance.uniform(*SHORT) if chance.random() < SHORT_SHARE else MOSTLY


def _end(log: Log, asked: Asked, call: Callable[[], Any]) -> bool:
    try:
        result = call()
    except Exception as error:
        result = error
    _note(log, asked, result)
    return not isinstance(result, ClientClosed)


def _ended(log: Log, asked: Asked, future: Future[Any]) -> None:
    """On the hook thread."""
    if future.cancelled():
        asked.outcomes.append("cancelled")
    else:
        error = future.exception()
        _note(log, asked, future.result() if error is None else error)


def _note(log: Log, asked: Asked, result: Any) -> None:
    outcome = _outcome(result)
    if outcome is None:
        outcome = "failed"
        log.surprises.append(f"request {asked.key} ended with {result!r}.")
    if outcome == "answered":
        asked.reply = result["key"]
    if isinstance(result, ConnectionLost) and result.disconnect is not None:
        asked.renewed_at = time.monotonic() if result.disconnect.initiator is Initiator.RENEWAL else None
    asked.outcomes.append(outcome)


def _outcome(result: Any) -> str | None:
    if isinstance(result, ConnectionLost):
        return {True: "lost sent", False: "lost unsent", None: "lost somehow"}[result.sent]
    if isinstance(result, RequestTimeout):
        return f"timeout {result.phase}"
    if isinstance(result, SendQueueFull):
        return "refused"
    if isinstance(result, ClientClosed):
        return "closed"
    return None if isinstance(result, BaseException) else "answered"


def _has_key(key: str, message: Any) -> bool:
    return isinstance(message, dict) and message.get("key") == key and "event" not in message
