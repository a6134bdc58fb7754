"""permessage-deflate: every rule of the negotiation, and compression and decompression."""

import os
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsclient._rfc6455.deflate import (
    MAX_RESTARTS,
    PIECE,
    Agreement,
    CompressionStopped,
    Deflate,
    Deflater,
    InflatedTooLarge,
    Inflater,
    negotiate,
    offer,
)

PLAIN = Agreement(client_bits=15, server_bits=15, client_resets=False, server_resets=False)
TAIL = b"\x00\x00\xff\xff"
ROOM = 2**20
TEXT = b'{"op": "subscribe", "channel": "trades", "instrument": "BTC-PERPETUAL"}'


class Peer:
    """The other side, independent of this library."""

    def __init__(self, bits=15, resets=False):
        self.bits, self.resets = bits, resets
        self.compressor = self.decompressor = None

    def compress(self, data):
        if self.compressor is None or self.resets:
            self.compressor = zlib.compressobj(wbits=-self.bits)
        return (self.compressor.compress(data) + self.compressor.flush(zlib.Z_SYNC_FLUSH))[:-4] or b"\x00"

    def decompress(self, data):
        if self.decompressor is None or self.resets:
            self.decompressor = zlib.decompressobj(-self.bits)
        return self.decompressor.decompress(data + TAIL)


# --- the offer --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "permessage-deflate; client_max_window_bits"),
        ({"client_max_window_bits": 10}, "permessage-deflate; client_max_window_bits=10"),
        (
            {"server_max_window_bits": 9},
            "permessage-deflate; server_max_window_bits=9; client_max_window_bits",
        ),
        (
            {"server_no_context_takeover": True, "client_no_context_takeover": True},
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover; client_max_window_bits",
        ),
        ({"threshold": 1, "level": 9, "memory_level": 9}, "permessage-deflate; client_max_window_bits"),
    ],
)
def test_the_offer_contains_the_options(options, expected):
    assert offer(Deflate(**options)) == expected


@pytest.mark.parametrize(
    ("option", "value", "error"),
    [
        ("threshold", 0, ValueError),
        ("threshold", 1.5, TypeError),
        ("level", 0, ValueError),
        ("level", 10, ValueError),
        ("memory_level", 0, ValueError),
        ("memory_level", 10, ValueError),
        ("client_max_window_bits", 8, ValueError),
        ("client_max_window_bits", 16, ValueError),
        ("client_max_window_bits", True, TypeError),
        ("server_max_window_bits", 7, ValueError),
        ("server_max_window_bits", 16, ValueError),
        ("server_max_window_bits", "12", TypeError),
        ("client_no_context_takeover", 1, TypeError),
        ("server_no_context_takeover", None, TypeError),
    ],
)
def test_an_option_that_cannot_work_is_refused_by_name(option, value, error):
    with pytest.raises(error, match=option):
        Deflate(**{option: value})


def test_the_options_can_be_read():
    assert repr(Deflate(threshold=7)).startswith("Deflate(")
    assert "threshold=7" in repr(Deflate(threshold=7))


# --- the response -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lines", [[], [""], [" , ,"]])
@pytest.mark.parametrize("wishes", [None, Deflate()])
def test_a_server_can_refuse_the_extension(lines, wishes):
    assert negotiate(wishes, lines) is None


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("permessage-deflate", PLAIN),
        ("  permessage-deflate  ,", PLAIN),
        ("permessage-deflate; client_max_window_bits=15; server_max_window_bits=15", PLAIN),
        ("permessage-deflate;client_max_window_bits=9", PLAIN._replace(client_bits=9)),
        ("permessage-deflate; client_max_window_bits=8", PLAIN._replace(client_bits=8)),
        ('permessage-deflate ; server_max_window_bits = "10"', PLAIN._replace(server_bits=10)),
        ("permessage-deflate; server_max_window_bits=8", PLAIN._replace(server_bits=8)),
        ("permessage-deflate; client_no_context_takeover", PLAIN._replace(client_resets=True)),
        ("permessage-deflate; server_no_context_takeover", PLAIN._replace(server_resets=True)),
    ],
)
def test_these_responses_to_an_offer_without_parameters_are_valid(line, expected):
    assert negotiate(Deflate(), [line]) == expected


