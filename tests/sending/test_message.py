"""An outgoing message, and its state."""

import pytest

from wsclient._rfc6455.frames import Opcode
from wsclient._sending.message import EXPIRED, LOST, Outgoing, WriteProgress
from wsclient.protocols._encoding import Encoder, encoded


def message(**options):
    return Outgoing(Opcode.TEXT, b"hello", 5, **options)


def on(progress, end):
    """A message that ends at this offset of the connection's output."""
    out = message()
    out.put_on(progress, end)
    return out


# --- payloads ---------------------------------------------------------------------------------------------------------


def test_a_str_is_a_text_message_in_utf8():
    assert encoded("grün") == (Opcode.TEXT, b"gr\xc3\xbcn")


def test_bytes_are_a_binary_message():
    assert encoded(b"\x00\xff") == (Opcode.BINARY, b"\x00\xff")


def test_a_lone_surrogate_is_refused():
    with pytest.raises(ValueError, match="surrogates not allowed"):
        encoded("\ud800")


# --- write progress ---------------------------------------------------------------------------------------------------


def test_write_progress_begins_with_nothing_sent():
    progress = WriteProgress(7)
    assert (progress.number, progress.taken, progress.sent, progress.confirmed, progress.ended) == (7, 0, 0, 0, False)


def test_the_confirmed_offset_only_grows():
    progress = WriteProgress(1)
    progress.confirm(50)
    progress.confirm(20)
    assert progress.confirmed == 50
    progress.confirm(51)
    assert progress.confirmed == 51


# --- the state of a message -------------------------------------------------------------------------------------------


def test_a_new_message_is_queued():
    out = message()
    assert out.state == "queued"
    assert not out.is_written()


def test_a_partly_sent_message_is_still_queued():
    progress = WriteProgress(1)
    out = on(progress, 100)
    progress.sent = 99
    assert out.state == "queued"
    assert not out.is_written()


def test_a_completely_sent_message_is_written():
    progress = WriteProgress(1)
    out = on(progress, 100)
    progress.sent = 100
    assert out.state == "written"
    assert out.is_written()


@pytest.mark.parametrize(("confirmed", "state"), [(99, "written"), (100, "confirmed"), (101, "confirmed")])
def test_a_message_is_confirmed_with_its_last_byte(confirmed, state):
    progress = WriteProgress(1)
    out = on(progress, 100)
    progress.sent = 200
    progress.confirm(confirmed)
    assert out.state == state


def test_a_written_message_without_confirmation_is_unknown_after_the_end():
    progress = WriteProgress(1)
    out = on(progress, 100)
    progress.sent = 100
    progress.ended = True
    assert out.state == "unknown"
    assert out.is_written()


def test_a_confirmed_message_stays_confirmed_after_the_end():
    progress = WriteProgress(1)
    out = on(progress, 100)
    progress.sent = 100
    progress.confirm(100)
    progress.ended = True
    assert out.state == "confirmed"


def test_a_message_cut_in_the_middle_of_a_frame_is_queued_for_the_next_connection():
    progress = WriteProgress(1)
    out = on(progress, 100)
    progress.sent = 99
    progress.ended = True
    assert out.state == "queued"


def test_a_message_belongs_to_the_connection_on_which_it_was_put_last():
    first, second = WriteProgress(1), WriteProgress(2)
    out = on(first, 100)
    first.sent, first.ended = 99, True
    out.put_on(second, 10)
    assert out.position == (second, 10)
    second.sent = 10
    assert out.state == "written"


@pytest.mark.parametrize("fate", ["expired", "lost"])
def test_the_outcome_of_a_discarded_message_is_its_state(fate):
    out = message()
    out.discarded_as = fate
    assert out.state == fate
    progress = WriteProgress(1)
    out.put_on(progress, 5)
    progress.sent = 100
    assert out.state == fate


def test_the_outcomes_are_the_public_strings():
    assert (EXPIRED, LOST) == ("expired", "lost")


# --- attributes -------------------------------------------------------------------------------------------------------


def test_a_message_has_no_expiry_and_no_connection_by_default():
    out = message()
    assert (out.opcode, out.payload, out.size) == (Opcode.TEXT, b"hello", 5)
    assert (out.expires_at, out.connection_number, out.queued, out.position, out.discarded_as) == (
        None,
        None,
        False,
        None,
        None,
    )
    assert out.requests == 0


def test_a_message_keeps_its_expiry_and_its_connection():
    out = message(expires_at=12.5, connection_number=3)
    assert (out.expires_at, out.connection_number) == (12.5, 3)


@pytest.mark.parametrize("opcode", [Opcode.TEXT, Opcode.BINARY])
def test_messages_count_towards_the_size_of_the_queue(opcode):
    assert Outgoing(opcode, b"", 0).counted


@pytest.mark.parametrize("opcode", [Opcode.CLOSE, Opcode.PING, Opcode.PONG])
def test_control_entries_do_not_count_towards_the_size_of_the_queue(opcode):
    assert not Outgoing(opcode, b"", 0).counted


def test_an_encoder_without_an_implementation_raises():
    with pytest.raises(NotImplementedError):
        Encoder().encode(1)
