"""What a message becomes as it is taken to the line: here a request gets its id, so that ids rise on the wire.

Run by whoever owns the way out, one thread at a time.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from .._errors import ProtocolError
from .._sending.message import LOST, Batch, Outgoing
from . import requests
from .request import Request
from .table import Clash

if TYPE_CHECKING:
    from .context import RequestContext

__all__ = ["payload_of"]

_log = logging.getLogger("wsclient")

_MAX_ID_TRIES: Final = 2**17
"""Times a protocol is asked for an id that is not in flight; MQTT has 65 535 of them."""


def payload_of(core: RequestContext, number: int, entry: Outgoing) -> bytes | None:
    """What the owner of the line writes for an entry; a request gets its id now, so that ids rise on the wire.

    Args:
        core: the client.
        number: the connection's number. What is bound to another one is lost, even if it was queued a moment too late
            to be swept out with it.
        entry: the message.
    """
    if entry.bound is not None and entry.bound != number:
        entry.fate = LOST
        for request in requests.requests_in(entry):
            requests.fail(core, request, requests.ended_before())
        return None
    if not isinstance(entry, Request):
        if isinstance(entry, Batch):
            members = [payload for one in entry.members if (payload := payload_of(core, number, one)) is not None]
            return b"[%b]" % b",".join(members) if members else None
        return entry.payload if not entry.ids or _is_nobodys(core, entry) else None
    try:
        if not _depart(core, entry):
            return None
        if entry.feed is not None:
            entry.feed.departed(entry)
        if entry.draft is not None:
            entry.opcode, payload = entry.draft(entry.id)
            entry.payload = payload
            entry.size = len(payload)
            return payload
    except Exception as error:  # a protocol of the user's own
        requests.fail(core, entry, error)
        core.pending.drop_place(entry)
        return None
    return entry.payload


def _is_nobodys(core: RequestContext, entry: Outgoing) -> bool:
    """Whether no answer to a mere message could be taken for a request's; else it is lost.

    ``plain`` has looked, and set its ids aside; a request that had taken one in that same moment has departed by now.
    """
    clash = next((id for id in entry.ids if core.pending.find(id) is not None), None)
    if clash is None:
        return True
    entry.fate = LOST
    _log.warning("%s: a message was not sent: a request with its id %r is in flight.", core.settings.name, clash)
    return False


def _depart(core: RequestContext, request: Request) -> bool:
    """Give a request the id under which it goes out, before anybody else can have it. False if nobody waits for it."""
    if request.match is not None:
        return core.pending.depart(request, request.id)
    if request.own is not None:
        core.protocol._passed(request.id)
        return core.pending.depart(request, request.id)
    for _ in range(_MAX_ID_TRIES):
        id = core.protocol.new_id()
        try:
            return core.pending.depart(request, id)
        except Clash:
            continue
    raise ProtocolError(f"{type(core.protocol).__name__}.new_id() gave no id that is free.")