def test_offered_parameters_that_the_server_repeats_are_accepted():
    wishes = Deflate(client_max_window_bits=11, server_max_window_bits=12, server_no_context_takeover=True)
    line = "permessage-deflate; server_max_window_bits=10; server_no_context_takeover"
    assert negotiate(wishes, [line]) == Agreement(11, 10, client_resets=False, server_resets=True)
    assert negotiate(wishes, [line + "; client_max_window_bits=9"]).client_bits == 9


def test_the_clients_own_limit_applies_although_the_server_does_not_mention_it():
    assert negotiate(Deflate(client_no_context_takeover=True), ["permessage-deflate"]).client_resets


@pytest.mark.parametrize(
    ("wishes", "lines", "why"),
    [
        (None, ["permessage-deflate"], "not offered: permessage-deflate"),
        ({}, ["permessage-bzip2"], "not offered: permessage-bzip2"),
        ({}, ["x-webkit-deflate-frame"], "not offered"),
        ({}, ["Permessage-Deflate"], "not offered"),
        ({}, ["permessage-deflate, x"], "not offered"),
        ({}, ["permessage-deflate", "permessage-deflate"], "not offered"),
        ({}, ["permessage-deflate; "], "can't be read"),
        ({}, ["permessage-deflate; a b"], "can't be read"),
        ({}, ["permessage-deflate; server_max_window_bits="], "can't be read"),
        ({}, ['permessage-deflate; server_max_window_bits="9'], "can't be read"),
        ({}, ["permessage deflate"], "can't be parsed"),
        ({}, ["; server_max_window_bits=9"], "can't be parsed"),
        ({}, ["permessage-deflate; window_bits=9"], "unknown parameter 'window_bits'"),
        ({}, ["permessage-deflate; Server_max_window_bits=9"], "unknown parameter"),
        ({}, ["permessage-deflate; server_max_window_bits=9; server_max_window_bits=9"], "twice"),
        ({}, ["permessage-deflate; server_no_context_takeover=1"], "value"),
        ({}, ["permessage-deflate; client_no_context_takeover=true"], "value"),
        ({}, ["permessage-deflate; server_max_window_bits"], "is not a number from 8 to 15"),
        ({}, ["permessage-deflate; server_max_window_bits=7"], "is not a number from 8 to 15"),
        ({}, ["permessage-deflate; server_max_window_bits=16"], "is not a number from 8 to 15"),
        ({}, ["permessage-deflate; server_max_window_bits=09"], "is not a number from 8 to 15"),
        ({}, ["permessage-deflate; client_max_window_bits"], "is not a number from 8 to 15"),
        ({"client_max_window_bits": 10}, ["permessage-deflate; client_max_window_bits=11"], "at most 10 was offered"),
        ({"server_max_window_bits": 10}, ["permessage-deflate; server_max_window_bits=11"], "at most 10 was offered"),
        ({"server_max_window_bits": 10}, ["permessage-deflate"], "without the server_max_window_bits"),
        ({"server_no_context_takeover": True}, ["permessage-deflate"], "without the server_no_context_takeover"),
    ],
)
def test_these_responses_of_a_server_are_refused(wishes, lines, why):
    with pytest.raises(ValueError, match=why):
        negotiate(None if wishes is None else Deflate(**wishes), lines)


@given(st.lists(st.text(), max_size=3))
def test_any_response_is_accepted_or_refused(lines):
    said = ""
    try:
        negotiate(Deflate(), lines)
    except ValueError as error:
        said = str(error)
    assert not said or said.startswith("The server ")


# --- compression ------------------------------------------------------------------------------------------------------


@given(
    st.lists(st.binary(min_size=1, max_size=300) | st.sampled_from([TEXT, TEXT * 100]), max_size=8),
    st.sampled_from([9, 12, 15]),
    st.booleans(),
)
def test_the_other_side_can_decompress_the_messages(messages, bits, resets):
    deflater = Deflater(Deflate(client_max_window_bits=bits), PLAIN._replace(client_bits=bits, client_resets=resets))
    peer = Peer(bits, resets)
    assert [peer.decompress(deflater.compress(message)) for message in messages] == messages


def test_a_message_depends_on_the_one_before_it_unless_that_is_disabled():
    keeps = Deflater(Deflate(), PLAIN)
    first, second = keeps.compress(TEXT), keeps.compress(TEXT)
    assert len(second) < len(first) / 4
    resets = Deflater(Deflate(), PLAIN._replace(client_resets=True))
    assert resets.compress(TEXT) == resets.compress(TEXT) == first


