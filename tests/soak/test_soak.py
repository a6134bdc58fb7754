"""The soak: a seed repeats its plan, the ledger detects each kind of forged history, the exit code reports it."""

import dataclasses
import itertools
import os
import subprocess
import sys
import threading

import pytest

from ..support import LONG
from . import run as _run
from .command import main
from .history import Asked, Called, Connection, Disturbance, FoundQuiet, Heard, History, Hushed, Recovered, Sent
from .ledger import PROMISES, judge
from .plan import KINDS, dialing, plan
from .scheduler_lag import LEAST, MOST, LagMeter

pytestmark = pytest.mark.slow


def overlapping():
    """The messages of a subscription with ``identity=``: a renewal, then a loss, after which three are missing."""
    places = [(1, 0, 7), (1, 1, 8), (2, 0, 10), (1, 2, 9), (2, 2, 11)]
    renewed = [Heard("i", *place, has_identity=True, at=20.0 + place[2] / 100) for place in places]
    return [*renewed, Heard("i", 3, 0, 15, has_identity=True, at=23.0, losses=1, gaps=1)]


def honest():
    """A history in which every promise is kept, and every outcome occurs."""
    return History(
        asked=[
            Asked("a", 1, outcomes=["answered"], reply="a:1"),
            Asked("a", 2, outcomes=["lost sent"]),
            Asked("a", 3, outcomes=["lost unsent"]),
            Asked("a", 4, outcomes=["timeout queued"]),
            Asked("a", 5, idempotent=True, outcomes=["answered"], reply="a:5"),
            Asked("a", 6, outcomes=["timeout waiting"]),
            Asked("a", 7, outcomes=["cancelled"]),
            Asked("a", 8, outcomes=["lost sent"], renewed_at=21.0),
        ],
        sent=[
            Sent("s", 1, "confirmed", "confirmed"),
            Sent("s", 2, "unknown"),
            Sent("s", 3, "expired", expires=(11.0, 11.1), expired_by=11.0),
            Sent("s", 4, "lost"),
            Sent("s", 5, "confirmed", expires=(20.0, 20.5)),
            Sent("s", 6, "unknown"),
            Sent("s", 7, "cancelled"),
        ],
        # The server may record connections in another order than the client opened them.
        connections=[
            Connection(None, []),
            Connection(2, ["login", "subscribe:r", "a:5", "s:5"], 20.0, 19.9, [20.0, 20.0, 20.0, 20.2]),
            Connection(1, ["login", "subscribe:r", "a:1", "s:1", "a:2", "a:5", "a:6", "s:2", "a:8"], 10.0),
        ],
        heard=[Heard("r", 1, 0), Heard("r", 1, 1), Heard("r", 2, 0), *overlapping()],
        called=[Called("request(a:1)", 1.0, 1.2)],
        recovered=[Recovered("cut", 1.5, 1.6)],
        hushed=[Hushed(2.5, 2.6, was_reported=True)],
        found_quiet=[FoundQuiet(2, 31.0, 1.1), FoundQuiet(2, 40.0, 1.0)],
        disturbances=[Disturbance("slow", 25.0, 30.0, True), Disturbance("server goes quiet", 39.0, 40.5, False)],
        quiet=1.0,
        overlap=1.0,
        slack=0.3,
        pace=(5.0, 3),
    )


def test_a_correct_history_breaks_no_promise_and_is_checked_against_every_promise():
    checked, broken = judge(honest())
    assert broken == []
    assert list(checked) == list(PROMISES)
    assert min(checked.values()) > 0


def change(index, where, **changes):
    """A forgery of one record."""

    def forge(history):
        facts = getattr(history, where)
        facts[index] = dataclasses.replace(facts[index], **changes)

    return forge


def arrivals(connection, *keys):
    """A forgery of the messages of a connection (0: never logged in, 1: the second one, 2: the first one)."""
    return change(connection, "connections", keys=list(keys))


