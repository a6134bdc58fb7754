"""Passes the fuzzer's input to all code that reads a peer's bytes: frames, with and without compression, HTTP upgrade.

Needs the extra ``fuzz``. ``python -m tests.fuzz.fuzz_reader -max_total_time=600`` runs for ten minutes; every option of
libFuzzer is accepted. It stops at the first broken promise, with the bytes that broke it in a file ``crash-…``.
"""

import itertools
import sys
import zlib

import atheris

with atheris.instrument_imports(include=["wsclient"]):
    from wsclient import _errors
    from wsclient._options import Limits
    from wsclient._rfc6455.deflate import Agreement, Deflate, Inflater, negotiate
    from wsclient._rfc6455.frames import MessageReader, Opcode
    from wsclient._rfc6455.http11 import ResponseReader

LIMIT = 1000
FRAGMENTS = 20
INFLATED = 50
HEAD = Limits(max_head_bytes=500, max_headers=10, max_body_bytes=100)
KINDS = {Opcode.TEXT: str, Opcode.BINARY: bytes, Opcode.PING: bytes, Opcode.PONG: bytes}


def main():
    """Fuzz until libFuzzer ends."""
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()


def one_input(data):
    """One input of the fuzzer: its first byte selects the code, its second the pieces."""
    if len(data) < 2:
        return
    kind, cut, rest = data[0] % 4, data[1] or 1, data[2:]
    if kind == 0:
        check_frames(rest, cut, None)
    elif kind == 1:
        check_frames(rest, cut, Agreement(15, 15, client_resets=False, server_resets=bool(cut & 1)))
    elif kind == 2:
        check_frames(compressed_frames(rest), cut, Agreement(15, 15, client_resets=False, server_resets=False))
    else:
        check_head(rest, cut)


def compressed_frames(data):
    """A stream of compressed messages, so that the fuzzer need not find deflate itself; zero bytes separate them."""
    maker = zlib.compressobj(wbits=-15)
    frames = []
    for message in data.split(b"\0"):
        payload = (maker.compress(message) + maker.flush(zlib.Z_SYNC_FLUSH))[:-4]
        if len(payload) < 126:
            frames.append(bytes((0xC1 if message[:1] < b"\x80" else 0xC2, len(payload))) + payload)
    return b"".join(frames)


def check_frames(data, cut, agreement):
    """The same messages as a whole, in pieces and with pauses, within every limit, and at most one error."""
    pieces = [data[i : i + cut] for i in range(0, len(data), cut)]
    whole = read([data], agreement)
    for others, inflated in ((pieces, 2**20), ([data], INFLATED), (pieces, INFLATED)):
        again = read(others, agreement, inflated)
        assert whole == again, (whole, again)


def read(pieces, agreement, inflated=2**20):
    """The results of a reader for these pieces, if one step inflates this many bytes."""
    inflater = None if agreement is None else Inflater(agreement)
    reader = MessageReader(LIMIT, FRAGMENTS, inflater, inflated)
    received = list(itertools.chain.from_iterable(steps(reader, inflater, pieces, inflated)))
    for opcode, payload, size in received:
        if opcode is Opcode.CLOSE:
            assert reader.closed
            assert (opcode, payload, size) == received[-1]
        else:
            assert type(payload) is KINDS[opcode]
            assert size == len(payload.encode() if opcode is Opcode.TEXT else payload)
            assert size <= (LIMIT if opcode < Opcode.CLOSE else 125)
    failure = reader.failure
    if failure is not None:
        assert isinstance(failure.error, (_errors.ProtocolError, _errors.MessageTooBig))
        assert failure.code in (1002, 1007, 1009)
        assert reader.feed(b"\x81\x00") == []
    return received, failure and failure.code


def steps(reader, inflater, pieces, inflated):
    """What each step of a reader returns: it continues while bytes are held."""
    for piece in pieces:
        more, data = True, piece
        while more:
            before = 0 if inflater is None else inflater.produced
            yield reader.feed(data)
            if inflater is not None:
                assert inflater.produced - before <= inflated + LIMIT + 1  # the message that exceeds it is completed
            more, data = reader.is_held, b""


def check_head(data, cut):
    """A response or a ``HandshakeError``; with a response, negotiated extensions or a ``ValueError``."""
    reader, response = ResponseReader("The server", HEAD), None
    try:
        for i in range(0, len(data), cut):
            response = reader.feed(data[i : i + cut])
            if response is not None:
                break
    except _errors.HandshakeError:
        return
    if response is None:
        return
    assert 200 <= response.status < 1000 or response.status == 101
    response.body_is_whole()
    assert len(response.body()) <= 100
    assert len(response.headers) <= 10
    try:
        negotiate(Deflate(), response.headers.get_all("Sec-WebSocket-Extensions"))
    except ValueError as error:
        assert str(error).startswith("The server")


if __name__ == "__main__":
    main()
