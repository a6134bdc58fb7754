"""The load: threads that make requests, send, and read subscriptions; and hooks that make requests."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable
from functools import partial
from operator import itemgetter
from typing import Any, Final

from wsclient._client.client import Client
from wsclient._errors import ClientClosed
from wsclient._receiving.subscription import Subscription

from .asking import Log, Posted, ask_at_once, ask_somehow, flush, send, timed
from .history import FINAL, HOOKS, Heard, History

__all__ = ["REQUESTERS", "SENDERS", "SUBSCRIBERS", "Workload"]

REQUESTERS: Final = 16
SENDERS: Final = 4
SUBSCRIBERS: Final = 3
"""Numbers of threads. The last subscriber has ``identity=``."""

ASKING_PAUSE: Final = (0.0, 0.06)
SENDING_PAUSE: Final = (0.0, 0.03)
"""Ranges of the seconds between two calls of one thread."""

PATIENCE: Final = 20.0
"""Longest wait for the end of all threads, in seconds; the time limit of each call is shorter."""

WAITING_SHARE: Final = 0.03
FLUSHING_SHARE: Final = 0.01
LARGE_SHARE: Final = 0.02
CANCELLING_SHARE: Final = 0.05
"""Shares of the messages after which ``wait()`` is called, after which ``flush()`` is called, of large ones, and of
those for which ``cancel()`` is called at once."""

LARGE: Final = (5_000, 100_000)
SMALL: Final = (0, 200)
"""Ranges of the bytes of large and of other messages."""


class Workload:
    """All the threads of one run.

    Attributes:
        stopping: set when the threads must end.
        hooks: the records of the hooks.
    """

    def __init__(self, seed: int) -> None:
        self.stopping = threading.Event()
        self.hooks = Log(HOOKS, seed)
        self._logs = [self.hooks]
        self._heard: list[list[Heard]] = []
        self._subscriptions: list[Subscription] = []  # kept, so that they stay open until the client is closed
        self._threads: list[threading.Thread] = []
        self._seed = seed

    def start(self, client: Client) -> None:
        """Start the threads."""
        for number in range(REQUESTERS):
            self._begin(f"asker-{number}", _ask_on, client)
        for number in range(SENDERS):
            self._begin(f"sender-{number}", _send_on, client)
        for number in range(SUBSCRIBERS):
            heard: list[Heard] = []
            self._heard.append(heard)
            has_identity = number == SUBSCRIBERS - 1
            self._begin(f"reader-{number}", partial(_read_on, heard, self._subscriptions, has_identity), client)

    def log(self, sender: str) -> Log:
        """The records of another thread."""
        log = Log(sender, self._seed)
        self._logs.append(log)
        return log

    def ask_in_hook(self, client: Client) -> None:
        """Send a message and make a request, on the hook thread."""
        try:
            number = self.hooks.next()
            call = partial(client.send, {"op": "note", "key": f"{self.hooks.sender}:{number}"}, timeout=5.0)
            self.hooks.deliveries.append(Posted(number, timed(self.hooks, "send() in a hook", 0.0, call)))
        except ClientClosed:
            return
        ask_at_once(self.hooks, client)

    def counts(self) -> tuple[int, int, int]:
        """The numbers of requests, of sent messages and of received subscription messages so far."""
        return (
            sum(len(log.asked) for log in self._logs),
            sum(len(log.deliveries) for log in self._logs),
            sum(map(len, self._heard)),
        )

    def stop(self) -> None:
        """Make all threads end, and wait for them, at most ``PATIENCE`` seconds."""
        self.stopping.set()
        until = time.monotonic() + PATIENCE
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def unproven(self) -> list[str]:
        """After a successful flush: a sentence for each delivery that is not in a final state."""
        return [
            f"flush() returned, but message {log.sender}:{one.number} is {one.delivery.state}."
            for log in self._logs
            for one in log.deliveries
            if one.delivery.state not in FINAL
        ]

    def hand_over(self, history: History) -> None:
        """Add all records to the history. The last call of a thread that hangs is recorded as one without return."""
        for log in self._logs:
            log.hand_over(history)
        for heard in self._heard:
            history.heard += heard
        history.surprises += [
            f"the thread {thread.name} has not ended." for thread in self._threads if thread.is_alive()
        ]

    def _begin(self, sender: str, work: Callable[[threading.Event, Log, Client], None], client: Client) -> None:
        log = self.log(sender)
        thread = threading.Thread(
            target=_guarded, args=(work, self.stopping, log, client), name=f"soak-{sender}", daemon=True
        )
        self._threads.append(thread)
        thread.start()


def _guarded(
    work: Callable[[threading.Event, Log, Client], None], stopping: threading.Event, log: Log, client: Client
) -> None:
    try:
        work(stopping, log, client)
    except Exception:
        log.surprises.append(f"in the thread {log.sender}: {traceback.format_exc()}")


def _ask_on(stopping: threading.Event, log: Log, client: Client) -> None:
    while not stopping.wait(log.chance.uniform(*ASKING_PAUSE)):
        if not ask_somehow(log, client):
            return


def _send_on(stopping: threading.Event, log: Log, client: Client) -> None:
    dying: list[Posted] = []  # messages with expires=, checked until they have ended, to find one that ends too early
    while not stopping.wait(log.chance.uniform(*SENDING_PAUSE)):
        try:
            size = log.chance.randint(*(LARGE if log.chance.random() < LARGE_SHARE else SMALL))
            posted = send(log, client, size)
        except ClientClosed:
            return
        dying = [one for one in ([*dying, posted] if posted.expires else dying) if one.look() not in FINAL]
        if log.chance.random() < CANCELLING_SHARE:
            _cancel(log, posted)
        if log.chance.random() < WAITING_SHARE:
            _wait_for(log, posted)
        if log.chance.random() < FLUSHING_SHARE and not flush(log, client, 1.0):
            return


def _wait_for(log: Log, posted: Posted) -> None:
    timeout = log.chance.uniform(0.0, 1.0)
    timed(log, "wait() of a delivery", timeout, partial(posted.delivery.wait, timeout))
    posted.look()


def _cancel(log: Log, posted: Posted) -> None:
    will_not_be_sent = timed(log, "cancel() of a delivery", 0.0, posted.delivery.cancel)
    state = posted.look()
    if will_not_be_sent and state not in ("cancelled", "expired", "lost"):
        log.surprises.append(f"cancel() of message {log.sender}:{posted.number} succeeded, but it is {state}.")


def _read_on(
    heard: list[Heard],
    kept: list[Subscription],
    has_identity: bool,
    stopping: threading.Event,
    log: Log,
    client: Client,
) -> None:
    topic = log.sender
    message = {"op": "subscribe", "key": f"subscribe:{topic}", "topic": topic}
    identity = itemgetter("total") if has_identity else None
    subscription = client.subscribe(message, match=partial(_is_of, topic), timeout=PATIENCE, identity=identity)
    kept.append(subscription)
    while not stopping.is_set():
        if not _read_one(heard, log, subscription, has_identity):
            return


def _read_one(heard: list[Heard], log: Log, subscription: Subscription, has_identity: bool) -> bool:
    try:
        event = timed(log, "get() of a subscription", 0.5, partial(subscription.get, 0.5))
    except TimeoutError:
        return True
    except ClientClosed:
        return False
    place = event["connection"], event["n"], event["total"]
    heard.append(Heard(log.sender, *place, has_identity, event["at"], event["losses"], subscription.gaps))
    return True


def _is_of(topic: str, message: Any) -> bool:
    return isinstance(message, dict) and message.get("event") == topic