FORGERIES = {
    "a request ends exactly once": {
        "no outcome": (change(1, "asked", outcomes=[]), "request a:2 never ended."),
        "two outcomes": (
            change(1, "asked", outcomes=["lost sent", "lost sent"]),
            "request a:2 ended 2 times: lost sent, lost sent.",
        ),
    },
    "a reply is the request's own": {
        "a reply swapped": (change(0, "asked", reply="a:5"), "request a:1 got the reply to a:5."),
    },
    "a request's end agrees with what the server saw": {
        "answered, never arrived": (
            arrivals(2, "login", "s:1", "a:2", "s:2"),
            "request a:1 is answered, but never arrived.",
        ),
        "queued, and arrived": (
            arrivals(1, "login", "subscribe:r", "a:4", "a:5", "s:5"),
            "request a:4 is timeout queued, but arrived.",
        ),
        "unsent, and arrived": (
            arrivals(1, "login", "subscribe:r", "a:3", "a:5", "s:5"),
            "request a:3 is lost unsent, but arrived.",
        ),
        "refused, and arrived": (change(1, "asked", outcomes=["refused"]), "request a:2 is refused, but arrived."),
    },
    "a delivery's end agrees with what the server saw": {
        "confirmed, and never arrived": (
            arrivals(1, "login", "subscribe:r", "a:5", "a:6"),
            "message s:5 is confirmed, but never arrived.",
        ),
        "lost, and arrived": (
            arrivals(1, "login", "subscribe:r", "a:5", "s:4", "s:5"),
            "message s:4 is lost, but arrived.",
        ),
        "cancelled, and arrived": (
            arrivals(1, "login", "subscribe:r", "a:5", "s:5", "s:7"),
            "message s:7 is cancelled, but arrived.",
        ),
        "expired, and arrived": (
            arrivals(1, "login", "subscribe:r", "a:5", "s:3", "s:5"),
            "message s:3 is expired, but arrived.",
        ),
        "written for ever": (
            change(1, "sent", state="written"),
            "message s:2 was written at the end, which is not a final state.",
        ),
        "queued for ever": (
            change(3, "sent", state="queued"),
            "message s:4 was queued at the end, which is not a final state.",
        ),
        "another end": (change(0, "sent", earlier="unknown"), "message s:1 was unknown, and later confirmed."),
    },
    "nothing arrives twice": {
        "a message twice": (arrivals(1, "login", "subscribe:r", "a:5", "s:2", "s:2", "s:5"), "s:2 arrived 3 times."),
        "a message twice, on two connections": (
            arrivals(1, "login", "subscribe:r", "a:5", "s:2", "s:5"),
            "s:2 arrived 2 times.",
        ),
        "a request twice": (arrivals(1, "login", "subscribe:r", "a:5", "a:2", "s:5"), "a:2 arrived 2 times."),
    },
    "messages of one thread keep their order": {
        "order broken": (arrivals(2, "login", "a:1", "s:2", "a:2", "s:1"), "s:1 arrived after s:2."),
        "order broken, over two connections": (
            arrivals(2, "login", "a:1", "s:1", "a:2", "s:6"),
            "s:5 arrived after s:6.",
        ),
        "order of requests broken": (arrivals(2, "login", "s:1", "a:2", "a:1", "s:2"), "a:1 arrived after a:2."),
    },
    "each connection logs in once, before all else": {
        "no log-in first": (arrivals(1, "s:5", "login", "a:5"), "connection 2 began with s:5, not with the log-in."),
        "something on a connection without a log-in": (
            arrivals(0, "s:6"),
            "connection None began with s:6, not with the log-in.",
        ),
        "two log-ins": (arrivals(1, "login", "login", "a:5", "s:5"), "connection 2 logged in more than once."),
    },
    "subscriptions are whole, and come first": {
        "subscribed twice": (
            arrivals(1, "login", "subscribe:r", "subscribe:r", "a:5", "s:5"),
            "connection 2: subscribe:r came 2 times.",
        ),
        "not subscribed again": (arrivals(1, "login", "a:5", "s:5"), "connection 2: a:5 came before subscriptions."),
        "subscribed too late": (
            arrivals(1, "login", "s:5", "subscribe:r", "a:5"),
            "connection 2: s:5 came before subscriptions.",
        ),
        "a subscription's message lost": (
            change(1, "heard", number=2),
            "r received (1, 2) after (1, 0) (connection, number).",
        ),
        "a subscription's message twice": (
            change(1, "heard", number=0),
            "r received (1, 0) after (1, 0) (connection, number).",
        ),
        "a subscription's first message lost": (
            change(2, "heard", number=1),
            "r received (2, 1) after (1, 1) (connection, number).",
        ),
    },
    "nothing is lost or comes twice because of a renewal": {
        "a message twice": (
            change(5, "heard", total=8),
            "i (after 0 gaps) received 8 twice, on the connections 1 and 2.",
        ),
        "a message lost": (
            change(6, "heard", gaps=1),
            "i (after 0 gaps) received 10 after 8, and nothing between them.",
        ),
    },
    "gaps are counted for losses, not for renewals": {
        "a renewal counted": (
            change(5, "heard", gaps=1),
            "i counted 1 gaps before (2, 0); 0 connections were lost.",
        ),
        "a loss not counted": (
            change(8, "heard", gaps=0),
            "i counted 0 gaps before (3, 0); 1 connections were lost.",
        ),
        "a loss counted twice": (
            change(8, "heard", gaps=2),
            "i counted 2 gaps before (3, 0); 1 connections were lost.",
        ),
    },
    "a renewal ends a request only after the overlap": {
        "too early": (
            change(7, "asked", renewed_at=20.8),
            "a renewal ended request a:8 0.900 s after its beginning; the overlap is 1.000 s.",
        ),
        "without a renewal": (
            arrivals(1, "login", "subscribe:r", "a:5", "s:5", "a:8"),
            "a renewal ended request a:8 on connection 2, although no other followed.",
        ),
        "an idempotent one": (change(7, "asked", idempotent=True), "a renewal ended request a:8, which is idempotent."),
        "an unsent one": (
            change(7, "asked", outcomes=["lost unsent"]),
            "a renewal ended request a:8, which had not been sent.",
        ),
    },
    "a quiet connection is replaced in time, and reported": {
        "too late": (change(0, "hushed", took=2.9), "it took 2.90 s; the bound is 2.50 s."),
        "never": (change(0, "hushed", took=float("inf")), "it took inf s; the bound is 2.50 s."),
        "not reported": (change(0, "hushed", was_reported=False), "on_quiet was not called."),
    },
    "no connection is quiet while messages come": {
        "too early": (
            change(1, "found_quiet", seconds=0.9),
            "connection 2 was found quiet 0.900 s after a message; the limit is 1.000 s.",
        ),
        "without a fault": (change(0, "found_quiet", at=32.0), "connection 2 was found quiet without a fault."),
    },
    "no connection is faster than its rate": {
        "too much at once": (
            change(1, "connections", times=[20.0] * 4),
            "connection 2 had brought 4 messages 0.100 s after its log-in; 3.5 were allowed.",
        ),
        "too fast": (
            change(1, "connections", times=[19.9, 20.0, 20.05, 20.0]),
            "connection 2 had brought 4 messages 0.100 s after its log-in; 3.5 were allowed.",
        ),
    },
    "no call is late": {
        "a late call": (change(0, "called", took=1.31), "request(a:1) took 1.31 s; its bound is 1.00 s."),
        "a call that hangs": (change(0, "called", took=float("inf")), "request(a:1) took inf s; its bound is 1.00 s."),
    },
    "the client recovers in time": {
        "a slow recovery": (change(0, "recovered", took=1.9), "after 'cut' it took 1.90 s; the bound is 1.50 s."),
    },
    "nothing unforeseen happens": {
        "a traceback": (lambda history: history.surprises.append("logged: ..."), "logged: ..."),
    },
    "a message expires in its time, and is not sent later": {
        "expired too soon": (change(2, "sent", expired_by=10.9), "message s:3 was expired 0.100 s before its time."),
        "sent too late": (
            change(4, "sent", expires=(18.0, 19.5)),
            "message s:5 was sent on connection 2, which began 0.500 s after its time.",
        ),
    },
}
"""For each promise: forgeries that break it, each with the sentence that the ledger must return."""