def letters(count):
    """Bytes with hardly any repetition, which zlib still makes smaller, so that it compresses them."""
    return os.urandom(count // 2).hex().encode()


def gained(deflater, distance):
    """How many bytes are saved if 400 letters are repeated at this distance."""
    block, between = letters(400), letters(distance - 400)
    again = len(deflater().compress(block + between + block))
    return len(deflater().compress(block + between + letters(400))) - again


@pytest.mark.parametrize(
    ("agreed", "wished", "window"), [(10, None, 1024), (15, 10, 1024), (15, None, 4096), (15, 15, 2**15)]
)
def test_compression_uses_at_most_the_negotiated_window_and_that_of_the_option(agreed, wished, window):
    def deflater():
        wishes = Deflate(client_max_window_bits=wished, level=9, memory_level=9)
        return Deflater(wishes, PLAIN._replace(client_bits=agreed))

    assert gained(deflater, window + 2) < 40 < 100 < gained(deflater, window - 300)


def test_with_a_window_size_that_zlib_cannot_use_nothing_is_compressed():
    assert Deflater(Deflate(threshold=1), PLAIN._replace(client_bits=8)).threshold == float("inf")
    assert Deflater(Deflate(threshold=5), PLAIN).threshold == 5


def test_the_compression_level_is_an_option():
    words = b" ".join(b"%d" % (n * n % 1009) for n in range(20_000))
    fast, small = (len(Deflater(Deflate(level=level), PLAIN).compress(words)) for level in (1, 9))
    assert small < fast


def test_a_failure_within_a_message_leaves_no_part_of_it_in_the_context():
    deflater = Deflater(Deflate(), PLAIN)
    deflater.compress(TEXT)
    with pytest.raises(TypeError):
        deflater.compress("no bytes")
    assert deflater.compress(TEXT) == Deflater(Deflate(), PLAIN).compress(TEXT)


def test_the_compression_of_a_large_message_stops_when_it_is_cancelled():
    deflater, asked = Deflater(Deflate(), PLAIN), []

    def wanted():
        asked.append(1)
        return len(asked) < 3

    with pytest.raises(CompressionStopped):
        deflater.compress(bytes(4 * PIECE), wanted)
    assert len(asked) == 3
    large = os.urandom(3 * PIECE + 1)
    assert Peer().decompress(Deflater(Deflate(), PLAIN).compress(large, lambda: True)) == large


# --- decompression ----------------------------------------------------------------------------------------------------


def inflate(inflater, pieces, room=ROOM):
    found = []
    for piece in pieces:
        found += inflater.inflate(piece, room - sum(map(len, found)))
    return b"".join(found + inflater.finish(room - sum(map(len, found))))


def cut(data, size):
    return [data[i : i + size] for i in range(0, len(data), size)]


@given(
    st.lists(st.binary(max_size=300) | st.sampled_from([TEXT, TEXT * 100, bytes(100_000)]), max_size=8),
    st.sampled_from([9, 12, 15]),
    st.booleans(),
    st.integers(1, 50),
)
def test_messages_of_the_other_side_can_be_decompressed_in_any_pieces(messages, bits, resets, size):
    peer, inflater = Peer(bits, resets), Inflater(PLAIN._replace(server_bits=bits, server_resets=resets))
    for message in messages:
        compressed = peer.compress(message)
        if size > 25:
            assert inflater.whole(compressed, ROOM) == message
        else:
            assert inflate(inflater, cut(compressed, size)) == message


def test_a_server_that_resets_its_context_cannot_refer_to_the_last_message():
    resets, keeps = (Inflater(PLAIN._replace(server_resets=value)) for value in (True, False))
    peer = Peer()
    first, second = peer.compress(TEXT), peer.compress(TEXT)
    assert resets.whole(first, ROOM) == keeps.whole(first, ROOM) == TEXT
    assert keeps.whole(second, ROOM) == TEXT
    with pytest.raises(zlib.error):
        resets.whole(second, ROOM)


def test_a_window_of_8_bits_is_decompressed_though_zlib_compresses_it_with_9():
    """For 8 bits zlib uses 9, and refers back 250 bytes: 9 bits minus its own look-ahead."""
    block, peer, inflater = letters(100), Peer(bits=9), Inflater(PLAIN._replace(server_bits=8))
    for message in (block + letters(140), block, letters(1000) + block):
        assert inflater.whole(peer.compress(message), ROOM) == message


def test_the_examples_of_the_rfc_are_decompressed():
    """RFC 7692 §7.2.3: one block, again with its context, no compression, a last block, two blocks, nothing."""
    inflater = Inflater(PLAIN)
    hello = bytes.fromhex("f248cdc9c90700")
    assert inflater.whole(hello, ROOM) == b"Hello"
    assert inflater.whole(bytes.fromhex("f200110000"), ROOM) == b"Hello"
    assert inflater.whole(bytes.fromhex("000500faff48656c6c6f00"), ROOM) == b"Hello"
    assert inflater.whole(bytes.fromhex("f348cdc9c9070000"), ROOM) == b"Hello"
    assert inflater.whole(bytes.fromhex("f24805000000ffffcac9c90700"), ROOM) == b"Hello"
    assert inflater.whole(b"\x00", ROOM) == b""
    assert inflater.whole(hello, ROOM) == b"Hello"


def test_a_final_block_is_not_the_end_of_the_message():
    ended = zlib.compressobj(wbits=-15)
    compressed = ended.compress(TEXT) + ended.flush()
    for pieces in ([compressed + b"\x00"], cut(compressed + b"\x00", 1)):
        inflater = Inflater(PLAIN)
        assert inflate(inflater, pieces) == TEXT
        assert inflate(inflater, [Peer().compress(TEXT)]) == TEXT


def test_an_endless_number_of_final_blocks_is_refused():
    with pytest.raises(zlib.error, match="blocks marked as"):
        Inflater(PLAIN).inflate(b"\x03\x00" * (MAX_RESTARTS + 1), ROOM)
    assert Inflater(PLAIN).inflate(b"\x03\x00" * MAX_RESTARTS, ROOM) == []


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE])
@pytest.mark.parametrize("content", [b"\x00", b"0123456789abcdef"])
def test_a_message_can_have_exactly_the_maximum_size_and_not_one_byte_more(size, content):
    message = (content * size)[:size]
    compressed = Peer().compress(message)
    assert Inflater(PLAIN).whole(compressed, size) == message
    assert inflate(Inflater(PLAIN), cut(compressed, 1000), size) == message
    if size:
        with pytest.raises(InflatedTooLarge):
            Inflater(PLAIN).whole(compressed, size - 1)
        with pytest.raises(InflatedTooLarge):
            inflate(Inflater(PLAIN), cut(compressed, 7), size - 1)


