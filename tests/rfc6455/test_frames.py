"""RFC 6455 frames: every rule, and any bytes in any pieces."""

import itertools
import os
import struct
import tracemalloc
import zlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wsclient._errors import MessageTooBig, ProtocolError
from wsclient._options import MAX_FRAGMENTS
from wsclient._rfc6455.close import Close, CloseCode, parse_close
from wsclient._rfc6455.deflate import Inflater
from wsclient._rfc6455.frames import MessageReader, Opcode, build_frame
from wsclient._rfc6455.read_size import LARGE_READ_SIZE, READ_SIZE

from ..support import FREE_THREADED
from ..support.frames import KEPT, Compressor, close
from ..support.raw import frame

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = Opcode
KEY = b"\x12\xab\x00\xff"
ROOM = 2**20


def reader(max_message_size=ROOM, **options):
    return MessageReader(max_message_size, **options)


def read(*pieces, **options):
    """The results of these pieces, fed one after the other, and the code of the failure if there is one."""
    source = reader(**options)
    received = [one for piece in pieces for one in source.feed(piece)]
    return received, source.failure and source.failure.code


def messages(*pieces, **options):
    received, failure = read(*pieces, **options)
    assert failure is None
    return received


def byte_by_byte(data):
    return [data[i : i + 1] for i in range(len(data))]


def header(opcode, length, *, fin=True, mask=False):
    """The header of a frame whose payload follows."""
    first, bit = (0x80 if fin else 0) | opcode, 0x80 if mask else 0
    if length < 126:
        return bytes((first, bit | length))
    if length < 2**16:
        return struct.pack("!BBH", first, bit | 126, length)
    return struct.pack("!BBQ", first, bit | 127, length)


# --- whole frames -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 70000])
@pytest.mark.parametrize("cut", [lambda data: [data], lambda data: [data[:-1], data[-1:]]], ids=["whole", "in two"])
def test_a_text_of_any_length_arrives(size, cut):
    text = "x" * size
    assert messages(*cut(frame(TEXT, text.encode()))) == [(TEXT, text, size)]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 70000])
@pytest.mark.parametrize("cut", [lambda data: [data], lambda data: [data[:-1], data[-1:]]], ids=["whole", "in two"])
def test_binary_of_any_length_arrives(size, cut):
    data = bytes(i % 251 for i in range(size))
    assert messages(*cut(frame(BINARY, data))) == [(BINARY, data, size)]


@pytest.mark.parametrize("opcode", [PING, PONG])
@pytest.mark.parametrize("payload", [b"", b"x", b"\xff" * 125])
def test_pings_and_pongs_arrive(opcode, payload):
    assert messages(frame(opcode, payload)) == [(opcode, payload, len(payload))]


def test_text_arrives_as_str_with_its_size_in_bytes():
    assert messages(frame(TEXT, "grün €".encode())) == [(TEXT, "grün €", 9)]


def test_the_opcode_of_a_message_is_an_enum_member():
    received = messages(frame(TEXT, b"a") + frame(BINARY, b"b") + frame(PING) + frame(PONG) + close(1000))
    assert [type(one[0]) for one in received] == [Opcode] * 5
    assert [one[0] for one in received] == [TEXT, BINARY, PING, PONG, CLOSE]


def test_many_messages_can_arrive_together():
    data = b"".join(frame(TEXT, str(i).encode()) for i in range(1000))
    assert [payload for _, payload, _ in messages(data)] == [str(i) for i in range(1000)]


def test_an_incomplete_frame_returns_nothing():
    assert messages(frame(TEXT, b"hello")[:-1]) == []
    assert messages(frame(PING, b"hello")[:-1]) == []
    assert messages(b"\x81") == []
    assert messages(b"") == []


def test_a_length_can_have_more_bytes_than_necessary():
    assert messages(b"\x81\x7e\x00\x05hello") == [(TEXT, "hello", 5)]
    assert messages(b"\x81\x7f\x00\x00\x00\x00\x00\x00\x00\x05hello") == [(TEXT, "hello", 5)]


def test_the_reader_keeps_no_reference_to_its_input():
    data = bytearray(frame(BINARY, b"hello"))
    source = reader()
    received = source.feed(bytes(data[:4]))
    received += source.feed(bytes(data[4:]))
    assert received == [(BINARY, b"hello", 5)]
    assert type(received[0][1]) is bytes


# --- fragments --------------------------------------------------------------------------------------------------------


def test_fragments_make_one_message():
    data = frame(TEXT, b"one ", fin=False) + frame(CONTINUATION, b"two ", fin=False) + frame(CONTINUATION, b"three")
    assert messages(data) == [(TEXT, "one two three", 13)]


def test_fragments_of_binary_make_one_message():
    assert messages(frame(BINARY, b"\xff", fin=False), frame(CONTINUATION, b"\xfe")) == [(BINARY, b"\xff\xfe", 2)]


