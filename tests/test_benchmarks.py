"""The pure parts of the benchmarks: processing of figures, which ``python -m tests.benchmarks`` measures."""

import ast
import contextlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from .benchmarks import baseline, chart, command, goals, markdown, palette, plots, reporting, running, scaling, table
from .benchmarks.cases import CASES
from .benchmarks.peers import MODULES
from .support import LONG

ROOT = Path(__file__).parents[1]
BENCH = Path(command.__file__).parent

MACHINE = {
    "processor": "Z80, 1 context",
    "system": "CP/M 2.2",
    "python": "CPython 3.11",
    "websockets": "17",
    "[speed]": "none",
}


def figures(ratio, cpu=10.0, **more):
    return {"cpu": cpu, "wall": 2 * cpu, "ratio": ratio, **more}


@pytest.fixture
def results():
    return {
        "receive": {"wsclient": figures(1.0, 2.0), "websockets.sync": figures(2.5, 5.2), "picows": figures(0.5, 1.0)},
        "request": {"wsclient": figures(1.0, 60.0, p50=90.0), "WebSocket (no thread)": figures(0.8, 48.0, p50=80.0)},
    }


@pytest.fixture
def report(results):
    return reporting.build(results, MACHINE, rounds=7, accelerated=False, left_out={})


# --- the baseline ----------------------------------------------------------------------------------------------------


def test_ratios_are_ours_divided_by_those_of_the_peers(results):
    assert baseline.ratios(results) == {
        "receive": {"websockets.sync": 0.4, "picows": 2.0},
        "request": {"WebSocket (no thread)": 1.25},
    }


def test_the_recorded_figures_are_not_worse_than_themselves(results):
    assert baseline.worse(baseline.recorded(results, MACHINE), results) == {}
    assert baseline.unmatched(baseline.recorded(results, MACHINE), results) == []


@pytest.mark.parametrize(("factor", "too_slow"), [(1.45, False), (1.55, True)])
def test_a_ratio_can_be_1_5_times_the_recorded_one_and_no_more(results, factor, too_slow):
    known = baseline.recorded(results, MACHINE)
    results["receive"]["picows"]["ratio"] /= factor
    assert list(baseline.worse(known, results)) == (["receive"] if too_slow else [])


def test_an_absolute_time_is_never_too_slow(results):
    known = baseline.recorded(results, MACHINE)
    for peers in results.values():
        for of_peer in peers.values():
            of_peer["cpu"] *= 100
    assert baseline.worse(known, results) == {}


def test_the_message_of_a_slow_case_has_both_ratios(results):
    known = baseline.recorded(results, MACHINE)
    results["receive"]["websockets.sync"]["ratio"] = 1.0
    assert baseline.worse(known, results)["receive"] == (
        "receive takes 1.00 times the CPU time of websockets.sync; recorded are 0.40, and more than 1.5 times that is "
        "too slow."
    )


def test_a_pair_missing_on_one_side_is_named(results):
    known = baseline.recorded(results, MACHINE)
    del results["receive"]["picows"]
    results["request"]["aiohttp"] = figures(1.0)
    assert baseline.unmatched(known, results) == [
        "receive beside picows is recorded but was not measured.",
        "request beside aiohttp was measured but is not recorded.",
    ]
    assert baseline.worse(known, results) == {}


def test_a_case_without_this_library_has_no_ratio(results):
    del results["receive"]["wsclient"]
    assert list(baseline.ratios(results)) == ["request"]


def test_the_recorded_file_has_all_cases_of_ci():
    recorded = reporting.load(BENCH / "baseline.json")
    peers = set(baseline.PEERS) - {goals.OURS}
    assert {case: set(of_case) for case, of_case in recorded["ratios"].items()} == dict.fromkeys(baseline.CASES, peers)
    assert all(ratio > 0 for of_case in recorded["ratios"].values() for ratio in of_case.values())


def test_the_cases_of_ci_exist():
    assert set(baseline.CASES) <= set(CASES)
    assert set(baseline.PEERS) <= set(MODULES)


# --- the command line of CI, with given figures ----------------------------------------------------------------------


