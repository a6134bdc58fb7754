"""Checks the records of a run: which promises of the client were broken. Pure.

A promise is a function that yields one result for each record that it checks: None if it was kept, else a sentence.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from .history import FINAL, HOOKS, Asked, Connection, Heard, History

__all__ = ["PROMISES", "Verdict", "judge"]

ARRIVED: Final = frozenset({"answered", "confirmed"})
"""Outcomes and states which mean that the server has received the message."""

NEVER_ARRIVED: Final = frozenset({"lost unsent", "timeout queued", "refused", "lost", "expired"})
"""Outcomes and states which mean that the server has not received the message and never will."""

CANCELLED: Final = "cancelled"
"""For a delivery it means the same; a cancelled request may have been sent."""

CLOSING: Final = 1.0
"""Seconds after a fault in which a replaced connection may still end before it has brought everything: its closing
handshake takes at most half of it."""


class Verdict(NamedTuple):
    """The result of the checks.

    Attributes:
        checked: for each promise, how many records were checked.
        broken: a sentence for each violation of a promise.
    """

    checked: dict[str, int]
    broken: list[str]


def judge(history: History) -> Verdict:
    """Check all records against all promises."""
    checked = dict.fromkeys(PROMISES, 0)
    broken: list[str] = []
    for promise, verdicts in PROMISES.items():
        for sentence in verdicts(history):
            checked[promise] += 1
            if sentence is not None:
                broken.append(f"{promise}: {sentence}")
    return Verdict(checked, broken)


def _one_outcome(history: History) -> Iterator[str | None]:
    for asked in history.asked:
        if len(asked.outcomes) == 1:
            yield None
        elif asked.outcomes:
            yield f"request {asked.key} ended {len(asked.outcomes)} times: {', '.join(asked.outcomes)}."
        else:
            yield f"request {asked.key} never ended."


def _own_reply(history: History) -> Iterator[str | None]:
    for asked in history.asked:
        if "answered" in asked.outcomes:
            good = asked.reply == asked.key
            yield None if good else f"request {asked.key} got the reply to {asked.reply}."


def _outcomes_agree(history: History) -> Iterator[str | None]:
    seen = _arrivals(history)
    for asked in history.asked:
        for outcome in asked.outcomes:
            yield _disagreement(f"request {asked.key}", outcome, seen[asked.key])


def _deliveries_agree(history: History) -> Iterator[str | None]:
    seen = _arrivals(history)
    for sent in history.sent:
        if sent.state not in FINAL:
            yield f"message {sent.key} was {sent.state} at the end, which is not a final state."
        elif sent.earlier not in (None, sent.state):
            yield f"message {sent.key} was {sent.earlier}, and later {sent.state}."
        else:
            yield _disagreement(f"message {sent.key}", sent.state, seen[sent.key], NEVER_ARRIVED | {CANCELLED})


def _expiries(history: History) -> Iterator[str | None]:
    """Expiry is checked without tolerance.

    A delivery must not be seen ``expired`` before its time. A message must not be sent on a connection whose log-in
    came after its time, since the client writes nothing else before the log-in. (How long written bytes are under way
    depends on the connection, and is not checked.)
    """
    dying = {sent.key: sent for sent in history.sent if sent.expires is not None}
    for sent in dying.values():
        assert sent.expires is not None
        earliest, _ = sent.expires
        if sent.expired_by is not None:
            early = earliest - sent.expired_by
            yield f"message {sent.key} was expired {early:.3f} s before its time." if early > 0 else None
    for connection in history.connections:
        for key in connection.keys:
            if key in dying and (expires := dying[key].expires) is not None:
                late = connection.logged_in_at - expires[1]
                began = f"connection {connection.number}, which began {late:.3f} s after its time"
                yield f"message {key} was sent on {began}." if late > 0 else None


def _nothing_twice(history: History) -> Iterator[str | None]:
    seen = _arrivals(history)
    once = [sent.key for sent in history.sent] + [asked.key for asked in history.asked if not asked.idempotent]
    for key in once:
        yield f"{key} arrived {seen[key]} times." if seen[key] > 1 else None


def _order_per_thread(history: History) -> Iterator[str | None]:
    """The end of a replaced connection may cut a message in mid-frame, and those behind it in the same batch. They are
    sent again on the connection that took over, behind what was sent there during the overlap.
    """
    again = {asked.key for asked in history.asked if asked.idempotent}
    latest: dict[str, int] = {}
    for connection in _in_order(history):
        for index, key in enumerate(connection.keys):
            sender, _, number = key.rpartition(":")
            if not number.isdecimal() or key in again:
                continue
            before = latest.get(sender, -1)
            if int(number) < before and _may_have_been_cut(history, connection, index):
                continue
            latest[sender] = int(number)
            yield f"{key} arrived after {sender}:{before}." if int(number) < before else None


def _login_first(history: History) -> Iterator[str | None]:
    numbers = Counter(connection.number for connection in history.connections)
    for connection in history.connections:
        if not connection.keys:
            continue
        if connection.keys[0] != "login":
            yield f"connection {connection.number} began with {connection.keys[0]}, not with the log-in."
        elif connection.keys.count("login") > 1 or numbers[connection.number] > 1:
            yield f"connection {connection.number} logged in more than once."
        else:
            yield None


def _subscriptions(history: History) -> Iterator[str | None]:
    known: set[str] = set()
    for connection in _in_order(history):
        asked = Counter(key for key in connection.keys if key.startswith("subscribe:"))
        for key, times in asked.items():
            yield f"connection {connection.number}: {key} came {times} times." if times > 1 else None
        ahead = connection.keys[1 : 1 + len(known)]  # fewer, if the connection ended early
        unexpected = [key for key in ahead if key not in known]
        is_broken = unexpected and not _has_passed_subscriptions_on(history, connection)
        yield f"connection {connection.number}: {unexpected[0]} came before subscriptions." if is_broken else None
        known |= asked.keys()
    by_subscriber: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for heard in history.heard:
        if not heard.has_identity:  # otherwise messages of both connections are missing during a renewal
            by_subscriber[heard.subscriber].append((heard.connection, heard.number))
    for subscriber, places in by_subscriber.items():
        before, latest = (-1, -1), -1
        ends: dict[int, int] = {}
        for place in places:
            # During a renewal, messages of two successive connections come in turns; if the new one is lost, those of
            # the old one and of the third.
            follows = place[1] == ends.get(place[0], -1) + 1 and place[0] >= latest - 2
            yield None if follows else f"{subscriber} received {place} after {before} (connection, number)."
            before, latest = place, max(latest, place[0])
            ends[place[0]] = place[1]


def _has_passed_subscriptions_on(history: History, connection: Connection) -> bool:
    """Whether a renewal replaced this connection during a pause of sending, before the pause had let it subscribe.

    The subscriptions are then requested on the next connection instead. After the pause this connection brings only the
    messages that ``on_open`` has sent, which belong to it.
    """
    was_paused = any(
        one.kind == "sending paused" and one.begin <= connection.logged_in_at <= one.end for one in history.disturbances
    )
    return history.renews and was_paused and all(key.startswith(f"{HOOKS}:") for key in connection.keys[1:])


def _identities(history: History) -> Iterator[str | None]:
    """Between two gaps, the numbers of a subscription with ``identity=`` are complete, each once, in any order.

    The server has sent all lower numbers on the old connection before it sends the first one on the new connection. One
    may be missing only if the network, the server or the end of the load ended the old connection meanwhile.
    """
    spans: dict[tuple[str, int], list[Heard]] = defaultdict(list)
    for heard in history.heard:
        if heard.has_identity:
            spans[heard.subscriber, heard.gaps].append(heard)
    for (subscriber, gaps), span in spans.items():
        span.sort(key=lambda heard: heard.total)
        for before, after in itertools.pairwise(span):
            where = f"{subscriber} (after {gaps} gaps)"
            if after.total == before.total:
                pair = f"on the connections {before.connection} and {after.connection}"
                yield f"{where} received {after.total} twice, {pair}."
            elif after.total > before.total + 1 and not _may_be_lost(history, before, after):
                yield f"{where} received {after.total} after {before.total}, and nothing between them."
            else:
                yield None


def _gaps(history: History) -> Iterator[str | None]:
    """A renewal causes a gap only if the replaced connection ends before the server can have the subscription again."""
    latest: dict[str, Heard] = {}
    for heard in history.heard:
        before = latest.get(heard.subscriber)
        latest[heard.subscriber] = heard
        if before is not None:
            gaps, expected = heard.gaps - before.gaps, int(heard.losses > before.losses)
            after = f"{heard.subscriber} counted {gaps} gaps before {heard.connection, heard.number}"
            # Each gap is the end of one connection, so there are no more gaps than later connections.
            may_be_more = expected < gaps <= heard.connection - before.connection
            kept = gaps == expected or (may_be_more and _may_be_unserved(history, before, heard))
            yield None if kept else f"{after}; {heard.losses - before.losses} connections were lost."


def _overlaps(history: History) -> Iterator[str | None]:
    """A renewal ends a request only after the overlap, which begins after the log-in of the new connection begins."""
    begins = {one.number: one.began for one in history.connections if one.number is not None}
    carriers = {key: one.number for one in _in_order(history) for key in one.keys if one.number is not None}
    reconnects = [one.begin for one in history.disturbances if one.kind == "client reconnects"]
    for asked in history.asked:
        if asked.renewed_at is not None:
            may_be_on_its_way = _disturbed(
                history, asked.renewed_at - history.overlap - CLOSING - history.slack, asked.renewed_at, by_loss=True
            )
            is_unseen = carriers.get(asked.key) is None and asked.outcomes[:1] == ["lost sent"] and not asked.idempotent
            if is_unseen and may_be_on_its_way:
                yield None  # written on a connection on which nothing arrives any more
            else:
                yield _early_end(asked, asked.renewed_at, carriers.get(asked.key), begins, reconnects, history.overlap)


def _early_end(
    asked: Asked, ended: float, carrier: int | None, begins: dict[int, float], reconnects: list[float], overlap: float
) -> str | None:
    ended_by = f"a renewal ended request {asked.key}"
    if asked.sender == HOOKS and carrier is None:
        return None
    if asked.idempotent and asked.sender != HOOKS:
        return f"{ended_by}, which is idempotent."
    if asked.outcomes[:1] != ["lost sent"] or carrier is None:
        return f"{ended_by}, which had not been sent."
    later = [number for number in begins if number > carrier]
    if not later:
        return f"{ended_by} on connection {carrier}, although no other followed."
    began = begins[min(later)]
    if ended - began >= overlap or any(began <= at <= ended for at in reconnects):  # `reconnect()` ends it at once
        return None
    return f"{ended_by} {ended - began:.3f} s after its beginning; the overlap is {overlap:.3f} s."


def _quiet_replaced(history: History) -> Iterator[str | None]:
    for one in history.hushed:
        if one.took > one.bound + history.slack:
            yield f"it took {one.took:.2f} s; the bound is {one.bound:.2f} s."
        else:
            yield None if one.was_reported else "on_quiet was not called."


def _quiet_only_then(history: History) -> Iterator[str | None]:
    """A shorter time is no tolerance: the client's clock starts after that of the records, and is read before.

    Without a fault, messages are missing only while a thread of this process can't run.
    """
    for one in history.found_quiet:
        found = f"connection {one.connection} was found quiet"
        begin = one.at - one.seconds - history.slack
        if one.seconds < history.quiet:
            yield f"{found} {one.seconds:.3f} s after a message; the limit is {history.quiet:.3f} s."
        elif one.seconds > history.slack and not _disturbed(history, begin, one.at):
            yield f"{found} without a fault."
        else:
            yield None


def _pace(history: History) -> Iterator[str | None]:
    """The limits hold from the log-in on, since messages only become later on their way."""
    if history.pace is None:
        return
    rate, burst = history.pace
    for connection in history.connections:
        for count, at in enumerate(connection.times, 1):
            most = burst + rate * (at - connection.began)
            after = f"{count} messages {at - connection.began:.3f} s after its log-in; {most:.1f} were allowed"
            yield f"connection {connection.number} had brought {after}." if count > most + 0.001 else None


def _bounds(history: History) -> Iterator[str | None]:
    for call in history.called:
        late = call.took > call.bound + history.slack
        yield f"{call.what} took {call.took:.2f} s; its bound is {call.bound:.2f} s." if late else None


def _recoveries(history: History) -> Iterator[str | None]:
    for one in history.recovered:
        late = one.took > one.bound + history.slack
        yield f"after {one.fault!r} it took {one.took:.2f} s; the bound is {one.bound:.2f} s." if late else None


def _no_surprise(history: History) -> Iterator[str | None]:
    verdicts: list[str | None] = [*history.surprises]
    yield from verdicts or [None]


PROMISES: Final[dict[str, Callable[[History], Iterator[str | None]]]] = {
    "a request ends exactly once": _one_outcome,
    "a reply is the request's own": _own_reply,
    "a request's end agrees with what the server saw": _outcomes_agree,
    "a delivery's end agrees with what the server saw": _deliveries_agree,
    "a message expires in its time, and is not sent later": _expiries,
    "nothing arrives twice": _nothing_twice,
    "messages of one thread keep their order": _order_per_thread,
    "each connection logs in once, before all else": _login_first,
    "subscriptions are whole, and come first": _subscriptions,
    "nothing is lost or comes twice because of a renewal": _identities,
    "gaps are counted for losses, not for renewals": _gaps,
    "a renewal ends a request only after the overlap": _overlaps,
    "a quiet connection is replaced in time, and reported": _quiet_replaced,
    "no connection is quiet while messages come": _quiet_only_then,
    "no connection is faster than its rate": _pace,
    "no call is late": _bounds,
    "the client recovers in time": _recoveries,
    "nothing unforeseen happens": _no_surprise,
}
"""The promises, each with the function that checks it."""


def _arrivals(history: History) -> Counter[str]:
    """How often the server received each message."""
    return Counter(key for connection in history.connections for key in connection.keys)


def _disturbed(history: History, begin: float, end: float, *, by_loss: bool = False) -> bool:
    """Whether there was a fault in this time; with ``by_loss``, one that may lose what was sent."""
    return any(one.begin <= end and begin <= one.end and one.may_lose >= by_loss for one in history.disturbances)


def _may_be_lost(history: History, before: Heard, after: Heard) -> bool:
    begin, end = sorted((before.at, after.at))
    return _disturbed(history, begin - CLOSING - history.slack, end + CLOSING, by_loss=True)


def _may_have_been_cut(history: History, connection: Connection, index: int) -> bool:
    """Whether a message may have returned to the queue because a fault ended a replaced connection: it came on the next
    connection, soon after the overlap.
    """
    if not history.renews or index >= len(connection.times):
        return False
    arrived = connection.times[index]
    is_soon = arrived - connection.began <= history.overlap + CLOSING + history.slack
    return is_soon and _disturbed(history, connection.began - CLOSING - history.slack, arrived, by_loss=True)


def _may_be_unserved(history: History, before: Heard, after: Heard) -> bool:
    """Whether a subscription may have been on no connection between two of its messages, because of a renewal.

    Its request came later than the overlap allows (``rate=`` or ``pause_sending()`` held it back), or a fault ended the
    replaced connection. The overlap begins with the first connection that followed; that one may itself have been
    replaced during the pause, before it could bring the request.
    """
    key = f"subscribe:{after.subscriber}"
    began: float | None = None
    for one in _in_order(history):
        if one.number is not None and before.connection < one.number <= after.connection:
            began = one.began if began is None else began
            arrivals = [at for name, at in zip(one.keys, one.times, strict=False) if name == key]
            if arrivals and arrivals[0] - began >= history.overlap:
                return True
            if arrivals or not _has_passed_subscriptions_on(history, one):
                began = None
    return _may_be_lost(history, before, after)


def _in_order(history: History) -> list[Connection]:
    """The connections in the order in which the client opened them; first those without a log-in, which are empty."""
    return sorted(history.connections, key=lambda one: -1 if one.number is None else one.number)


def _disagreement(what: str, end: str, seen: int, never: frozenset[str] = NEVER_ARRIVED) -> str | None:
    if end in ARRIVED and not seen:
        return f"{what} is {end}, but never arrived."
    if end in never and seen:
        return f"{what} is {end}, but arrived."
    return None