@pytest.mark.parametrize(
    ("promise", "name"), [(promise, name) for promise, forgeries in FORGERIES.items() for name in forgeries]
)
def test_the_ledger_detects_a_forged_history(promise, name):
    forge, sentence = FORGERIES[promise][name]
    history = honest()
    forge(history)
    assert f"{promise}: {sentence}" in judge(history).broken


def test_every_promise_has_a_forgery_that_breaks_it():
    assert set(FORGERIES) == set(PROMISES)


def test_an_idempotent_request_executed_twice_breaks_no_promise():
    history = honest()
    assert sum(connection.keys.count("a:5") for connection in history.connections) == 2
    change(4, "asked", idempotent=False)(history)
    assert "nothing arrives twice: a:5 arrived 2 times." in judge(history).broken


@pytest.mark.parametrize(
    ("fault", "is_excused"),
    [
        (Disturbance("cut", 20.0, 20.0, True), True),
        (Disturbance("narrow", 15.0, 19.0, True), True),
        (Disturbance("cut", 18.0, 18.5, True), False),
        (Disturbance("client renews", 20.0, 20.0, False), False),
    ],
)
def test_a_message_may_be_lost_in_an_overlap_only_if_a_fault_may_have_lost_it(fault, is_excused):
    history = honest()
    change(6, "heard", gaps=1)(history)
    history.disturbances.append(fault)
    assert any("nothing between them" in sentence for sentence in judge(history).broken) is not is_excused