def test_an_invalid_deflate_stream_is_an_error():
    with pytest.raises(zlib.error):
        Inflater(PLAIN).whole(b"\xff" * 20, ROOM)


@pytest.mark.slow
def test_a_decompression_bomb_uses_no_more_memory_than_the_limit():
    """128 MiB of zeros in 128 KiB."""
    maker = zlib.compressobj(9, wbits=-15)
    zeros = bytes(2**20)
    bomb = b"".join(maker.compress(zeros) for _ in range(128)) + maker.flush(zlib.Z_SYNC_FLUSH)[:-4]
    assert len(bomb) == pytest.approx(2**17, rel=0.01)
    room = 4 * 2**20
    tracemalloc.start()
    try:
        with pytest.raises(InflatedTooLarge):
            Inflater(PLAIN).whole(bomb, room)
        _, whole = tracemalloc.get_traced_memory()
        pieces = cut(bomb, 2**14)
        tracemalloc.reset_peak()
        with pytest.raises(InflatedTooLarge):
            inflate(Inflater(PLAIN), pieces, room)
        _, in_pieces = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The bomb itself is in memory too: with its tail, and its unread part, now and before.
    assert whole < room + len(bomb) * 3 + 4 * PIECE
    assert in_pieces < room + len(bomb) + 4 * PIECE


@given(st.binary(max_size=200), st.integers(0, 2000), st.integers(1, 60))
def test_any_bytes_give_at_most_the_limit_or_an_error(data, room, size):
    inflater, found = Inflater(PLAIN), []
    try:
        for piece in cut(data, size):
            found += inflater.inflate(piece, room - sum(map(len, found)))
        found += inflater.finish(room - sum(map(len, found)))
    except (zlib.error, InflatedTooLarge):
        pass
    assert sum(map(len, found)) <= room