@pytest.mark.parametrize(
    "parts", [[b"", b""], [b"", b"a"], [b"a", b""], [b"a", b"", b"b"], [b"", b"", b""]], ids=lambda parts: f"{parts}"
)
def test_fragments_can_be_empty(parts):
    first, *middle, last = parts
    data = frame(TEXT, first, fin=False)
    data += b"".join(frame(CONTINUATION, part, fin=False) for part in middle)
    data += frame(CONTINUATION, last)
    whole = b"".join(parts)
    assert messages(data) == [(TEXT, whole.decode(), len(whole))]


def test_control_frames_can_arrive_between_fragments_and_are_returned_immediately():
    source = reader()
    assert source.feed(frame(TEXT, b"a", fin=False) + frame(PING, b"p")) == [(PING, b"p", 1)]
    assert source.feed(frame(CONTINUATION, b"b", fin=False) + frame(PONG, b"q")) == [(PONG, b"q", 1)]
    assert source.feed(frame(CONTINUATION, b"c")) == [(TEXT, "abc", 3)]


def test_a_close_can_arrive_between_fragments():
    received, failure = read(frame(TEXT, b"a", fin=False) + close(1001) + frame(CONTINUATION, b"b"))
    assert received == [(CLOSE, Close(1001, "", 1001), 2)]
    assert failure is None


def test_messages_can_follow_a_fragmented_one():
    data = frame(TEXT, b"a", fin=False) + frame(CONTINUATION, b"b") + frame(BINARY, b"c") + frame(TEXT, b"d")
    assert messages(data) == [(TEXT, "ab", 2), (BINARY, b"c", 1), (TEXT, "d", 1)]


# --- any pieces -------------------------------------------------------------------------------------------------------


@st.composite
def streams(draw):
    """Frames that a correct server may send, and their meaning."""
    data, expected = b"", []
    controls = st.lists(st.tuples(st.sampled_from([PING, PONG]), st.binary(max_size=125)), max_size=2)
    for _ in range(draw(st.integers(0, 4))):
        text = draw(st.none() | st.text(max_size=100))
        payload = draw(st.binary(max_size=200)) if text is None else text.encode()
        cuts = sorted(draw(st.lists(st.integers(0, len(payload)), max_size=3)))
        edges = [0, *cuts, len(payload)]
        for i, (start, end) in enumerate(itertools.pairwise(edges)):
            opcode = CONTINUATION if i else BINARY if text is None else TEXT
            data += frame(opcode, payload[start:end], fin=i == len(cuts))
            if i < len(cuts):
                for control, content in draw(controls):
                    data += frame(control, content)
                    expected.append((control, content, len(content)))
        expected.append((BINARY, payload, len(payload)) if text is None else (TEXT, text, len(payload)))
    if draw(st.booleans()):
        code, reason = draw(st.sampled_from([1000, 1001, 3000, 4999])), draw(st.text(max_size=20))
        data += close(code, reason.encode())
        expected.append((CLOSE, Close(code, reason, code), 2 + len(reason.encode())))
    return data, expected


def pieces_of(draw, data):
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=10)))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


@given(stream=streams(), draws=st.data())
def test_any_pieces_of_a_stream_return_the_same_messages(stream, draws):
    data, expected = stream
    assert messages(data) == expected
    assert messages(*byte_by_byte(data)) == expected
    assert messages(*pieces_of(draws.draw, data)) == expected


def test_long_frames_can_arrive_in_any_pieces():
    data = frame(TEXT, b"a" * 300) + frame(BINARY, b"b" * 70000) + frame(PING, b"p" * 125) + frame(TEXT, b"c" * 66000)
    whole = messages(data)
    assert [size for _, _, size in whole] == [300, 70000, 125, 66000]
    for step in (1, 7, 1024, 65536):
        assert messages(*[data[i : i + step] for i in range(0, len(data), step)]) == whole


near_frames = st.builds(
    lambda first, second, rest: bytes((first, second)) + rest,
    st.sampled_from([0x00, 0x01, 0x02, 0x80, 0x81, 0x82, 0x88, 0x89, 0x8A, 0x09, 0xC1, 0x83]) | st.integers(0, 255),
    st.integers(0, 12) | st.sampled_from([125, 126, 127, 128, 255]),
    st.binary(max_size=16),
)
ingredients = st.binary(max_size=20) | near_frames | streams().map(lambda stream: stream[0])
soups = st.lists(ingredients, max_size=6).map(b"".join)


@given(soup=soups, limit=st.integers(1, 60), draws=st.data())
@example(soup=b"\x81\x02\xc3\xbc" + b"\x01\x01\xc3" + b"\x80\x00", limit=10, draws=None)
def test_any_bytes_return_messages_within_the_limits_or_one_failure(soup, limit, draws):
    received, failure = read(soup, max_message_size=limit, max_fragments=3)
    assert failure in (None, 1002, 1007, 1009)
    for opcode, _, size in received:
        assert size <= (limit if opcode in (TEXT, BINARY) else 125)
    assert read(*byte_by_byte(soup), max_message_size=limit, max_fragments=3) == (received, failure)
    if draws is not None:
        pieces = pieces_of(draws.draw, soup)
        assert read(*pieces, max_message_size=limit, max_fragments=3) == (received, failure)