@pytest.mark.parametrize(
    ("arrival", "fault", "is_excused"),
    [
        (20.0, None, False),
        (20.8, None, False),
        (20.9, None, True),
        (20.0, Disturbance("frozen", 19.5, 20.5, True), True),
        (20.0, Disturbance("frozen", 15.0, 17.0, True), False),
        (20.0, Disturbance("sending paused", 19.5, 20.5, False), False),
    ],
)
def test_a_renewal_may_cause_a_gap_only_if_no_connection_serves_a_subscription(arrival, fault, is_excused):
    history = honest()
    change(1, "connections", times=[20.0, arrival, 21.0, 21.2])(history)
    change(0, "heard", at=19.0)(history)
    change(1, "heard", at=19.1)(history)
    change(2, "heard", at=21.0, gaps=1)(history)
    history.disturbances += [fault] if fault else []
    gaps = [sentence for sentence in judge(history).broken if "counted" in sentence]
    assert gaps == ([] if is_excused else [
        "gaps are counted for losses, not for renewals: r counted 1 gaps before (2, 0); 0 connections were lost."
    ])  # fmt: skip


@pytest.mark.parametrize(
    ("arrival", "pause", "keys", "is_excused"),
    [
        (21.2, (19.5, 20.7), [], True),  # 1.3 s after the log-in of the connection that never subscribed
        (20.8, (19.5, 20.7), [], False),
        (21.2, None, [], False),
        (21.2, (19.5, 20.7), ["subscribe:r"], False),  # the connection in between was in time
    ],
)
def test_a_renewal_during_a_pause_may_cause_a_gap_if_the_next_one_comes_before_the_subscription(
    arrival, pause, keys, is_excused
):
    history = honest()
    history.renews = True
    change(1, "connections", number=3, logged_in_at=20.5, began=20.4, times=[20.5, arrival, arrival, arrival])(history)
    history.connections.append(Connection(2, ["login", *keys], 20.0, 19.9, [20.0] * (1 + len(keys))))
    history.heard = [Heard("r", 1, 0, at=19.0), Heard("r", 1, 1, at=19.1), Heard("r", 3, 0, at=arrival + 0.1, gaps=1)]
    history.disturbances += [Disturbance("sending paused", *pause, False)] if pause else []
    gaps = [sentence for sentence in judge(history).broken if "counted" in sentence]
    assert gaps == ([] if is_excused else [
        "gaps are counted for losses, not for renewals: r counted 1 gaps before (3, 0); 0 connections were lost."
    ])  # fmt: skip


