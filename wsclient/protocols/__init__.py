"""Message protocols: how a reply finds its request. Pure: no I/O, no clock, no threads of their own."""

from ._base import OLDEST, Control, Event, Failure, Incoming, Protocol, Reply
from ._fifo import Fifo
from ._json_id import JsonId

__all__ = ["OLDEST", "Control", "Event", "Failure", "Fifo", "Incoming", "JsonId", "Protocol", "Reply"]