def peak_of(source, pieces):
    tracemalloc.start()
    try:
        for piece in pieces:
            source.feed(piece)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "pieces",
    [
        [header(BINARY, 2**16), *[b"x" * 1024] * 63],
        [header(BINARY, 60, fin=False) + b"x" * 60, *[frame(CONTINUATION, b"x" * 60, fin=False)] * 5000],
        [header(BINARY, 0, fin=False), *[frame(CONTINUATION, fin=False)] * 5000],
        [header(TEXT, 2**40), *[b"x" * 1024] * 1000],
        [b"\x83", *[b"x" * 1024] * 1000],
        [b"\x89\x7d", *[b"x"] * 124],
        [close(1000), *[b"x" * 1024] * 1000],
        [frame(BINARY, b"x" * 1000)] * 200,
    ],
    ids=[
        "a long message",
        "small fragments",
        "empty fragments",
        "too long a message",
        "nonsense",
        "half a ping",
        "after a close",
        "many messages",
    ],
)
def test_the_memory_of_a_reader_is_limited(pieces):
    bound = 5 if FREE_THREADED else 4  # each object is larger without the GIL
    assert peak_of(reader(2**16, max_fragments=2000), pieces) < bound * 2**16


# --- frames that a server must not send -------------------------------------------------------------------------------


def fails(data, code=CloseCode.PROTOCOL_ERROR, **options):
    """Fed as a whole, in two parts and byte by byte, these bytes cause this failure, and return nothing."""
    for pieces in ([data], [data[:1], data[1:]], byte_by_byte(data)):
        assert read(*pieces, **options) == ([], code)
    return True


@pytest.mark.parametrize("opcode", [TEXT, BINARY, PING, PONG, CLOSE])
def test_reserved_bits_are_refused(opcode):
    for rsv in [1, 2, 3, 4, 5, 6, 7]:
        assert fails(frame(opcode, b"", rsv=rsv))


@pytest.mark.parametrize("rsv", [1, 2, 4])
def test_reserved_bits_are_refused_on_a_continuation_too(rsv):
    assert fails(frame(TEXT, b"", fin=False) + frame(CONTINUATION, rsv=rsv))


@pytest.mark.parametrize("fin", [True, False])
def test_unknown_opcodes_are_refused(fin):
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15]:
        assert fails(frame(opcode, b"x", fin=fin))


@pytest.mark.parametrize("opcode", [TEXT, BINARY, PING, PONG, CLOSE])
@pytest.mark.parametrize("size", [0, 1, 125])
def test_masked_frames_are_refused(opcode, size):
    assert fails(header(opcode, size, mask=True) + KEY + bytes(size))


@pytest.mark.parametrize("size", [126, 70000])
def test_long_masked_frames_are_refused(size):
    assert fails(header(TEXT, size, mask=True))


@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
def test_fragmented_control_frames_are_refused(opcode):
    assert fails(frame(opcode, b"", fin=False))


@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
@pytest.mark.parametrize("size", [126, 70000])
def test_control_frames_over_125_bytes_are_refused_by_their_header(opcode, size):
    assert fails(header(opcode, size)[:2])


@pytest.mark.parametrize("fin", [True, False])
@pytest.mark.parametrize("payload", [b"", b"x"])
def test_a_continuation_without_a_message_is_refused(fin, payload):
    assert fails(frame(CONTINUATION, payload, fin=fin))


def test_a_continuation_after_the_last_fragment_is_refused():
    data = frame(BINARY, b"a", fin=False) + frame(CONTINUATION, b"b")
    assert read(data + frame(CONTINUATION, b"c")) == ([(BINARY, b"ab", 2)], 1002)


@pytest.mark.parametrize("outer", [TEXT, BINARY])
@pytest.mark.parametrize("inner", [TEXT, BINARY])
@pytest.mark.parametrize("fin", [True, False])
def test_a_message_inside_another_is_refused(outer, inner, fin):
    assert fails(frame(outer, b"a", fin=False) + frame(inner, b"b", fin=fin))


@pytest.mark.parametrize("length", [2**63, 2**64 - 1])
def test_a_length_with_its_highest_bit_set_is_refused(length):
    assert fails(header(BINARY, length))


def test_the_longest_valid_length_is_only_too_big():
    assert fails(header(BINARY, 2**63 - 1), CloseCode.MESSAGE_TOO_BIG)


# --- limits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 10, 125, 126, 65535, 65536, 70000])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_message_with_the_maximum_size_arrives(limit, opcode):
    data = frame(opcode, b"x" * limit)
    assert [size for _, _, size in messages(data, max_message_size=limit)] == [limit]
    assert [size for _, _, size in messages(data[:3], data[3:], max_message_size=limit)] == [limit]


