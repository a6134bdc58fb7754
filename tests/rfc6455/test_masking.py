"""Masking: the keys, and the XOR with them."""

import itertools
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import wsclient
from wsclient._rfc6455 import masking
from wsclient._rfc6455.masking import accelerated, forget_keys, mask_in_python, new_key
from wsclient._threads.imports import import_lock

from ..support.strikes import strikes
from ..support.threads import on_thread

keys = st.binary(min_size=4, max_size=4)


def masked(data, key):
    """RFC 6455 §5.3, literally."""
    return bytes(byte ^ key[i % 4] for i, byte in enumerate(data))


@given(data=st.binary(max_size=3000), key=keys)
@example(data=b"", key=b"abcd")
def test_masking_is_the_xor_defined_in_the_rfc(data, key):
    assert masking.apply_mask(data, key) == masked(data, key)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 5, 7, 8, 1023, 1024, 1025, 1026, 1027, 1028, 65537])
def test_masking_keeps_every_length(size):
    data = os.urandom(size)
    assert masking.apply_mask(data, b"\x01\x80\x00\xff") == masked(data, b"\x01\x80\x00\xff")


def test_leading_and_trailing_zeros_are_kept():
    data = bytes(10) + b"x" + bytes(10)
    assert masking.apply_mask(data, bytes(4)) == data


@given(data=st.binary(max_size=2000), key=keys)
def test_masking_twice_gives_the_data_back(data, key):
    assert masking.apply_mask(masking.apply_mask(data, key), key) == data


@pytest.mark.parametrize("size", [10, 5000])
def test_the_masked_data_is_bytes(size):
    assert type(masking.apply_mask(bytes(size), b"abcd")) is bytes


class Entropy:
    """Replaces that of the operating system: each four bytes of it are unique."""

    def __init__(self):
        self.groups = []

    def __call__(self, size):
        assert size % 4 == 0
        fresh = [i.to_bytes(4, "big") for i in range(len(self.groups), len(self.groups) + size // 4)]
        self.groups += fresh
        return b"".join(fresh)


@pytest.fixture
def entropy(monkeypatch):
    forget_keys()
    source = Entropy()
    monkeypatch.setattr(os, "urandom", source)
    yield source
    forget_keys()


def test_keys_come_from_the_operating_system_and_each_is_used_once(entropy):
    taken = [new_key() for _ in range(3000)]
    assert len(set(taken)) == 3000
    assert set(taken) <= set(entropy.groups)


def test_a_key_has_four_bytes(entropy):
    assert {len(new_key()) for _ in range(1500)} == {4}


def test_entropy_is_read_again_only_when_all_of_it_was_used(entropy):
    taken = {new_key()}
    fetched = len(entropy.groups)
    taken |= {new_key() for _ in range(fetched - 1)}
    assert taken == set(entropy.groups)
    new_key()
    assert len(entropy.groups) > fetched


def test_discarded_keys_are_not_used(entropy):
    new_key()
    before = set(entropy.groups)
    forget_keys()
    assert new_key() not in before


FORK = """
import os
from wsclient._rfc6455.masking import new_key
new_key()
reader, writer = os.pipe()
if os.fork() == 0:
    os.write(writer, b"".join(new_key() for _ in range(100)))
    os._exit(0)
os.wait()
theirs = os.read(reader, 4096)
ours = b"".join(new_key() for _ in range(100))
assert len(theirs) == len(ours) == 400
print(len({theirs[i:i + 4] for i in range(0, 400, 4)} & {ours[i:i + 4] for i in range(0, 400, 4)}))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_uses_keys_different_from_its_parents():
    root = Path(wsclient.__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", FORK], cwd=root, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 3  # of 100; by chance one run in 400 000 has one


# --- the accelerator -------------------------------------------------------------------------------------------------


@pytest.fixture
def unaccelerated(monkeypatch):
    """Like a process that has not masked anything yet."""
    monkeypatch.setattr(masking, "apply_mask", masking._mask_and_count)
    monkeypatch.setattr(masking, "_masked", 0)
    monkeypatch.setattr(masking, "_next_check", 0)
    monkeypatch.delitem(sys.modules, "websockets.speedups", raising=False)


@given(data=st.binary(max_size=3000), key=keys)
@example(data=b"", key=b"abcd")
def test_the_accelerator_has_the_same_result(data, key):
    fast = accelerated()
    if fast is None:
        pytest.skip("THE ACCELERATOR IS NOT TESTED: the installed websockets has no C part for this Python")
    masked_fast = fast(data, key)
    assert masked_fast == mask_in_python(data, key) == masked(data, key)
    assert type(masked_fast) is bytes


def test_a_small_amount_is_masked_without_importing_the_accelerator(unaccelerated):
    for _ in range(1000):
        masking.apply_mask(b"hello", b"abcd")
    assert "websockets.speedups" not in sys.modules
    assert masking.apply_mask is masking._mask_and_count


def test_the_accelerator_is_used_from_a_certain_amount_on(unaccelerated):
    data, key = os.urandom(2**20), b"abcd"
    for _ in range(13):
        assert masking.apply_mask(data, key) == mask_in_python(data, key)
    assert masking.apply_mask is (accelerated() or mask_in_python)


def test_the_accelerator_is_used_at_once_if_it_is_already_imported(unaccelerated):
    if accelerated() is None:
        pytest.skip("THE ACCELERATOR IS NOT TESTED: the installed websockets has no C part for this Python")
    assert masking.apply_mask(b"hello", b"abcd") == masked(b"hello", b"abcd")
    assert masking.apply_mask is accelerated()


def test_the_accelerator_is_used_soon_after_the_program_has_imported_it(unaccelerated):
    masking.apply_mask(b"hello", b"abcd")
    if accelerated() is None:
        pytest.skip("THE ACCELERATOR IS NOT TESTED: the installed websockets has no C part for this Python")
    for _ in range(1100):
        assert masking.apply_mask(b"hello", b"abcd") == masked(b"hello", b"abcd")
    assert masking.apply_mask is accelerated()


def test_without_the_accelerator_python_masks_permanently(unaccelerated, monkeypatch):
    monkeypatch.setitem(sys.modules, "websockets.speedups", None)  # its import raises ImportError
    assert accelerated() is None
    assert masking.apply_mask(b"hello", b"abcd") == masked(b"hello", b"abcd")
    assert masking.apply_mask is mask_in_python


def test_an_interrupted_import_of_the_accelerator_is_left_to_other_threads(unaccelerated, monkeypatch):
    monkeypatch.setattr(masking, "accelerated", lambda: None)  # an interrupt of a real import would be Python's
    for moment in itertools.count():
        struck = strikes(moment, masking._accelerate)
        free = []
        other = threading.Thread(
            target=lambda free=free: free.append(import_lock.acquire(timeout=0) and not import_lock.release())
        )
        other.start()
        other.join()
        assert free == [True]
        if not struck:
            break
    assert moment > 2


def test_while_another_thread_imports_masking_does_not_wait(unaccelerated, monkeypatch):
    before = masking.apply_mask
    with import_lock:
        on_thread(masking._accelerate)
    assert masking.apply_mask is before
    on_thread(masking._accelerate)
    assert masking.apply_mask is not before
