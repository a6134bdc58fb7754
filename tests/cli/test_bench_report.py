"""What ``wsclient bench`` prints and draws."""

import dataclasses
import json
import xml.etree.ElementTree as ET

import pytest

from wsclient.cli.bench_chart import as_svg
from wsclient.cli.bench_screen import spark_line
from wsclient.cli.latencies import Latencies
from wsclient.cli.report import Second, Summary, Traffic, as_csv, as_json, as_text, duration

MS = 1_000_000


def summary(*, times=(1, 2, 3, 4), rows=3, **values):
    latencies = Latencies()
    for time in times:
        latencies.record(int(time * MS))
    seconds = [Second(n + 1, 1.0, 2, 1, MS, 2 * MS, 3 * MS, 4 * MS) for n in range(rows)]
    known = {"url": "ws://host/", "connections": 2, "depth": 1, "rate": None, "seconds": 2.0, "in_time": len(times)}
    return Summary(**{**known, "latencies": latencies, "rows": seconds, **values})


ERRORS = {"errors": {"timeout": 2, "connection lost": 1}, "examples": {"timeout": "No reply came."}}


def test_times_have_three_digits_and_a_unit():
    shown = [duration(value) for value in (0, 999, 1234, 999_900, 12_345_678, 999_999_999, 61.5e9)]
    assert shown == ["0 ns", "999 ns", "1.23 µs", "1 ms", "12.3 ms", "1.00 s", "61.50 s"]


def test_the_text_shows_rates_latencies_a_histogram_and_errors():
    text = "\n".join(as_text(summary(**ERRORS, unsent=3, unanswered=4, reconnects=1, ended=2, interrupted=True)))
    for part in ("2 connections", "4 answered", "2 per second", "p99.9", "up to", "█", "2 timeout: No reply came.",
                 "1 connection lost", "3 due, but not sent", "4 without an answer", "(interrupted)",
                 "1 connection opened again", "2 connections lost, not opened again"):  # fmt: skip
        assert part in text, part


def test_the_text_says_from_where_latencies_are_counted():
    assert "from the time at which a request was due" in "\n".join(as_text(summary(rate=50.0)))
    assert "was due" not in "\n".join(as_text(summary()))


def test_the_text_says_that_the_client_may_be_the_limit():
    assert "may be the limit" in "\n".join(as_text(summary(cpu=1.8)))
    assert "may be the limit" not in "\n".join(as_text(summary(cpu=1.0)))


def test_without_errors_the_text_does_not_mention_them():
    assert "Errors" not in as_text(summary())


def test_the_text_can_be_ascii():
    assert all(line.isascii() for line in as_text(summary(times=(0.001, 0.002, 5)), ascii_only=True))


def test_nothing_was_answered():
    text = "\n".join(as_text(summary(times=(), rows=0, seconds=0.0)))
    assert "no request was answered" in text
    assert "Histogram" not in text


def test_the_json_has_milliseconds():
    data = json.loads(json.dumps(as_json(summary(**ERRORS, rate=10.0, traffic=Traffic(4, 6, 40, 60)))))
    assert data["latency_ms"]["p50"] == pytest.approx(2, rel=0.01)
    assert (data["latency_ms"]["min"], data["latency_ms"]["max"]) == (1, 4)
    assert (data["requests"], data["requests_per_second"], data["messages_per_second"]) == (4, 2, 5)
    assert (data["model"], data["errors"]) == ("open", ERRORS["errors"])
    assert sum(count for _, _, count in data["histogram_ms"]) == 4
    assert data["per_second"][0] == {
        "at": 1, "requests_per_second": 2, "errors": 1, "p50_ms": 1, "p90_ms": 2, "p99_ms": 3, "max_ms": 4
    }  # fmt: skip


def test_the_csv_has_a_line_for_each_second():
    lines = as_csv(summary(rows=2))
    assert lines[0] == "second,requests_per_second,errors,p50_ms,p90_ms,p99_ms,max_ms"
    assert lines[1:] == ["1.000,2.0,1,1.0,2.0,3.0,4.0", "2.000,2.0,1,1.0,2.0,3.0,4.0"]


@pytest.mark.parametrize(
    "measured",
    [
        summary(**ERRORS),
        summary(times=(), rows=0),
        summary(times=(1,), rows=1),
        summary(times=(0, 0)),
        summary(rows=5000, rate=100.0),
        summary(url='ws://host/?a=1&b="<\x00\x1b\ud800>'),
        summary(times=[0.001] * 1000 + [60_000]),
    ],
)
def test_the_chart_is_well_formed_and_its_parts_are_inside(measured):
    document = as_svg(measured)
    root = ET.fromstring(document.encode())
    _, _, width, height = map(float, root.get("viewBox").split())
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    for line in root.iter("{http://www.w3.org/2000/svg}polyline"):
        for point in line.get("points").split():
            x, y = map(float, point.split(","))
            assert 0 <= x <= width
            assert 0 <= y <= height
        assert len(line.get("points").split()) <= 1001
    for text in root.iter("{http://www.w3.org/2000/svg}text"):
        assert 0 <= float(text.get("x")) <= width
        assert 0 <= float(text.get("y")) <= height
    assert len(document) < 40_000


def test_the_chart_needs_no_colour_and_fits_light_and_dark():
    document = as_svg(summary(**ERRORS))
    assert "prefers-color-scheme:dark" in document
    assert "stroke-dasharray" in document
    assert "failed (dashed)" in document
    assert '<rect class="paper"' in document
    assert "<title" in document
    assert "<desc" in document
    assert "failed (dashed)" not in as_svg(dataclasses.replace(summary(), rows=[Second(1, 1, 9, 0, 1, 1, 1, 1)]))


def test_a_spark_line_has_one_block_for_each_value():
    assert spark_line([0, 5, 10]) == "▁▅█"
    assert (spark_line([]), spark_line([0])) == ("", "▁")