@pytest.mark.parametrize("limit", [1, 10, 125, 126, 65534, 65535, 65536])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_message_above_the_limit_is_refused_with_its_header(limit, opcode):
    assert fails(header(opcode, limit + 1), CloseCode.MESSAGE_TOO_BIG, max_message_size=limit)
    assert fails(frame(opcode, b"x" * (limit + 1)), CloseCode.MESSAGE_TOO_BIG, max_message_size=limit)


@pytest.mark.parametrize("inner", [b"c", b""], ids=["with payload", "empty"])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_message_inside_another_one_is_refused_with_any_split_of_the_data(opcode, inner):
    outer = frame(TEXT, b"a", fin=False)
    for pieces in ([outer + frame(opcode, inner)], [outer, frame(opcode, inner)]):
        assert read(*pieces) == ([], 1002)


def test_the_limit_applies_to_all_fragments_together():
    start = frame(TEXT, b"x" * 6, fin=False) + frame(CONTINUATION, b"x" * 4, fin=False)
    assert messages(start + frame(CONTINUATION), max_message_size=10) == [(TEXT, "x" * 10, 10)]
    assert fails(start + header(CONTINUATION, 1), CloseCode.MESSAGE_TOO_BIG, max_message_size=10)


def test_the_limit_applies_to_each_message_separately():
    data = frame(TEXT, b"x" * 6, fin=False) + frame(CONTINUATION, b"x" * 4)
    assert len(messages(data * 3, max_message_size=10)) == 3


def test_the_limit_does_not_apply_to_control_frames():
    assert messages(frame(PING, b"x" * 125), max_message_size=1) == [(PING, b"x" * 125, 125)]


def test_a_message_that_is_too_big_is_reported_as_such():
    source = reader(10)
    source.feed(header(TEXT, 11))
    assert type(source.failure.error) is MessageTooBig
    assert "11 bytes" in str(source.failure.error)
    assert "max_message_size" in str(source.failure.error)


def test_fragments_are_counted():
    start = frame(BINARY, b"a", fin=False) + frame(CONTINUATION, b"b", fin=False)
    assert messages(start + frame(CONTINUATION, b"c"), max_fragments=3) == [(BINARY, b"abc", 3)]
    data = start + frame(CONTINUATION, b"c", fin=False) + frame(CONTINUATION, b"d")
    assert fails(data, CloseCode.MESSAGE_TOO_BIG, max_fragments=3)


def test_empty_fragments_are_counted_too():
    data = frame(BINARY, fin=False) + frame(CONTINUATION, fin=False) * 3
    assert fails(data, CloseCode.MESSAGE_TOO_BIG, max_fragments=3)


def test_fragments_are_counted_for_each_message_separately():
    data = frame(BINARY, b"a", fin=False) + frame(CONTINUATION, b"b", fin=False) + frame(CONTINUATION, b"c")
    assert len(messages(data * 3, max_fragments=3)) == 3


def test_a_message_can_have_as_many_fragments_as_test_suites_send():
    data = frame(BINARY, b"x", fin=False) + frame(CONTINUATION, b"x", fin=False) * (MAX_FRAGMENTS - 2)
    assert MAX_FRAGMENTS >= 65536
    assert messages(data + frame(CONTINUATION, b"x")) == [(BINARY, b"x" * MAX_FRAGMENTS, MAX_FRAGMENTS)]


# --- text -------------------------------------------------------------------------------------------------------------

TEXTS = ["grün", "€", "\U0001f600", "\u07ff\u0800\ud7ff\ue000\uffff\U0010ffff", "\x00\x7f\x80"]
NO_TEXTS = [
    b"\xff",
    b"\x80",
    b"\xc0\xaf",
    b"\xc1\xbf",
    b"\xe0\x80\xaf",
    b"\xf0\x80\x80\xaf",
    b"\xed\xa0\x80",
    b"\xed\xbf\xbf",
    b"\xf4\x90\x80\x80",
    b"\xf5\x80\x80\x80",
    b"\xf8\x88\x80\x80\x80",
    b"\xc3(",
    b"\xe2\x82(",
]


@pytest.mark.parametrize("text", TEXTS)
def test_a_character_can_be_split_between_pieces_and_fragments(text):
    data = text.encode()
    assert messages(*byte_by_byte(frame(TEXT, data))) == [(TEXT, text, len(data))]
    for cut in range(len(data) + 1):
        fragments = frame(TEXT, data[:cut], fin=False) + frame(CONTINUATION, data[cut:])
        assert messages(fragments) == [(TEXT, text, len(data))]


@pytest.mark.parametrize("before", ["", "fine so far ", "grün"])
def test_a_text_that_is_not_utf8_is_refused(before):
    for wrong in NO_TEXTS:
        assert fails(frame(TEXT, before.encode() + wrong), CloseCode.INVALID_DATA)
        assert fails(frame(TEXT, before.encode() + wrong + b" and on"), CloseCode.INVALID_DATA)


