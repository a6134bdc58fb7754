"""Checks of single values: valid values, and the error messages for invalid ones."""

import math

import hypothesis
import pytest
from hypothesis import strategies as st

from wsclient._validation import check_bool, check_callable, check_choice, check_count, check_seconds


def test_zero_seconds_are_accepted_where_allowed():
    assert check_seconds("timeout", 0, zero=True) == 0.0
    with pytest.raises(ValueError, match="timeout must be a finite number of seconds, at least 0, not -1"):
        check_seconds("timeout", -1, zero=True)
    with pytest.raises(ValueError, match="at least 0, not nan"):
        check_seconds("timeout", math.nan, zero=True)


@hypothesis.given(st.floats() | st.integers(-(10**9), 10**9))
def test_any_number_of_seconds_is_kept_or_refused(value):
    try:
        assert check_seconds("timeout", value) == value
    except ValueError:
        assert not (0 < value < math.inf)
    else:
        assert 0 < value < math.inf


@pytest.mark.parametrize("value", [True, False, None, "5", b"5", [5], 5j], ids=repr)
def test_seconds_must_be_a_number(value):
    with pytest.raises(TypeError, match=r"^timeout must be a number of seconds, not "):
        check_seconds("timeout", value, zero=True)


def test_seconds_beyond_a_float_are_refused():
    with pytest.raises(ValueError, match=r"^timeout must be a finite number"):
        check_seconds("timeout", 10**400)


def test_seconds_become_a_float():
    assert type(check_seconds("timeout", 5)) is float


def test_the_error_of_a_count_has_its_name():
    assert check_count("maxsize", 5) == 5
    with pytest.raises(ValueError, match=r"^maxsize must be at least 1"):
        check_count("maxsize", 0)


def test_a_count_of_zero_is_accepted_where_allowed():
    assert check_count("most", 0, zero=True) == 0
    with pytest.raises(ValueError, match=r"^most must be at least 0, not -1\.$"):
        check_count("most", -1, zero=True)


@pytest.mark.parametrize("value", [True, False, None, "5", 5.0, math.inf], ids=repr)
@pytest.mark.parametrize("zero", [True, False])
def test_a_count_must_be_an_integer(value, zero):
    with pytest.raises(TypeError, match=r"^most must be a whole number, not "):
        check_count("most", value, zero=zero)


def test_the_error_of_a_choice_has_its_name_and_the_choices():
    assert check_choice("mode", "a", ("a", "b")) == "a"
    with pytest.raises(ValueError, match=r"^mode must be one of 'a', 'b', not 'c'\.$"):
        check_choice("mode", "c", ("a", "b"))


def test_a_function_must_be_synchronous_or_none():
    def plain():
        pass

    async def coroutine():
        pass

    assert check_callable("match", plain) is plain
    assert check_callable("match", None) is None
    with pytest.raises(TypeError, match=r"^match must be a function or None, not 5"):
        check_callable("match", 5)
    with pytest.raises(TypeError, match=r"^match must be a plain function"):
        check_callable("match", coroutine)


def test_a_callable_object_is_accepted_as_a_function():
    assert check_callable("match", dict) is dict
    assert check_callable("match", "".join) == "".join


def test_an_object_with_an_async_call_method_is_refused():
    class Asynchronous:
        async def __call__(self):
            pass

    with pytest.raises(TypeError, match=r"^match must be a plain function"):
        check_callable("match", Asynchronous())


@pytest.mark.parametrize("value", [True, False])
def test_a_flag_is_kept(value):
    assert check_bool("flag", value) is value


@pytest.mark.parametrize("value", [None, 0, 1, "", "yes"], ids=repr)
def test_a_flag_must_be_exactly_true_or_false(value):
    with pytest.raises(TypeError, match=rf"^flag must be True or False, not {value!r}\.$"):
        check_bool("flag", value)
