"""The reader and the parser of ``websockets``, with the same streams: their results must be equal."""

import codecs
import itertools
import logging

import websockets.protocol
from hypothesis import given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate

from wsclient._rfc6455.close import CloseCode
from wsclient._rfc6455.deflate import Inflater
from wsclient._rfc6455.frames import MessageReader, Opcode

from ..support.frames import KEPT, Compressor, close
from ..support.raw import frame

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = Opcode


class Stream:
    """A random stream of a server: mostly valid, so that parsers read a large part of it."""

    def __init__(self, draw, compressor, *, between=True):
        self._draw = draw
        self._between = between
        self._compressor = compressor

    def whole(self):
        return b"".join(self._next() for _ in range(self._draw(st.integers(1, 8))))

    def _next(self):
        draw = self._draw
        kind = draw(st.sampled_from([TEXT, TEXT, TEXT, BINARY, BINARY, PING, PONG, CLOSE]))
        if kind is CLOSE:
            return close(
                draw(st.sampled_from([1000, 1001, 1006, 3000, 999])), draw(st.sampled_from([b"", b"bye", b"\xff"]))
            )
        if kind in (PING, PONG):
            return frame(kind, draw(st.binary(max_size=130)))
        content = draw(st.text(max_size=40)).encode() if kind is TEXT else draw(st.binary(max_size=40))
        content *= draw(st.sampled_from([1, 1, 1, 4, 2000]))
        if kind is TEXT and draw(st.integers(0, 9)) == 0:
            content += b"\xff"
        cuts = draw(st.lists(st.integers(0, 100), max_size=3))
        if self._compressor is not None and draw(st.booleans()):
            return self._compressor.frames(kind, content, *cuts)
        return fragments(
            kind, content, *cuts, between=frame(PING, b"between") if self._between and draw(st.booleans()) else b""
        )


def fragments(kind, content, *cuts, between=b""):
    bounds = [0, *(min(cut, len(content)) for cut in sorted(cuts)), len(content)]
    pieces = [content[a:b] for a, b in itertools.pairwise(bounds)]
    return between.join(
        frame(CONTINUATION if n else kind, piece, fin=n == len(pieces) - 1) for n, piece in enumerate(pieces)
    )


QUIET = logging.getLogger("tests.quiet")
QUIET.disabled = True


def theirs(data, limit, *, compressed):
    """The result of ``websockets`` for a stream: messages and control frames, and its close code."""
    protocol = websockets.protocol.Protocol(websockets.protocol.CLIENT, state=websockets.protocol.OPEN, logger=QUIET)
    protocol.max_size = protocol.max_message_size = limit
    if compressed:
        protocol.extensions = [PerMessageDeflate(False, False, 15, 15)]
    protocol.receive_data(data)
    received, kind, parts = [], None, b""
    for event in protocol.events_received():
        if event.opcode in (TEXT, BINARY):
            kind, parts = Opcode(event.opcode), b""
        if event.opcode not in (TEXT, BINARY, CONTINUATION):
            received.append((Opcode(event.opcode), bytes(event.data)))
            continue
        parts += event.data
        try:  # there the next layer checks text
            text = codecs.getincrementaldecoder("utf-8")().decode(parts, event.fin) if kind is TEXT else None
        except UnicodeDecodeError:
            return received, CloseCode.INVALID_DATA
        if event.fin:
            received.append((kind, parts if text is None else text))
    verdict = protocol.close_sent.code if protocol.close_sent is not None else None
    verdict = 1000 if verdict == 1005 else verdict  # it answers an empty close with an empty one
    return received, verdict


def ours(pieces, limit, *, compressed):
    """The same for our reader; a close frame is compared by its answer, as theirs is."""
    source = MessageReader(limit, inflater=Inflater(KEPT) if compressed else None)
    received = []
    for opcode, payload, size in (one for piece in pieces for one in source.feed(piece)):
        if opcode is CLOSE:
            return received, payload.answer
        assert size == len(payload.encode() if opcode is TEXT else payload)
        received.append((opcode, payload))
    return received, source.failure and source.failure.code


def split(data, sizes):
    """The stream in pieces of these sizes, repeatedly."""
    pieces, at = [], 0
    for size in itertools.cycle(sizes):
        if at >= len(data):
            return pieces
        pieces.append(data[at : at + size])
        at += size
    return [data]


def without_close(received):
    return [one for one in received if one[0] is not CLOSE]


@given(st.data(), st.booleans(), st.lists(st.integers(1, 5000), min_size=1, max_size=5), st.sampled_from([3000, 2**20]))
def test_another_parser_returns_the_same_messages_for_a_stream(data, compressed, sizes, limit):
    """Near the limit without control frames in between, which it counts as part of the message."""
    stream = Stream(data.draw, Compressor() if compressed else None, between=limit > 3000).whole()
    received, verdict = ours(split(stream, sizes), limit, compressed=compressed)
    expected, their_verdict = theirs(stream, limit, compressed=compressed)
    assert verdict == their_verdict
    assert received == without_close(expected)


@given(st.data(), st.lists(st.integers(1, 5000), min_size=1, max_size=5))
def test_another_parser_returns_the_same_result_for_a_stream_with_a_wrong_byte(data, sizes):
    """Except for later detection: errors in a header when the payload is complete, and of a close within a message."""
    stream = bytearray(Stream(data.draw, None).whole())
    stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    received, verdict = ours(split(bytes(stream), sizes), 2**20, compressed=False)
    expected, their_verdict = theirs(bytes(stream), 2**20, compressed=False)
    if verdict == their_verdict:
        assert received == without_close(expected)
        return
    if their_verdict is None:
        more = bytes(stream) + bytes(2**17)  # it waits for the rest of the frame before it checks it
        expected, their_verdict = theirs(more, 2**20, compressed=False)
    assert {verdict, their_verdict} in (
        {1002},
        {1002, 1009},
        {1000, 1002},
        {1001, 1002},
        {3000, 1002},
        {1007, 1002},
        {1007},
    )
    assert received == without_close(expected)[: len(received)]