@pytest.mark.parametrize("wrong", NO_TEXTS)
def test_a_text_that_is_not_utf8_is_refused_before_it_is_complete(wrong):
    assert fails(header(TEXT, 70000) + b"fine so far " + wrong, CloseCode.INVALID_DATA)
    assert fails(header(TEXT, 100) + b"fine so far " + wrong, CloseCode.INVALID_DATA)
    assert fails(frame(TEXT, b"fine so far " + wrong, fin=False), CloseCode.INVALID_DATA)


@pytest.mark.parametrize("wrong", [wrong for wrong in NO_TEXTS if len(wrong) > 1])
def test_an_invalid_character_split_between_fragments_is_refused(wrong):
    data = frame(TEXT, b"fine so far " + wrong[:-1], fin=False) + header(CONTINUATION, 100) + wrong[-1:]
    assert fails(data, CloseCode.INVALID_DATA)


@pytest.mark.parametrize("start", [b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98"])
def test_a_text_that_ends_within_a_character_is_refused(start):
    assert fails(frame(TEXT, b"ends " + start), CloseCode.INVALID_DATA)
    assert fails(frame(TEXT, b"ends " + start, fin=False) + frame(CONTINUATION), CloseCode.INVALID_DATA)
    assert fails(frame(TEXT, b"ends ", fin=False) + frame(CONTINUATION, start), CloseCode.INVALID_DATA)


def test_a_control_frame_within_a_split_character_is_accepted():
    data = frame(TEXT, b"\xe2\x82", fin=False) + frame(PING, b"\xff") + frame(CONTINUATION, b"\xac")
    assert messages(data) == [(PING, b"\xff", 1), (TEXT, "€", 3)]


@pytest.mark.parametrize("wrong", NO_TEXTS)
def test_binary_messages_can_have_any_content(wrong):
    assert messages(frame(BINARY, wrong)) == [(BINARY, wrong, len(wrong))]
    fragments = frame(BINARY, wrong[:1], fin=False) + frame(CONTINUATION, wrong[1:])
    assert messages(fragments) == [(BINARY, wrong, len(wrong))]


def test_invalid_text_is_reported_as_a_protocol_error():
    source = reader()
    source.feed(frame(TEXT, b"\xff"))
    assert type(source.failure.error) is ProtocolError
    assert "is not UTF-8" in str(source.failure.error)


# --- failures ---------------------------------------------------------------------------------------------------------

FAULTS = [frame(3), frame(TEXT, b"\xff"), header(TEXT, ROOM + 1), frame(PING, rsv=1), frame(CONTINUATION, b"x")]


@pytest.mark.parametrize("fault", FAULTS)
def test_messages_before_a_failure_are_returned(fault):
    received, failure = read(frame(TEXT, b"a") + frame(PING, b"b") + fault)
    assert received == [(TEXT, "a", 1), (PING, b"b", 1)]
    assert failure is not None


@pytest.mark.parametrize("fault", FAULTS)
def test_bytes_after_a_failure_are_ignored(fault):
    source = reader()
    assert source.feed(fault + frame(TEXT, b"a")) == []
    failure = source.failure
    assert failure is not None
    assert source.feed(frame(TEXT, b"b")) == []
    assert source.feed(close(1000)) == []
    assert source.feed(frame(5)) == []
    assert source.failure is failure
    assert not source.closed


def test_a_protocol_failure_is_reported_as_such():
    source = reader()
    source.feed(frame(11))
    assert type(source.failure.error) is ProtocolError
    assert "opcode 11" in str(source.failure.error)


# --- close frames -----------------------------------------------------------------------------------------------------


def the_close(payload):
    source = reader()
    ((opcode, content, size),) = source.feed(frame(CLOSE, payload))
    assert (opcode, size) == (CLOSE, len(payload))
    assert source.closed
    assert source.failure is None
    return content


def test_bytes_after_a_close_are_ignored():
    source = reader()
    assert source.feed(close(1000) + frame(TEXT, b"late") + frame(5)) == [(CLOSE, Close(1000, "", 1000), 2)]
    assert source.closed
    assert source.feed(frame(TEXT, b"later")) == []
    assert source.feed(frame(5)) == []
    assert source.failure is None


def test_messages_before_a_close_are_returned():
    assert messages(frame(TEXT, b"a") + close(1000)) == [(TEXT, "a", 1), (CLOSE, Close(1000, "", 1000), 2)]


def test_half_a_close_frame_returns_nothing():
    source = reader()
    assert source.feed(close(1000, b"bye")[:-1]) == []
    assert not source.closed
    assert source.feed(b"e") == [(CLOSE, Close(1000, "bye", 1000), 5)]
    assert source.closed


CLOSES = [
    b"", b"\x03", *(struct.pack("!H", code) + b"x" * 123 for code in (1000, 1005)),
    *(struct.pack("!H", code) + b"a\xffb" for code in (1000, 1006, 4000)),
    *(struct.pack("!H", code) + "tschüß".encode() for code in (1000, 1006, 1012, 1015, 2999, 3000, 4999, 5000)),
]  # fmt: skip


@pytest.mark.parametrize("payload", CLOSES, ids=repr)
def test_a_close_with_any_payload_is_returned_and_ends_the_stream(payload):
    assert the_close(payload) == parse_close(payload)


@pytest.mark.parametrize("codes", [range(1000), range(1000, 1016), range(1016, 3000), range(3000, 2**16)], ids=str)
def test_a_close_with_any_code_ends_the_stream(codes):
    for code in codes:
        payload = struct.pack("!H", code)
        assert the_close(payload) == parse_close(payload)


# --- sent frames ------------------------------------------------------------------------------------------------------


def decoded(data):
    """The content of one masked frame, by a decoder of the test, directly from RFC 6455 §5.2."""
    first, second, *rest = data
    fin, rsv, opcode = first >> 7, first >> 4 & 7, first & 15
    masked, length = second >> 7, second & 127
    extended = {126: 2, 127: 8}.get(length, 0)
    if extended:
        length = sum(byte << 8 * (extended - 1 - i) for i, byte in enumerate(rest[:extended]))
        assert length > (125 if extended == 2 else 65535)  # the shortest possible length
    key, payload = rest[extended : extended + 4], rest[extended + 4 :]
    assert len(payload) == length
    return fin, rsv, opcode, masked, bytes(key), bytes(byte ^ key[i % 4] for i, byte in enumerate(payload))


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536])
def test_a_frame_of_any_length_can_be_decoded(size):
    payload = bytes(i % 251 for i in range(size))
    assert decoded(build_frame(BINARY, payload, KEY)) == (1, 0, BINARY, 1, KEY, payload)


