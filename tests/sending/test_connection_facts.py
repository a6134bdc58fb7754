"""What other threads may read about connections."""

from wsclient import Disconnect
from wsclient._sending.connection_facts import _MAX_REPLACED, ConnectionFacts, Replaced


def test_only_the_last_replaced_connections_are_remembered():
    facts = ConnectionFacts()
    replaced = Replaced(Disconnect("renewal", 1000, "", None, 1.0, 0.0), has_answered=True)
    for number in range(3 * _MAX_REPLACED):
        facts.add_replaced(number, replaced)
    assert list(facts.replaced) == list(range(2 * _MAX_REPLACED, 3 * _MAX_REPLACED))