def check(tmp_path, monkeypatch, known, *runs):
    """Run ``--check`` on a series of results; return the exit code and the cases of each run."""
    path = tmp_path / "baseline.json"
    reporting.save(baseline.recorded(known, MACHINE), path)
    asked, left = [], list(runs)

    def compare(cases, peers, rounds, listener):
        asked.append(list(cases))
        return left.pop(0)

    monkeypatch.setattr(command, "compare", compare)
    return command.main(["--check", str(path)]), asked


def slower(results, case, peer):
    return {**results, case: {**results[case], peer: {**results[case][peer], "ratio": 0.1}}}


def test_the_check_passes_at_once_if_nothing_is_worse(tmp_path, monkeypatch, results):
    code, asked = check(tmp_path, monkeypatch, results, results)
    assert code == 0
    assert len(asked) == 1


def test_a_library_that_is_too_slow_once_is_measured_again(tmp_path, monkeypatch, results, capsys):
    slow = slower(slower(results, "receive", "picows"), "request", "WebSocket (no thread)")
    code, asked = check(tmp_path, monkeypatch, results, slow, slower(results, "receive", "picows"), results)
    assert code == 0
    assert asked[1:] == [["receive", "request"], ["receive"]]
    assert "TOO SLOW" not in capsys.readouterr().out


def test_a_library_that_is_too_slow_each_time_fails_the_check(tmp_path, monkeypatch, results, capsys):
    slow = slower(results, "receive", "picows")
    code, asked = check(tmp_path, monkeypatch, results, *[slow] * baseline.LOOKS)
    assert code == 1
    assert len(asked) == baseline.LOOKS
    assert "TOO SLOW: receive takes 10.00 times the CPU time of picows" in capsys.readouterr().out


def test_a_check_that_compared_nothing_fails(tmp_path, monkeypatch, results, capsys):
    code, _ = check(tmp_path, monkeypatch, results, {"receive": {"wsclient": figures(1.0)}})
    assert code == 1
    assert "NOT COMPARED: receive beside picows is recorded" in capsys.readouterr().out


def test_a_name_that_does_not_exist_is_refused(capsys):
    with pytest.raises(SystemExit):
        command.main(["--cases", "receive,recieve"])
    assert "there is no recieve" in capsys.readouterr().err


# --- rounds, with workers whose answers are known ---------------------------------------------------------------------


class Heard(running.Listener):
    def __init__(self):
        self.rounds = []
        self.absent = []

    def round(self, case, number):
        self.rounds.append((case, number))

    def left_out(self, *what):
        self.absent.append(what)


