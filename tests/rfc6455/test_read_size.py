"""The size of a read."""

import os
import subprocess
import sys

import pytest

from wsclient._rfc6455.read_size import LARGE_READ_SIZE, READ_SIZE, next_read_size

HEADER = 10


def test_the_read_size_is_small_until_a_read_is_full():
    assert next_read_size(0, 0, 0) == READ_SIZE
    assert next_read_size(READ_SIZE - 1, 1, 2**20) == READ_SIZE


@pytest.mark.parametrize("size", [READ_SIZE, LARGE_READ_SIZE, LARGE_READ_SIZE + HEADER])
def test_the_read_size_grows_while_messages_are_large(size):
    assert next_read_size(size, 0, 1) == LARGE_READ_SIZE
    assert next_read_size(size, size // 1024, 0) == LARGE_READ_SIZE


@pytest.mark.parametrize("size", [READ_SIZE, LARGE_READ_SIZE])
def test_the_read_size_stays_small_for_small_messages(size):
    assert next_read_size(size, size // 1024 + 1, 0) == READ_SIZE


@pytest.mark.parametrize("missing", [LARGE_READ_SIZE // 2 + 1, LARGE_READ_SIZE - 1, LARGE_READ_SIZE])
def test_a_large_message_is_read_to_its_end_together_with_the_next_header(missing):
    assert next_read_size(READ_SIZE, 0, missing) == missing + HEADER


@pytest.mark.parametrize("missing", [LARGE_READ_SIZE + 1, 2**63 - 1])
def test_one_read_is_limited_whatever_length_a_header_announces(missing):
    assert next_read_size(READ_SIZE, 0, missing) == LARGE_READ_SIZE + HEADER


FAULTS = """
import resource, sys
from wsclient._rfc6455.read_size import READ_SIZE, next_read_size

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def one_message():
    pieces = [bytes([65]) * 2**19 for _ in range(2)]
    b"".join(pieces).decode()

if sys.argv[1] == "large":
    next_read_size(READ_SIZE, 0, 0)
for _ in range(5):
    one_message()
before = faults()
for _ in range(20):
    one_message()
print((faults() - before) // 20)
"""


def faults_a_message(size, **environment):
    """How many pages a MiB message costs in a separate program that has read large ones, or has not."""
    program = [sys.executable, "-c", FAULTS, size]
    done = subprocess.run(
        program, check=True, capture_output=True, text=True, timeout=60, env={**os.environ, **environment}
    )
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="it is the GNU C library's malloc that learns")
def test_memory_released_by_large_messages_is_kept_for_the_next_ones():
    if faults_a_message("small") < 100:
        pytest.skip("this malloc keeps freed memory in any case")
    assert faults_a_message("large") < 10
    assert faults_a_message("large", WSCLIENT_KEEP_MEMORY="0") > 100