@pytest.mark.parametrize(
    ("fault", "is_excused"),
    [
        (Disturbance("frozen", 20.5, 22.0, True), True),
        (Disturbance("frozen", 15.0, 17.0, True), False),
        (Disturbance("client renews", 20.0, 20.0, False), False),
    ],
)
def test_a_renewal_may_end_a_request_that_never_arrived_only_after_a_fault(fault, is_excused):
    history = honest()
    arrivals(2, "login", "subscribe:r", "a:1", "s:1", "a:2", "a:5", "a:6", "s:2")(history)
    history.disturbances.append(fault)
    sentence = "a renewal ends a request only after the overlap: a renewal ended request a:8, which had not been sent."
    assert (sentence in judge(history).broken) is not is_excused


def test_no_fault_excuses_the_end_of_an_idempotent_request_by_a_renewal():
    history = honest()
    arrivals(2, "login", "subscribe:r", "a:1", "s:1", "a:2", "a:5", "a:6", "s:2")(history)
    change(7, "asked", idempotent=True)(history)
    history.disturbances.append(Disturbance("frozen", 20.5, 22.0, True))
    sentence = "a renewal ends a request only after the overlap: a renewal ended request a:8, which is idempotent."
    assert sentence in judge(history).broken


def test_no_fault_excuses_more_gaps_than_connections():
    history = honest()
    change(8, "heard", gaps=2)(history)
    history.disturbances.append(Disturbance("frozen", 20.0, 23.0, True))
    assert [sentence for sentence in judge(history).broken if "counted" in sentence] == [
        "gaps are counted for losses, not for renewals: i counted 2 gaps before (3, 0); 1 connections were lost."
    ]


@pytest.mark.parametrize(
    ("renews", "arrival", "fault", "is_excused"),
    [
        (True, 21.5, Disturbance("frozen", 20.2, 21.0, True), True),
        (False, 21.5, Disturbance("frozen", 20.2, 21.0, True), False),
        (True, 23.0, Disturbance("frozen", 20.2, 21.0, True), False),
        (True, 21.5, Disturbance("frozen", 15.0, 17.0, True), False),
        (True, 21.5, Disturbance("sending paused", 20.2, 21.0, False), False),
    ],
)
def test_a_message_may_come_late_only_if_a_fault_may_have_cut_it_in_an_overlap(renews, arrival, fault, is_excused):
    history = honest()
    history.renews = renews
    change(1, "connections", keys=["login", "subscribe:r", "s:7", "s:5"], times=[20.0, 20.0, 20.5, arrival])(history)
    history.disturbances.append(fault)
    sentence = "messages of one thread keep their order: s:5 arrived after s:7."
    assert (sentence in judge(history).broken) is not is_excused


@pytest.mark.parametrize(
    ("renews", "keys", "kind", "is_excused"),
    [
        (True, ["hooks:1"], "sending paused", True),
        (False, ["hooks:1"], "sending paused", False),
        (True, ["hooks:1"], "frozen", False),
        (True, ["hooks:1", "s:8"], "sending paused", False),
    ],
)
def test_a_connection_that_is_replaced_during_a_pause_may_bring_messages_of_hooks_alone(renews, keys, kind, is_excused):
    history = honest()
    history.renews = renews
    history.connections.append(Connection(3, ["login", *keys], 30.0, 29.9, [30.0] * (1 + len(keys))))
    history.disturbances.append(Disturbance(kind, 29.0, 31.0, False))
    sentence = "subscriptions are whole, and come first: connection 3: hooks:1 came before subscriptions."
    assert (sentence in judge(history).broken) is not is_excused


def test_a_renewal_may_end_idempotent_requests_of_hooks_which_belong_to_one_connection():
    history = honest()
    history.asked.append(Asked("hooks", 1, idempotent=True, outcomes=["lost unsent"], renewed_at=20.0))
    assert judge(history).broken == []


def test_reconnect_ends_requests_on_the_replaced_connection_before_the_overlap():
    history = honest()
    change(7, "asked", renewed_at=20.8)(history)
    history.disturbances.append(Disturbance("client reconnects", 20.5, 20.5, True))
    assert judge(history).broken == []


def test_the_same_seed_gives_the_same_plan_and_another_seed_another_plan():
    assert plan(7, 60) == plan(7, 60)
    assert plan(7, 60) != plan(8, 60)