@contextlib.contextmanager
def workers(**answers):
    """A process for each name, which returns one answer after the other, and then ends with 3."""
    program = (
        "import json, sys\n"
        "for answer in json.loads(sys.argv[1]):\n"
        "    sys.stdin.readline()\n"
        "    print(json.dumps(answer), flush=True)\n"
        "sys.exit(3)"
    )
    processes = {
        name: subprocess.Popen([sys.executable, "-c", program, json.dumps(of_name)], text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for name, of_name in answers.items()
    }  # fmt: skip
    try:
        yield processes
    finally:
        for process in processes.values():
            with contextlib.suppress(BrokenPipeError):  # it ended before it had read its input
                process.stdin.close()
            process.stdout.close()
            process.wait(LONG)


def took(*microseconds):
    return [{"cpu": time, "wall": 2 * time, "p50": None} for time in microseconds]


def one_case(processes, rounds):
    heard = Heard()
    return running._case("send", CASES["send"], processes, rounds, heard), heard


def test_the_first_round_is_a_warm_up_and_ratios_are_those_of_one_round():
    with workers(ours=took(999, 1, 2, 3), theirs=took(999, 2, 6, 30)) as processes:
        found, heard = one_case(processes, 3)
    assert found["ours"] == {"cpu": 2, "wall": 4, "ratio": 1}
    assert found["theirs"] == {"cpu": 6, "wall": 12, "ratio": 3}
    assert heard.rounds == [("send", number) for number in range(4)]


def test_a_library_that_does_not_support_a_case_is_omitted_and_reported():
    with workers(ours=took(1, 1), can_not=[{"unable": "no"}], is_not=[{"missing": "gone"}]) as processes:
        found, heard = one_case(processes, 1)
    assert list(found) == ["ours"]
    assert heard.absent == [("send", "can_not", "no", False), ("send", "is_not", "gone", True)]


def test_a_worker_that_fails_or_ends_is_an_error():
    with workers(ours=[{"error": "ValueError: 7"}]) as processes:
        with pytest.raises(running.Failed, match="ours failed in send: ValueError: 7"):
            one_case(processes, 1)
    with workers(ours=took(1)) as processes:
        with pytest.raises(running.Failed, match="ended with 3"):
            one_case(processes, 1)


# --- goals -----------------------------------------------------------------------------------------------------------


def test_goals_are_absolute_or_relative_to_a_peer(results):
    verdicts = {(verdict.case, verdict.figure): verdict for verdict in goals.judge(results, accelerated=False)}
    assert set(verdicts) == {("receive", "cpu"), ("request", "cpu"), ("request", "p50")}
    assert verdicts["receive", "cpu"].met
    assert not verdicts["request", "cpu"].met
    assert verdicts["request", "p50"].limit == pytest.approx(100)
    assert verdicts["request", "p50"].met


def test_with_two_peers_the_faster_one_applies():
    peers = {
        "wsclient": figures(1, 45.0),
        "WebSocketApp tuned": figures(1, 200.0),
        "websockets.sync": figures(1, 100.0),
    }
    [verdict] = goals.judge({"receive-64k": peers}, accelerated=False)
    assert verdict.limit == pytest.approx(40)
    assert not verdict.met
    del peers["WebSocketApp tuned"]
    assert goals.judge({"receive-64k": peers}, accelerated=False) == []


@pytest.mark.parametrize(("accelerated", "limit"), [(False, 2000), (True, 1000)])
def test_with_the_accelerator_the_goal_is_stricter(accelerated, limit):
    [verdict] = goals.judge({"send-1m": {"wsclient": figures(1, 1500.0)}}, accelerated=accelerated)
    assert verdict.limit == limit
    assert verdict.met == (not accelerated)


def test_the_goal_for_idle_clients_uses_the_largest_number_of_them():
    few, many = {"size": 1, "threads": 3.0, "kib": 50.0}, {"size": 2000, "threads": 2.0, "kib": 70.0}
    verdicts = goals.judge_growth({"idle": {"wsclient": [few, many]}})
    assert [(verdict.figure, verdict.value, verdict.met) for verdict in verdicts] == [
        ("threads", 2.0, True), ("kib", 70.0, False),
    ]  # fmt: skip
    assert goals.judge_growth({"idle": {"wsclient": [{**many, "kib": None}]}}) == verdicts[:1]
    assert goals.judge_growth({}) == []


def test_every_goal_has_an_existing_case_and_existing_peers():
    for goal in goals.GOALS:
        assert goal.case in CASES
        assert set(goal.beside) <= set(MODULES)
    assert set(goals.ACCELERATED) <= set(goals.GOALS)


@pytest.mark.parametrize(
    ("microseconds", "text"),
    [(0.5, "0.5 µs"), (4.808, "4.81 µs"), (9.996, "10 µs"), (33.55, "33.5 µs"), (100, "100 µs"), (999.4, "999 µs"),
     (999.6, "1 ms"), (1254, "1.25 ms"), (182_000, "182 ms")],
)  # fmt: skip
def test_times_have_three_digits_and_a_unit(microseconds, text):
    assert goals.spelled(microseconds) == text


# --- the table -------------------------------------------------------------------------------------------------------


def test_the_table_has_cases_as_rows_and_peers_as_columns(report):
    assert table.header(report) == ["wsclient", "websockets.sync", "picows", "WebSocket (no thread)"]
    receive, request, wait = table.rows(report)
    assert receive == ("receive", ["2 µs", f"5.2 µs (2.5{goals.TIMES})", f"1 µs (0.50{goals.TIMES})", "-"],
                       "≤ 2.3 µs", True)  # fmt: skip
    assert request.cells == ["60 µs", "-", "-", f"48 µs (0.80{goals.TIMES})"]
    assert request.met is False
    assert wait == ("request: median wait", ["90 µs", "-", "-", f"80 µs (0.89{goals.TIMES})"],
                    f"≤ 1.25 {goals.TIMES} WebSocket (no thread)", True)  # fmt: skip


def test_the_printed_output_has_every_figure(report, capsys):
    from rich.console import Console

    from .benchmarks.screen import show

    show(report, Console(width=150))
    shown = capsys.readouterr().out
    for text in ("60 µs", "(2.5", "2 of 3 goals are met", "Z80, 1 context", "[speed] none"):
        assert text in shown


def test_the_printed_output_has_the_scaling_cases(report, capsys):
    from rich.console import Console

    from .benchmarks.screen import show_growth

    report["scaling"] = GROWN
    report["goals"] += [verdict._asdict() for verdict in goals.judge_growth(GROWN)]
    show_growth(report, Console(width=150))
    shown = capsys.readouterr().out
    for text in ("round_trip", "256", "websockets.sync", "idle, kib: 60, goal ≤ 60, met: yes"):
        assert text in shown


def test_a_report_is_equal_after_saving_and_loading(tmp_path, report):
    reporting.save(report, tmp_path / "report.json")
    assert reporting.load(tmp_path / "report.json") == json.loads(json.dumps(report))


# --- Markdown --------------------------------------------------------------------------------------------------------


def test_the_table_in_markdown(report):
    report["date"] = "2026-01-02T03:04:05+00:00"
    x = goals.TIMES
    assert markdown.table(report).splitlines() == [
        "| | **wsclient** | websockets.sync | picows \\* | WebSocket (no thread) |",
        "| --- | ---: | ---: | ---: | ---: |",
        f"| receive | **2 µs** | 5.2 µs (2.5{x}) | 1 µs (0.50{x}) | - |",
        f"| request | **60 µs** | - | - | 48 µs (0.80{x}) |",
        f"| request: median wait | **90 µs** | - | - | 80 µs (0.89{x}) |",
        "",
        (
            "CPU time of one operation, and at the end the wait by the clock; in brackets as a multiple of this "
            "library's. Medians of 7 rounds, 2026-01-02: Z80, 1 context, CP/M 2.2, CPython 3.11; websockets 17, "
            "[speed] none. \\* asyncio, with C inside."
        ),
    ]


def test_only_the_text_between_the_comments_is_replaced():
    document = f"before\n{markdown.BEGIN}\nold\n{markdown.END}\nafter\n"
    once = markdown.placed(document, "new")
    assert once == f"before\n{markdown.BEGIN}\nnew\n{markdown.END}\nafter\n"
    assert markdown.placed(once, "new") == once


@pytest.mark.parametrize("document", [
    "nothing", markdown.BEGIN, markdown.END, f"{markdown.END}{markdown.BEGIN}",
    2 * f"{markdown.BEGIN}{markdown.END}", f"{markdown.BEGIN}{markdown.END}{markdown.END}",
])  # fmt: skip
def test_a_document_without_the_comments_is_refused(document):
    with pytest.raises(ValueError, match="needs the line"):
        markdown.placed(document, "new")


def test_the_page_has_the_comments():
    markdown.placed((ROOT / "examples" / "COMPARISON.md").read_text(encoding="utf-8"), "new")


# --- charts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", [palette.LIGHT_PAGE, palette.DARK_PAGE])
def test_colours_are_readable_on_both_pages(page):
    assert palette.contrast(palette.INK, page) > 4.2  # of text, 4.5 on both pages is more than any colour has
    for colour in (palette.OURS, palette.SYNCHRONOUS, palette.ASYNCHRONOUS, *palette.LINES):
        assert palette.contrast(colour, page) > 3


def test_contrast_is_computed_as_in_the_standard():
    assert palette.contrast("#000000", "#ffffff") == pytest.approx(21)
    assert palette.contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)
    assert palette.contrast("#0a0a0a", "#000000") == pytest.approx(1.0607, abs=0.0001)


