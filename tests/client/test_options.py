"""The options of a client are declared once: types, defaults, checks, signatures and documentation agree."""

import inspect
import re

import pytest

import wsclient
from wsclient._client.options import OPTIONS

URL = "ws://localhost:1/"
KEYWORDS = [name for name in inspect.signature(wsclient.Client).parameters if name != "url"]


def documented(function):
    """The arguments that a docstring explains, in order."""
    section = inspect.getdoc(function).partition("Args:")[2].partition("Raises:")[0]
    return [
        name for names in re.findall(r"^ {4}(\w+(?:, \w+)*): ", section, re.MULTILINE) for name in names.split(", ")
    ]


def test_the_signature_the_types_and_the_table_have_the_same_options_in_the_same_order():
    assert list(OPTIONS) == list(wsclient.ClientOptions.__annotations__) == KEYWORDS
    assert wsclient.ClientOptions.__total__ is False


def test_the_docstring_explains_every_option_in_the_order_of_the_signature():
    assert documented(wsclient.Client.__init__) == ["url", *KEYWORDS]


def test_the_signature_shows_each_default_and_each_type():
    for name, parameter in inspect.signature(wsclient.Client).parameters.items():
        assert isinstance(parameter.annotation, str)
        if name != "url":
            assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
            assert parameter.default is OPTIONS[name].default
    assert inspect.signature(wsclient.Client).parameters["open_timeout"].annotation == "float"
    assert list(inspect.signature(wsclient.Client.__init__).parameters)[:2] == ["self", "url"]


def test_each_default_passes_its_check():
    for name, option in OPTIONS.items():
        option.check(name, option.default)


@pytest.mark.parametrize("make", [wsclient.Client, wsclient.connect])
@pytest.mark.parametrize(
    ("wrong", "near"), [("open_timout", "open_timeout"), ("pingInterval", "ping_interval"), ("onmessage", "on_message")]
)
def test_an_unknown_option_is_refused_with_the_most_similar_name(make, wrong, near):
    with pytest.raises(TypeError, match=rf"^'{wrong}' is not an option of .*; the nearest is '{near}'\.$"):
        make(URL, **{wrong: 5})


def test_an_unknown_option_without_a_similar_name_is_refused_with_a_link_to_the_list():
    with pytest.raises(TypeError, match=r"^'zzz' is not an option of .*help\(wsclient\.Client\) lists all\.$"):
        wsclient.Client(URL, zzz=5)


def test_a_subclass_can_pass_its_options_on_and_gets_the_same_error():
    class Feed(wsclient.Client):
        def __init__(self, **options):
            super().__init__(URL, **options)

    assert "'ticks'" in repr(Feed(name="ticks"))
    with pytest.raises(TypeError, match="the nearest is 'name'"):
        Feed(nme="ticks")


def test_a_refused_option_leaves_the_protocol_unused_for_another_client():
    protocol = wsclient.JsonId()
    for wrong in ({"name": ""}, {"handlers": {"add": None}}, {"retry_first": True, "reconnect": None}):
        with pytest.raises((TypeError, ValueError)):
            wsclient.Client(URL, protocol=protocol, **wrong)
    assert wsclient.Client(URL, protocol=protocol).protocol is protocol