@pytest.mark.parametrize("opcode", [TEXT, BINARY, CLOSE, PING, PONG])
def test_a_frame_has_its_opcode(opcode):
    assert decoded(build_frame(opcode, b"hello", KEY)) == (1, 0, opcode, 1, KEY, b"hello")


@given(payload=st.binary(max_size=300), key=st.binary(min_size=4, max_size=4))
def test_a_frame_of_any_content_can_be_decoded(payload, key):
    assert decoded(build_frame(TEXT, payload, key)) == (1, 0, TEXT, 1, key, payload)


# --- compressed messages (RFC 7692) -----------------------------------------------------------------------------------

RSV1 = 4


def inflating(limit=ROOM, **options):
    return reader(limit, inflater=Inflater(KEPT), **options)


def fed(source, *pieces):
    """The results of a reader for these pieces, and the code of its failure."""
    received = [one for piece in pieces for one in source.feed(piece)]
    return received, source.failure and source.failure.code


@pytest.mark.parametrize("size", [0, 1, 10, 125, 2000, 70_000, 300_000])
@pytest.mark.parametrize("cuts", [(), (1,), (0, 1, 2, 2, 3)], ids=["one frame", "two frames", "many frames"])
@pytest.mark.parametrize("pieces", [lambda data: [data], byte_by_byte], ids=["at once", "byte by byte"])
def test_a_compressed_message_arrives(size, cuts, pieces):
    text, data = "ü" * (size // 2), bytes(n * n % 251 for n in range(size))
    make = Compressor()
    stream = make.frames(TEXT, text.encode(), *cuts) + make.frames(BINARY, data, *cuts)
    assert fed(inflating(), *pieces(stream)) == ([(TEXT, text, len(text) * 2), (BINARY, data, size)], None)


def all_steps(source, data):
    """What ``feed`` returns in each step, until it has processed all bytes."""
    steps = [source.feed(data)]
    while source.is_held:
        steps.append(source.feed(b""))
    return steps


@pytest.mark.parametrize("cuts", [(), (1,)], ids=["one frame", "two frames"])
@pytest.mark.parametrize("size", [400, 70_000])
def test_inflating_stops_at_a_limit_and_continues_with_the_next_call(size, cuts):
    make, count = Compressor(), 10
    stream = b"".join(make.frames(BINARY, bytes(size), *cuts) + frame(PING, b"%d" % n) for n in range(count))
    whole = [one for n in range(count) for one in [(BINARY, bytes(size), size), (PING, b"%d" % n, 1)]]
    steps = all_steps(inflating(max_inflated=3 * size), stream)
    assert [one for step in steps for one in step] == whole
    assert all(sum(length for opcode, _, length in step if opcode == BINARY) == 3 * size for step in steps[:3])
    source = inflating(max_inflated=3 * size)
    assert [one for piece in byte_by_byte(stream) for step in all_steps(source, piece) for one in step] == whole


def test_a_violation_behind_the_limit_is_found_by_the_next_call():
    make, source = Compressor(), inflating(max_inflated=100)
    assert len(source.feed(make.frames(BINARY, bytes(100)) + frame(11))) == 1
    assert source.is_held
    assert source.failure is None
    assert source.feed(b"") == []
    assert source.failure is not None
    assert not source.is_held


def test_nothing_is_held_if_the_limit_is_reached_by_the_last_message():
    make, source = Compressor(), inflating(max_inflated=100)
    assert len(source.feed(make.frames(TEXT, b"a" * 100))) == 1
    assert not source.is_held
    assert len(source.feed(make.frames(TEXT, b"a" * 100, 1))) == 1
    assert not source.is_held


def test_uncompressed_messages_can_arrive_between_compressed_ones():
    make, source = Compressor(), inflating()
    stream = make.frames(TEXT, b"one") + frame(TEXT, b"two") + make.frames(TEXT, b"one") + frame(PING, b"x")
    stream += frame(TEXT, b"th", fin=False) + frame(CONTINUATION, b"ree") + frame(BINARY, bytes(70_000))
    assert fed(source, stream)[0] == [
        (TEXT, "one", 3),
        (TEXT, "two", 3),
        (TEXT, "one", 3),
        (PING, b"x", 1),
        (TEXT, "three", 5),
        (BINARY, bytes(70_000), 70_000),
    ]


def test_control_frames_can_arrive_between_compressed_fragments():
    first, rest = Compressor().frames(TEXT, b"hello" * 50, 5)[:7], Compressor().frames(TEXT, b"hello" * 50, 5)[7:]
    assert fed(inflating(), first + frame(PING, b"?") + rest)[0] == [(PING, b"?", 1), (TEXT, "hello" * 50, 250)]


def test_an_empty_compressed_message_can_lack_its_one_byte():
    make, source = Compressor(), inflating()
    stream = make.frames(TEXT, b"hello") + frame(TEXT, b"", rsv=RSV1) + make.frames(TEXT, b"hello")
    stream += frame(BINARY, b"", rsv=RSV1, fin=False) + frame(CONTINUATION) + make.frames(TEXT, b"hello")
    received, failure = fed(source, stream)
    assert failure is None
    assert [payload for _, payload, _ in received] == ["hello", "", "hello", b"", "hello"]


def test_without_negotiation_a_compressed_message_is_refused():
    assert read(Compressor().frames(TEXT, b"hello")) == ([], CloseCode.PROTOCOL_ERROR)
    assert read(Compressor().frames(TEXT, b"hello" * 99, 3)) == ([], CloseCode.PROTOCOL_ERROR)


@pytest.mark.parametrize("rsv", [1, 2, 3, 5, 6, 7])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_the_other_reserved_bits_are_refused(rsv, opcode):
    assert fed(inflating(), frame(opcode, b"\x00", rsv=rsv)) == ([], CloseCode.PROTOCOL_ERROR)


@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
def test_a_compressed_control_frame_is_refused(opcode):
    assert fed(inflating(), frame(opcode, b"", rsv=RSV1)) == ([], CloseCode.PROTOCOL_ERROR)


def test_only_the_first_frame_of_a_message_has_the_compression_bit():
    begun = Compressor().frames(TEXT, b"hello" * 50, 5)[:7]
    assert fed(inflating(), begun + frame(CONTINUATION, b"", rsv=RSV1)) == ([], CloseCode.PROTOCOL_ERROR)
    assert fed(inflating(), frame(TEXT, b"", fin=False) + frame(CONTINUATION, b"", rsv=RSV1))[1] == 1002


def test_compressed_text_is_checked_while_it_arrives():
    wrong = b"hello \xff" + os.urandom(50_000).hex().encode()
    compressed = Compressor().frames(TEXT, wrong)
    source = inflating()
    assert fed(source, compressed[:20_000]) == ([], CloseCode.INVALID_DATA)
    assert fed(inflating(), Compressor().frames(TEXT, b"\xff")) == ([], CloseCode.INVALID_DATA)
    assert fed(inflating(), Compressor().frames(TEXT, "ü".encode()[:1], 1)) == ([], CloseCode.INVALID_DATA)


def test_a_message_with_an_invalid_deflate_stream_is_refused():
    for stream in (frame(TEXT, b"\xff" * 20, rsv=RSV1), frame(TEXT, b"\xff" * 70_000, rsv=RSV1)):
        source = inflating()
        assert fed(source, frame(TEXT, b"good"), stream) == ([(TEXT, "good", 4)], CloseCode.INVALID_DATA)
        assert isinstance(source.failure.error, ProtocolError)
        assert "decompressed" in str(source.failure.error)


@pytest.mark.parametrize("cuts", [(), (3,)])
@pytest.mark.parametrize("size", [1000, 70_000])
def test_the_limit_applies_to_the_decompressed_size(cuts, size):
    stream = Compressor().frames(BINARY, bytes(size), *cuts)
    assert fed(inflating(size), stream) == ([(BINARY, bytes(size), size)], None)
    source = inflating(size - 1)
    assert fed(source, stream) == ([], CloseCode.MESSAGE_TOO_BIG)
    assert isinstance(source.failure.error, MessageTooBig)
    assert str(source.failure.error).startswith("The server sent a message that inflates to more than the limit of ")
    assert str(size - 1) in str(source.failure.error)


@pytest.mark.parametrize("size", [1, 100, 5000, 70_000, 2**20])
def test_data_that_cannot_be_compressed_can_have_the_maximum_size(size):
    data = os.urandom(size)
    stream = Compressor().frames(BINARY, data)
    assert len(stream) > size
    assert fed(inflating(size), stream) == ([(BINARY, data, size)], None)


def test_data_from_the_least_efficient_compressor_can_have_the_maximum_size():
    """With little memory zlib makes random bytes 4 % longer."""
    data = os.urandom(100_000)
    maker = zlib.compressobj(6, zlib.DEFLATED, -15, 1)
    compressed = (maker.compress(data) + maker.flush(zlib.Z_SYNC_FLUSH))[:-4]
    assert len(compressed) > 103_000
    stream = frame(BINARY, compressed[:9], fin=False, rsv=RSV1) + frame(CONTINUATION, compressed[9:])
    assert fed(inflating(len(data)), stream) == ([(BINARY, data, len(data))], None)


def test_a_compressed_message_without_content_is_limited_too():
    """Empty blocks inflate to nothing, so only the number of received bytes can limit them."""
    source = inflating(1000)
    piece = frame(CONTINUATION, b"\x00\x00\x00\xff\xff" * 100, fin=False)
    source.feed(frame(BINARY, b"\x00\x00\x00\xff\xff", fin=False, rsv=RSV1))
    fed(source, *[piece] * 3)
    assert source.failure.code == CloseCode.MESSAGE_TOO_BIG
    text = "1505 compressed bytes or more, over the limit of 1221, which max_message_size=1000 permits; raise"
    assert text in str(source.failure.error)


def test_a_decompression_bomb_uses_no_more_memory_than_the_limit():
    """128 MiB of zeros in 128 KiB, as one frame that arrives in pieces like from a socket."""
    maker, zeros = zlib.compressobj(9, wbits=-15), bytes(2**20)
    bomb = b"".join(maker.compress(zeros) for _ in range(128)) + maker.flush(zlib.Z_SYNC_FLUSH)[:-4]
    stream = frame(BINARY, bomb, rsv=RSV1)
    pieces = [stream[i : i + 2**14] for i in range(0, len(stream), 2**14)]
    source = inflating(4 * 2**20)
    tracemalloc.start()
    try:
        assert fed(source, *pieces) == ([], CloseCode.MESSAGE_TOO_BIG)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5 * 2**20


@pytest.mark.slow
def test_a_message_in_tiny_pieces_needs_little_more_memory_than_its_bytes():
    """A piece of two bytes needs as much memory as one of fifty; thousands of them are joined from time to time."""
    size = 25_000
    source = reader(2 * size)
    source.feed(header(BINARY, 2 * size))
    tracemalloc.start()
    try:
        for n in range(size - 1):
            source.feed(b"%02x" % (n % 256))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 3 * size
    (received,) = source.feed(b"..")
    assert received[1] == b"".join(b"%02x" % (n % 256) for n in range(size - 1)) + b".."


def test_a_length_of_two_to_the_63_that_arrives_byte_by_byte_is_refused_with_its_last_byte():
    data = b"\x82\x7f" + (2**63).to_bytes(8, "big")
    source = reader()
    assert fed(source, *byte_by_byte(data[:-1])) == ([], None)
    assert fed(source, data[-1:]) == ([], CloseCode.PROTOCOL_ERROR)


# --- read size -------------------------------------------------------------------------------------------------------


def test_the_read_size_depends_on_the_received_data():
    source = MessageReader(2**24)
    assert source.read_size == READ_SIZE
    stream = frame(BINARY, bytes(1_500_000)) + frame(BINARY, bytes(300_000))
    source.feed(stream[:READ_SIZE])
    assert source.read_size == LARGE_READ_SIZE + 10
    at = READ_SIZE + source.read_size
    source.feed(stream[READ_SIZE:at])
    assert source.read_size == LARGE_READ_SIZE
    source.feed(stream[at:])
    assert source.read_size == LARGE_READ_SIZE
    source.feed(frame(TEXT, b"x" * 100) * 1000)
    assert source.read_size == READ_SIZE


def test_a_read_up_to_the_end_of_a_large_message_includes_the_length_of_the_next():
    source = MessageReader(2**24)
    stream = frame(TEXT, b"x" * 1_000_000) * 3
    source.feed(stream[:READ_SIZE])
    at = READ_SIZE
    for _ in range(2):
        piece = stream[at : at + source.read_size]
        assert [size for _, _, size in source.feed(piece)] == [1_000_000]
        at += len(piece)
        assert source.read_size == 1_000_010


def test_after_large_messages_a_small_one_reduces_the_read_size():
    source = MessageReader(2**24)
    source.feed(frame(BINARY, bytes(2 * LARGE_READ_SIZE))[:LARGE_READ_SIZE])
    assert source.read_size > LARGE_READ_SIZE
    source.feed(b"x")
    assert source.read_size == READ_SIZE