def test_a_bar_is_cut_where_it_would_make_the_others_too_small():
    assert chart.lengths({"wsclient": figures(1, 2.0), "slow": figures(50, 100.0), "fast": figures(0.5, 1.0)}) == {
        "wsclient": (2.0, "2 µs"),
        "slow": (12.0, f"{chart.CUT} 100 µs"),
        "fast": (1.0, "1 µs"),
    }


GROWN = {
    "threads": {"wsclient": [{"size": 1, "cpu": 50.0}, {"size": 256, "cpu": 80.0}]},
    "idle": {"wsclient": [{"size": 10, "kib": 60.0, "threads": 2.0, "idle_percent": 0.1}],
             "websockets.sync": [{"size": 10, "kib": None, "threads": 2.0, "idle_percent": 0.1}]},
    "in_flight": {"wsclient": [{"size": 10, "begin": 1.0, "round_trip": 2.0, "time_out": 3.0, "reply": 4.0, "kib": 1}]},
    "queue": {"wsclient": [{"size": 1000, "put": 1.0, "drain": 2.0, "kib": 0.3}]},
}  # fmt: skip


def test_a_curve_is_labelled_with_its_peer_or_its_figure():
    memory, flight = plots.PANELS[1], plots.PANELS[4]
    assert plots.curves(GROWN, memory) == {"wsclient": [(10, 60.0)], "websockets.sync": []}
    assert plots.curves(GROWN, flight) == {
        "begin": [(10, 1.0)], "round trip": [(10, 2.0)], "time out": [(10, 3.0)], "reply": [(10, 4.0)],
    }  # fmt: skip


