"""What a wire needs of the client is there."""

import inspect

import pytest

import wsclient
from wsclient import _wire_needs
from wsclient._source import RecordedSource, Source


def members(protocol):
    return [name for name in [*protocol.__annotations__, *vars(protocol)] if not name.startswith("_")]


@pytest.mark.parametrize(
    ("need", "kind"),
    [(_wire_needs.Source, Source), (_wire_needs.Source, RecordedSource), (_wire_needs.Tape, RecordedSource)],
)
def test_all_that_is_needed_is_there(need, kind):
    client = wsclient.Client("ws://localhost/")
    source = kind(client._wsclient.core, 1, *([None, 1] if kind is RecordedSource else []))
    assert len(members(need)) > 3
    for name in members(need):
        there = getattr(source, name)
        wanted = getattr(need, name, None)
        if wanted is not None:
            assert len(inspect.signature(there).parameters) == len(inspect.signature(wanted).parameters) - 1, name
    client.close()
