"""An outgoing message, and what can be told of its fate."""

import pytest

from wsclient._rfc6455.frames import Opcode
from wsclient._sending.message import EXPIRED, LOST, Outgoing, Passage
from wsclient.protocols._encoding import Draft, encoded


def message(**options):
    return Outgoing(Opcode.TEXT, b"hello", 5, **options)


def on(passage, end):
    """A message that ends at this offset of the connection."""
    out = message()
    out.put_on(passage, end)
    return out


# --- payloads ---------------------------------------------------------------------------------------------------------


def test_a_str_is_a_text_message_in_utf8():
    assert encoded("grün") == (Opcode.TEXT, b"gr\xc3\xbcn")


def test_bytes_are_a_binary_message():
    assert encoded(b"\x00\xff") == (Opcode.BINARY, b"\x00\xff")


def test_a_lone_surrogate_is_refused():
    with pytest.raises(ValueError, match="surrogates not allowed"):
        encoded("\ud800")


# --- passages ---------------------------------------------------------------------------------------------------------


def test_a_passage_begins_with_nothing_sent():
    passage = Passage(7)
    assert (passage.number, passage.taken, passage.sent, passage.confirmed, passage.ended) == (7, 0, 0, 0, False)


def test_what_is_confirmed_only_grows():
    passage = Passage(1)
    passage.confirm(50)
    passage.confirm(20)
    assert passage.confirmed == 50
    passage.confirm(51)
    assert passage.confirmed == 51


# --- what became of a message -----------------------------------------------------------------------------------------


def test_a_new_message_is_queued():
    out = message()
    assert out.state == "queued"
    assert not out.written()


def test_a_message_of_which_some_was_sent_is_still_queued():
    passage = Passage(1)
    out = on(passage, 100)
    passage.sent = 99
    assert out.state == "queued"
    assert not out.written()


def test_a_message_all_of_which_was_sent_is_written():
    passage = Passage(1)
    out = on(passage, 100)
    passage.sent = 100
    assert out.state == "written"
    assert out.written()


@pytest.mark.parametrize(("confirmed", "state"), [(99, "written"), (100, "confirmed"), (101, "confirmed")])
def test_a_message_is_confirmed_once_its_last_byte_is(confirmed, state):
    passage = Passage(1)
    out = on(passage, 100)
    passage.sent = 200
    passage.confirm(confirmed)
    assert out.state == state


def test_a_written_message_without_proof_is_unknown_after_the_end():
    passage = Passage(1)
    out = on(passage, 100)
    passage.sent = 100
    passage.ended = True
    assert out.state == "unknown"
    assert out.written()


def test_a_confirmed_message_stays_confirmed_after_the_end():
    passage = Passage(1)
    out = on(passage, 100)
    passage.sent = 100
    passage.confirm(100)
    passage.ended = True
    assert out.state == "confirmed"


def test_a_message_cut_in_mid_frame_is_queued_for_the_next_connection():
    passage = Passage(1)
    out = on(passage, 100)
    passage.sent = 99
    passage.ended = True
    assert out.state == "queued"


def test_a_message_follows_the_connection_it_was_put_on_last():
    first, second = Passage(1), Passage(2)
    out = on(first, 100)
    first.sent, first.ended = 99, True
    out.put_on(second, 10)
    assert out.place == (second, 10)
    second.sent = 10
    assert out.state == "written"


@pytest.mark.parametrize("fate", ["expired", "lost"])
def test_a_sealed_fate_is_what_counts(fate):
    out = message()
    out.fate = fate
    assert out.state == fate
    passage = Passage(1)
    out.put_on(passage, 5)
    passage.sent = 100
    assert out.state == fate


def test_the_fates_are_the_words_callers_see():
    assert (EXPIRED, LOST) == ("expired", "lost")


# --- what it is made of -----------------------------------------------------------------------------------------------


def test_a_message_may_go_anywhere_at_any_time_by_default():
    out = message()
    assert (out.opcode, out.payload, out.size) == (Opcode.TEXT, b"hello", 5)
    assert (out.expires_at, out.bound, out.queued, out.place, out.fate) == (None, None, False, None, None)
    assert out.requests == 0


def test_a_message_keeps_its_expiry_and_its_connection():
    out = message(expires_at=12.5, bound=3)
    assert (out.expires_at, out.bound) == (12.5, 3)


@pytest.mark.parametrize("opcode", [Opcode.TEXT, Opcode.BINARY])
def test_messages_take_room_in_the_queue(opcode):
    assert Outgoing(opcode, b"", 0).counted


@pytest.mark.parametrize("opcode", [Opcode.CLOSE, Opcode.PING, Opcode.PONG])
def test_our_own_marks_take_no_room_in_the_queue(opcode):
    assert not Outgoing(opcode, b"", 0).counted


def test_a_draft_has_no_payload_of_its_own():
    with pytest.raises(NotImplementedError):
        Draft()(1)