@pytest.mark.parametrize(("size", "text"), [(1, "1"), (500, "500"), (2000, "2k"), (1_000_000, "1M")])
def test_sizes_are_short_on_an_axis(size, text):
    assert plots.short(size) == text


@pytest.fixture
def matplotlib():
    return pytest.importorskip("matplotlib", reason="MATPLOTLIB IS NOT INSTALLED: no chart is drawn in this run")


def drawn(draw, what, path):
    draw(what, path)
    return path.read_text(encoding="utf-8")


def test_the_chart_names_the_measurement_and_is_identical_each_time(matplotlib, report, tmp_path):
    text = drawn(chart.draw, report, tmp_path / "one.svg")
    assert text == drawn(chart.draw, report, tmp_path / "two.svg")
    for word in ("wsclient", "websockets.sync", "picows", "5.2 µs", "receive", palette.OURS):
        assert word in text
    assert "<dc:date>" not in text


def test_the_largest_chart_is_small_and_has_a_transparent_background(matplotlib, tmp_path):
    cases = {case: {peer: figures(1.234, 12.345) for peer in MODULES} for case in CASES}
    text = drawn(chart.draw, {"cases": cases}, tmp_path / "report.svg")
    assert len(text.encode()) < 100_000
    assert "#ffffff" not in text
    assert "fill: #000000" not in text


def test_the_curves_are_identical_each_time(matplotlib, tmp_path):
    text = drawn(plots.draw, GROWN, tmp_path / "one.svg")
    assert text == drawn(plots.draw, GROWN, tmp_path / "two.svg")
    for panel in plots.PANELS:
        assert panel.title in text


def test_every_panel_has_a_position():
    assert len(plots.PANELS) % plots.COLUMNS == 0
    assert {panel.grows for panel in plots.PANELS} == set(GROWN)


# --- modules ---------------------------------------------------------------------------------------------------------


def test_the_pure_modules_import_none_of_the_peers():
    program = (
        "import sys, importlib.abc\n"
        "class Refuses(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name.split('.')[0] in ('aiohttp', 'picows', 'uvloop', 'matplotlib', 'socketio', 'numpy'):\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Refuses())\n"
        "import tests.benchmarks.command, tests.benchmarks.worker, tests.benchmarks.growth.idle\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=60)


def test_the_options_in_the_readme_of_the_tests_exist():
    text = (ROOT / "tests" / "README.md").read_text(encoding="utf-8")
    section = text.partition("## Benchmarks")[2].partition("\n## ")[0]
    known = {option for action in command._parser()._actions for option in action.option_strings}
    assert set(re.findall(r"--[a-z]+", section)) <= known


def test_each_module_is_short_and_has_a_docstring():
    for path in BENCH.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 400, path.name
        assert ast.get_docstring(ast.parse(text)), path.name


def test_sizes_increase():
    for sizes in (scaling.THREADS, scaling.IDLE, scaling.IN_FLIGHT, scaling.QUEUED):
        assert list(sizes) == sorted(set(sizes))
    assert scaling.THREADS[-1] == 256
    assert (scaling.IDLE[-1], scaling.IN_FLIGHT[-1], scaling.QUEUED[-1]) == (2000, 100_000, 1_000_000)
