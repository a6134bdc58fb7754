"""``python -m wsclient.testing``, run from a shell."""

import signal
import subprocess
import sys

import pytest

import wsclient
from wsclient.testing import Server
from wsclient.testing.__main__ import main

from ..support import LONG


@pytest.fixture
def started():
    """Starts the command; ends its processes afterwards."""
    processes = []

    def start(*arguments):
        process = subprocess.Popen(
            [sys.executable, "-m", "wsclient.testing", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def typed(process, line):
    process.stdin.write(line + "\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


def test_a_proxy_from_a_shell_forwards_to_its_target_and_executes_commands(started):
    with Server() as server:
        process = started("proxy", server.url, "--latency", "0.01", "--jitter", "0.005", "--seed", "3")
        url = process.stdout.readline().split()[0]
        with wsclient.connect(url, protocol=wsclient.Fifo()) as client:
            assert client.request("through it", timeout=LONG) == "through it"
            assert typed(process, "status").startswith("1 open, 1 accepted")
            assert "1 cut" in typed(process, "cut")
            assert client.request("once more", timeout=LONG, idempotent=True) == "once more"
        assert typed(process, "explode") == "There is no command 'explode'; type help for the commands."
        process.stdin.write("quit\n")
        process.stdin.flush()
        assert process.wait(LONG) == 0
        assert process.stderr.read() == ""


def test_it_continues_without_input_and_ends_by_an_interrupt(started):
    with Server() as server:
        process = started("proxy", str(server.port))
        url = process.stdout.readline().split()[0]
        process.stdin.close()
        with wsclient.connect(url, protocol=wsclient.Fifo()) as client:
            assert client.request("x", timeout=LONG) == "x"
        process.send_signal(signal.SIGINT)
        assert process.wait(LONG) == 0
        process.stdin = None
        assert process.stderr.read() == ""


@pytest.mark.parametrize("arguments", [["proxy", "tcp://host/"], ["proxy", "8765", "--jitter", "1"]])
def test_an_invalid_command_line_prints_the_reason(arguments, capsys):
    assert main(arguments) == 2
    assert "The proxy can't start: " in capsys.readouterr().err


def test_without_a_command_it_prints_the_commands(capsys):
    with pytest.raises(SystemExit):
        main([])
    assert "COMMAND" in capsys.readouterr().err
