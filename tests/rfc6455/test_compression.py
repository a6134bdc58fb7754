"""Compression with a complete client: the frames that are sent, with a server of the test and with ``websockets``."""

import concurrent.futures
import json
import os
import threading
import zlib

import pytest
import tenacity
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory

import wsclient
from wsclient._rfc6455 import deflate

from ..support import LONG, Server, eventually
from ..support.raw import frame

LARGE = "the same words again and again, " * 200
AT_ONCE = wsclient.Reconnect(wait=tenacity.wait_fixed(0.02))
TAKEN = "Sec-WebSocket-Extensions: permessage-deflate"


def connected(raw, *headers, **options):
    """A client, and the peer that has answered its upgrade with these headers."""
    options.setdefault("protocol", wsclient.Fifo())
    client = wsclient.Client(raw.url, ping_interval=None, **options)
    starter = threading.Thread(target=client.start)
    starter.start()
    peer = raw.accept().upgrade(*headers)
    starter.join(LONG)
    return client, peer


def first_bits(peer):
    """The first byte of the client's next frame, and the frame's payload."""
    first = peer.exactly(1)
    peer._buffer = first + peer._buffer
    return first[0], peer.receive_frame()[1]


def inflated(payload):
    return zlib.decompressobj(-15).decompress(payload + b"\x00\x00\xff\xff")


def deflated(data):
    maker = zlib.compressobj(wbits=-15)
    return (maker.compress(data) + maker.flush(zlib.Z_SYNC_FLUSH))[:-4]


@pytest.mark.parametrize(
    ("compression", "expected"),
    [
        ("deflate", "permessage-deflate; client_max_window_bits"),
        (wsclient.Deflate(client_max_window_bits=10), "permessage-deflate; client_max_window_bits=10"),
        (None, None),
    ],
)
def test_compression_is_offered_according_to_the_option(raw, compression, expected):
    client = wsclient.Client(raw.url, compression=compression)
    starter = threading.Thread(target=client.start)
    starter.start()
    peer = raw.accept().upgrade()
    assert peer.header("Sec-WebSocket-Extensions") == expected
    starter.join(LONG)
    client.close(timeout=0)


def test_only_large_messages_are_compressed(raw):
    client, peer = connected(raw, TAKEN)
    with client:
        client.send("x" * 1023)
        client.send(LARGE)
        client.send(b"x" * 1024)
        assert first_bits(peer) == (0x81, b"x" * 1023)
        first, payload = first_bits(peer)
        assert (first, inflated(payload).decode()) == (0xC1, LARGE)
        assert len(payload) < len(LARGE) / 20
        assert first_bits(peer)[0] == 0xC2
        client.close(timeout=0)


def test_the_minimum_size_of_a_compressed_message_is_an_option(raw):
    client, peer = connected(raw, TAKEN, compression=wsclient.Deflate(threshold=5))
    with client:
        client.send("four")
        client.send("fives")
        assert first_bits(peer) == (0x81, b"four")
        first, payload = first_bits(peer)
        assert (first, inflated(payload)) == (0xC1, b"fives")
        client.close(timeout=0)


def test_control_frames_are_never_compressed(raw):
    client, peer = connected(raw, TAKEN, compression=wsclient.Deflate(threshold=1))
    peer.send_frame(9, b"p" * 125)
    assert first_bits(peer) == (0x8A, b"p" * 125)
    closer = threading.Thread(target=client.close, args=(1000, "r" * 100))
    closer.start()
    assert first_bits(peer) == (0x88, b"\x03\xe8" + b"r" * 100)
    peer.close()
    closer.join(LONG)


def test_a_server_without_compression_receives_uncompressed_messages(raw):
    client, peer = connected(raw)
    with client:
        client.send(LARGE)
        assert first_bits(peer) == (0x81, LARGE.encode())
        client.close(timeout=0)