@pytest.mark.parametrize("seed", range(20))
def test_a_plan_has_every_kind_and_faults_do_not_overlap(seed):
    faults = plan(seed, 60)
    assert {fault.kind for fault in faults} == set(KINDS)
    for before, after in itertools.pairwise(faults):
        assert after.at == pytest.approx(before.at + before.seconds + before.spared)
        assert before.spared > 0
    assert faults[-1].at + faults[-1].seconds < 60
    for fault in faults:
        shortest, longest, least, greatest = KINDS[fault.kind]
        assert shortest <= fault.seconds <= longest
        assert least <= fault.amount <= greatest


@pytest.mark.parametrize("first", [0, 5])
def test_consecutive_runs_use_each_kind_of_connection_once_by_default(first):
    assert len({(one.tls, one.by_url) for one in map(dialing, range(first, first + 4))}) == 4
    assert len({dialing(seed) for seed in range(first, first + 8)}) == 8
    assert {dialing(seed, tls=True).tls for seed in range(4)} == {True}
    assert {dialing(seed, tls=False).tls for seed in range(4)} == {False}


def test_slack_is_measured_and_limited():
    with LagMeter() as meter:
        threading.Event().wait(0.1)
        assert LEAST <= meter.slack() <= MOST
        meter._worst = 100.0
        assert meter.slack() == MOST


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "tests.soak", *arguments],
        capture_output=True,
        text=True,
        timeout=4 * LONG,
        check=False,
        env={**os.environ, "COLUMNS": "120"},
    )


@pytest.mark.parametrize(
    ("seed", "wanted", "dialed"),
    [
        ("3", [], "with TLS, by URL, renewed"),
        ("0", [], "without TLS, through sock=, not renewed"),
        ("2", ["--tls"], "with TLS, by URL, not renewed"),
        ("1", ["--no-tls"], "without TLS, through sock=, renewed"),
    ],
)
def test_the_command_runs_a_soak_and_prints_a_summary(seed, wanted, dialed):
    done = run("--seconds", "4", "--seed", seed, "--plain", *wanted)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Run with seed {seed}: every promise kept ({dialed}; " in done.stdout
    for promise in PROMISES:
        assert promise in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("wrong", [["--seconds", "0"], ["--minutes", "soon"], ["--seconds", "1", "--minutes", "1"]])
def test_the_command_refuses_an_invalid_length(wrong):
    assert run(*wrong).returncode == 2


def test_a_broken_promise_is_reported_with_the_command_to_repeat_it_and_changes_the_exit_code(monkeypatch, capsys):
    """A promise that is never kept is added."""
    monkeypatch.setitem(PROMISES, "pigs fly", lambda history: iter(["they do not."]))
    assert main(["--seconds", "2.5", "--seed", "5", "--plain", "--no-tls"]) == 1
    out = capsys.readouterr().out
    assert "  pigs fly: they do not.\n" in out
    assert "Repeat it with: python -m tests.soak --seconds 2.5 --seed 5 --no-tls\n" in out


def test_a_long_soak_is_reported_in_runs_that_can_be_repeated_separately(monkeypatch, capsys):
    monkeypatch.setattr(_run, "ROUND_SECONDS", 1.5)
    monkeypatch.setitem(PROMISES, "pigs fly", lambda history: iter(["they do not."]))
    results = _run.soak(2.5, 40)
    assert [result.seed for result in results] == [40, 41]
    out = capsys.readouterr().out
    assert "Repeat it with: python -m tests.soak --seconds 1.5 --seed 40\n" in out
    assert "Repeat it with: python -m tests.soak --seconds 1 --seed 41\n" in out


def test_the_live_screen_shows_the_table_and_the_progress_bar(capsys):
    from .live import LiveScreen

    screen = LiveScreen()
    screen.note("a [note]")
    screen.progress(5.0, 10.0, [("requests", "12")])
    screen.close()
    screen.table("In all", [("faults", "3")])
    out = capsys.readouterr().out
    for part in ("a [note]", "50%", "requests", "12", "In all", "faults"):
        assert part in out
