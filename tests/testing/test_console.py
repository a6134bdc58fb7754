"""The console commands of a proxy."""

import pytest

from wsclient.testing import FaultProxy
from wsclient.testing._fault_proxy.console import QUIT, carry_out


@pytest.fixture
def tcp():
    with FaultProxy(9) as proxy:
        yield proxy


@pytest.mark.parametrize(
    "line",
    ["cut", "reset", "freeze", "thaw", "latency 0.2 0.05", "latency 0", "bandwidth 10000", "bandwidth off",
     "cut-after 1000 up", "refuse", "accept", "drop up", "drop off", "status", "  cut  "],
)  # fmt: skip
def test_each_verb_is_answered_with_the_figures(tcp, line):
    assert carry_out(tcp, line).startswith("0 open, 0 accepted")


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("explode", "There is no command 'explode'; type help for the commands."),
        ("latency", "Usage: latency SECONDS [JITTER]"),
        ("cut now", "Usage: cut"),
        ("latency soon", "could not convert string to float: 'soon' Usage: latency SECONDS [JITTER]"),
        ("", ""),
        ("quit", QUIT),
        ("exit", QUIT),
    ],
)
def test_other_valid_input_is_accepted(tcp, line, answer):
    assert carry_out(tcp, line) == answer


def test_an_unknown_word_is_answered_with_the_usage(tcp):
    assert "direction must be" in carry_out(tcp, "drop sideways")
    assert "jitter must be" in carry_out(tcp, "latency 0.1 5")


def test_help_lists_every_verb(tcp):
    answer = carry_out(tcp, "help")
    for verb in ("cut", "reset", "freeze", "thaw", "latency", "bandwidth", "cut-after", "drop", "refuse", "accept",
                 "status", "quit"):  # fmt: skip
        assert f"\n{verb}" in f"\n{answer}"