def test_a_compressed_message_without_negotiated_compression_is_a_protocol_error(raw):
    errors = []
    client, peer = connected(raw, reconnect=None, on_error=lambda _, error: errors.append(error))
    peer.send_frame(1, deflated(b"hello"), rsv=4)
    assert first_bits(peer) == (0x88, b"\x03\xea")
    peer.close()
    assert client.wait_closed(LONG)
    assert isinstance(errors[0], wsclient.ProtocolError)


@pytest.mark.parametrize(
    ("compression", "extension", "why"),
    [
        (None, "permessage-deflate", "not offered"),
        ("deflate", "permessage-bzip2", "not offered"),
        ("deflate", "permessage-deflate; x=1", "unknown parameter"),
        ("deflate", "permessage-deflate; server_max_window_bits=99", "from 8 to 15"),
        (wsclient.Deflate(client_max_window_bits=9), "permessage-deflate; client_max_window_bits=10", "at most 9"),
        (wsclient.Deflate(server_no_context_takeover=True), "permessage-deflate", "that was requested"),
    ],
)
def test_a_server_that_accepts_an_extension_that_was_not_offered_is_refused(raw, compression, extension, why):
    client = wsclient.Client(raw.url, compression=compression)
    caught = []

    def start():
        with pytest.raises(wsclient.HandshakeError, match=why) as info:
            client.start()
        caught.append(info.value)

    starter = threading.Thread(target=start)
    starter.start()
    raw.accept().upgrade(f"Sec-WebSocket-Extensions: {extension}")
    starter.join(LONG)
    assert caught[0].status == 101
    assert client.state is wsclient.State.CLOSED


@pytest.mark.parametrize("bits", [{}, {"client_max_window_bits": 9, "server_max_window_bits": 9}])
@pytest.mark.parametrize("resets", [(False, False), (False, True), (True, False), (True, True)], ids=str)
@pytest.mark.parametrize("wishes", ["deflate", wsclient.Deflate(client_max_window_bits=15, level=9, memory_level=9)])
def test_messages_are_exchanged_with_every_set_of_parameters(bits, resets, wishes):
    server, client = resets
    factory = ServerPerMessageDeflateFactory(
        server_no_context_takeover=server, client_no_context_takeover=client, **bits
    )
    binary, text = os.urandom(5000), os.urandom(3000).hex() * 3
    messages = [LARGE, "", "short", b"\x00" * 100_000, binary, LARGE, text]
    with (
        Server(lambda c, m: c.send(m), compression=None, extensions=[factory]) as here,
        wsclient.connect(here.url, protocol=wsclient.Fifo(), compression=wishes) as client,
    ):
        assert client.request_many(messages, timeout=LONG) == messages
        assert client.stats.connections == 1
        assert client.stats.bytes_received == client.stats.bytes_sent == sum(map(len, messages))


def test_messages_of_many_threads_are_compressed_in_the_order_in_which_they_are_sent(server):
    """Each message depends on the one before it, so a message in the wrong order could not be decompressed."""

    def ask(thread):
        for n in range(30):
            words = [f"{thread} {n} {LARGE[: n * 100]}", os.urandom(600).hex()]
            reply = client.request({"method": "echo", "params": words}, timeout=LONG)
            assert reply["result"] == words

    with wsclient.connect(server.url) as client, concurrent.futures.ThreadPoolExecutor(16) as pool:
        for done in [pool.submit(ask, thread) for thread in range(16)]:
            done.result(LONG)
        assert client.stats.connections == 1


