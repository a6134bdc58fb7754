"""The ids of a client that has two connections: ``Protocol.new_id`` has one caller at a time."""

import threading

from wsclient import JsonId
from wsclient._requests.ids import SharedIds

from ..support import LONG


class Slow(JsonId):
    """A protocol whose ``new_id`` is not safe for two callers at the same time."""

    def __init__(self):
        super().__init__()
        self.last = 0

    def new_id(self):
        last = self.last
        threading.Event().wait(0.0001)  # another thread may run here
        self.last = last + 1
        return self.last


def test_ids_are_asked_for_one_at_a_time():
    ids, found = SharedIds(Slow()), []
    threads = [threading.Thread(target=lambda: found.extend(ids.new_id() for _ in range(50))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    assert sorted(found) == list(range(1, 201))


def test_an_id_that_the_caller_chose_is_passed_on():
    protocol = JsonId()
    ids = SharedIds(protocol)
    ids._reserve_id(5)
    assert ids.new_id() == 6 == protocol.new_id() - 1