def test_each_connection_starts_with_a_new_compression_context(raw):
    """Compressed data of the last connection depends on messages that the next server has not received."""
    client, peer = connected(raw, TAKEN, reconnect=AT_ONCE, protocol=wsclient.JsonId())
    with client:
        future = client.submit({"method": "echo", "params": LARGE}, idempotent=True)
        assert json.loads(inflated(first_bits(peer)[1]))["params"] == LARGE
        peer.close()
        peer = raw.accept().upgrade(TAKEN)
        again = json.loads(inflated(first_bits(peer)[1]))
        assert again["params"] == LARGE
        peer.send_frame(1, deflated(json.dumps({"id": again["id"], "result": LARGE}).encode()), rsv=4)
        assert future.result(LONG)["result"] == LARGE
        client.close(timeout=0)


def test_a_server_can_refuse_compression_on_the_next_connection(raw):
    client, peer = connected(raw, TAKEN, reconnect=AT_ONCE)
    with client:
        peer.close()
        peer = raw.accept().upgrade()
        client.send(LARGE)
        assert first_bits(peer) == (0x81, LARGE.encode())
        client.close(timeout=0)


def test_a_window_size_that_zlib_cannot_use_leaves_messages_uncompressed(raw):
    client, peer = connected(raw, TAKEN + "; client_max_window_bits=8")
    with client:
        client.send(LARGE)
        assert first_bits(peer) == (0x81, LARGE.encode())
        with client.listen() as stream:
            peer.send_frame(1, deflated(LARGE.encode()), rsv=4)
            assert stream.get(LONG) == LARGE
        client.close(timeout=0)


@pytest.mark.parametrize("fragments", [1, 3])
def test_a_decompression_bomb_closes_the_connection_with_1009_and_the_client_continues(raw, fragments):
    errors = []
    client, peer = connected(
        raw, TAKEN, max_message_size=10_000, reconnect=AT_ONCE, on_error=lambda _, error: errors.append(error)
    )
    with client:
        bomb = deflated(bytes(10_001))
        pieces = [bomb] if fragments == 1 else [bomb[:5], bomb[5:20], bomb[20:]]
        for n, piece in enumerate(pieces):
            peer.send(frame(0 if n else 2, piece, fin=n == len(pieces) - 1, rsv=0 if n else 4))
        assert first_bits(peer) == (0x88, b"\x03\xf1")
        peer.close()
        peer = raw.accept().upgrade(TAKEN)
        with client.listen() as stream:
            assert client.wait_until(wsclient.State.OPEN, LONG)
            peer.send_frame(2, deflated(bytes(10_000)), rsv=4)
            assert stream.get(LONG) == bytes(10_000)
        eventually(lambda: errors)
        assert isinstance(errors[0], wsclient.MessageTooBig)
        client.close(timeout=0)


def test_compressed_messages_can_arrive_together_with_the_upgrade(raw):
    client = wsclient.Client(raw.url, ping_interval=None)
    with client.listen() as stream:
        starter = threading.Thread(target=client.start)
        starter.start()
        raw.accept().upgrade(TAKEN, then=frame(1, deflated(b'{"early": true}'), rsv=4))
        assert stream.get(LONG) == {"early": True}
        starter.join(LONG)
        client.close(timeout=0)


@pytest.mark.slow
def test_the_compression_of_a_large_message_ends_with_its_connection(raw):
    """The sender returns soon, and the message is sent completely on the next connection."""
    words = os.urandom(3 * 2**20).hex()
    slow = wsclient.Deflate(level=9, memory_level=9, client_max_window_bits=15)
    client, peer = connected(raw, TAKEN, compression=slow, reconnect=AT_ONCE)
    with client:
        gone = threading.Event()
        compress = deflate.Deflater.compress

        def held(deflater, payload, wanted=None):
            if not gone.is_set():
                peer.close()
                eventually(lambda: not wanted())
                gone.set()
            return compress(deflater, payload, wanted)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(deflate.Deflater, "compress", held)
            sender = threading.Thread(target=client.send, args=(words,))
            sender.start()
            sender.join(LONG)
            assert not sender.is_alive()
            peer = raw.accept().upgrade(TAKEN)
            assert inflated(first_bits(peer)[1]).decode() == words
        client.close(timeout=0)
