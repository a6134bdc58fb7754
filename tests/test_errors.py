"""The error tree: base classes, attributes, copying and pickling."""

import copy
import pickle
import threading

import pytest

from wsclient import _errors
from wsclient._errors import (
    ClientClosed,
    ClientNotStarted,
    ConnectError,
    ConnectionLost,
    FlushTimeout,
    ForkedClient,
    HandshakeError,
    MessageTooBig,
    ProtocolError,
    ProxyError,
    RemoteError,
    RequestTimeout,
    SendQueueFull,
    SessionError,
    SlowConsumer,
    TLSError,
    WebSocketClientError,
    WouldDeadlock,
    copy_exception,
    printable,
    text_of,
)
from wsclient._models import Disconnect, Phase

PARENTS = {
    WebSocketClientError: (Exception,),
    ConnectError: (WebSocketClientError, ConnectionError),
    HandshakeError: (ConnectError,),
    TLSError: (ConnectError,),
    ProxyError: (ConnectError,),
    SessionError: (ConnectError,),
    ConnectionLost: (WebSocketClientError, ConnectionError),
    RequestTimeout: (WebSocketClientError, TimeoutError),
    FlushTimeout: (RequestTimeout,),
    RemoteError: (WebSocketClientError,),
    SendQueueFull: (WebSocketClientError,),
    SlowConsumer: (WebSocketClientError,),
    MessageTooBig: (WebSocketClientError,),
    ProtocolError: (WebSocketClientError,),
    ClientClosed: (WebSocketClientError,),
    ClientNotStarted: (ClientClosed,),
    ForkedClient: (WebSocketClientError,),
    WouldDeadlock: (WebSocketClientError,),
}

DISCONNECT = Disconnect("remote", 1001, "going away", None, 12.5, 0.25)

SAMPLES = [
    WebSocketClientError("Something happened."),
    ConnectError("No way in.", attempts=3, last=OSError(111, "refused"), retry=False),
    HandshakeError("Refused.", status=403, headers={"Server": "x"}, body=b"go away", retry=False),
    TLSError("Bad certificate.", attempts=2, last=ValueError("expired"), retry=False),
    ProxyError("No tunnel.", last=OSError("down")),
    SessionError("Not logged in.", retry=False),
    ConnectionLost("Gone.", sent=True, disconnect=DISCONNECT),
    RequestTimeout("Too late.", phase="queued"),
    FlushTimeout("Not flushed.", phase="queued"),
    RemoteError(-32601, "Method not found", {"method": "nope"}),
    SendQueueFull("Full."),
    SlowConsumer("Too slow."),
    MessageTooBig("Too big."),
    ProtocolError("Nonsense.", payload={"a": 1}),
    ClientClosed("Closed."),
    ClientNotStarted("Not started."),
    ForkedClient("A fork."),
    WouldDeadlock("Call submit() instead."),
]


def facts(error):
    return type(error), error.args, str(error), repr(vars(error))


def name_of(error):
    return type(error).__name__


def test_each_error_has_these_base_classes():
    for error, parents in PARENTS.items():
        assert error.__bases__ == parents


def test_every_error_is_in_the_tree():
    assert {getattr(_errors, name) for name in _errors.__all__} == set(PARENTS)
    assert {type(sample) for sample in SAMPLES} == set(PARENTS)


@pytest.mark.parametrize("error", SAMPLES, ids=name_of)
def test_an_error_can_be_pickled(error):
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert facts(pickle.loads(pickle.dumps(error, protocol))) == facts(error)


@pytest.mark.parametrize(
    "error",
    [
        ConnectError(message="No."),
        HandshakeError(message="No.", status=403),
        SessionError(message="No."),
        ConnectionLost(message="Gone."),
        RequestTimeout(message="Late."),
        RemoteError(code=7, message="no such room"),
        RemoteError(7),
        ProtocolError(message="Nonsense."),
    ],
    ids=name_of,
)
def test_an_error_made_with_keywords_can_be_pickled_and_copied_too(error):
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert (type(twin), twin.args, str(twin)) == (type(error), error.args, str(error))
        assert error.args


def test_an_error_can_be_copied():
    for error in SAMPLES:
        assert facts(copy.copy(error)) == facts(error)


def test_the_text_of_an_error_is_its_message():
    for error in SAMPLES:
        if not isinstance(error, RemoteError):
            assert str(error) == error.args[0]


def test_a_connect_error_has_one_attempt_by_default():
    error = ConnectError("No.")
    assert (error.attempts, error.last, error.retry) == (1, error, True)


def test_a_connect_error_keeps_its_arguments():
    last = OSError("down")
    error = ConnectError("No.", attempts=7, last=last, retry=False)
    assert (error.attempts, error.last, error.retry) == (7, last, False)


def test_a_connect_error_whose_last_error_is_itself_can_be_pickled():
    error = pickle.loads(pickle.dumps(ConnectError("No.")))
    assert error.last is error


def test_a_handshake_error_keeps_the_response():
    error = HandshakeError("No.", status=503, headers={"Retry-After": "5"}, body=b"busy", retry=False)
    assert (error.status, error.headers, error.body, error.retry) == (503, {"Retry-After": "5"}, b"busy", False)
    assert (error.attempts, error.last) == (1, error)


def test_a_handshake_error_without_a_response_has_empty_fields():
    error = HandshakeError("No.")
    assert (error.status, error.headers, error.body, error.retry) == (0, {}, b"", True)


def test_handshake_errors_do_not_share_headers():
    assert HandshakeError("No.").headers is not HandshakeError("No.").headers


@pytest.mark.parametrize("retry", [True, False])
def test_a_session_error_has_the_retry_flag(retry):
    assert SessionError("No.", retry=retry).retry is retry


def test_a_session_error_is_retried_by_default():
    assert SessionError("No.").retry is True


@pytest.mark.parametrize("sent", [True, False, None])
def test_a_lost_connection_reports_the_state_of_the_message(sent):
    error = ConnectionLost("Gone.", sent=sent, disconnect=DISCONNECT)
    assert error.sent is sent
    assert error.disconnect is DISCONNECT


def test_a_lost_connection_has_no_details_by_default():
    assert (ConnectionLost("Gone.").sent, ConnectionLost("Gone.").disconnect) == (None, None)


def test_a_timeout_has_its_phase():
    assert RequestTimeout("Late.").phase == "waiting"
    assert RequestTimeout("Late.", phase="queued").phase == "queued"
    assert type(RequestTimeout("Late.").phase) is type(RequestTimeout("Late.", phase="queued").phase) is Phase
    with pytest.raises(ValueError, match="'early' is not a valid Phase"):
        RequestTimeout("Late.", phase="early")


def test_a_protocol_error_keeps_the_payload():
    assert ProtocolError("Nonsense.").payload is None
    assert ProtocolError("Nonsense.", payload=b"\xff").payload == b"\xff"


def test_a_remote_error_keeps_the_members_of_the_error():
    error = RemoteError("E7", "no such room", [1, 2])
    assert (error.code, error.message, error.data) == ("E7", "no such room", [1, 2])
    assert (RemoteError(1).message, RemoteError(1).data) == ("", None)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (RemoteError(-32601, "Method not found"), "The server answered with error -32601: Method not found"),
        (RemoteError(0, "zero is a code too"), "The server answered with error 0: zero is a code too"),
        (RemoteError(None, "just a text"), "The server answered with error: just a text"),
        (RemoteError(7), "The server answered with error 7."),
        (RemoteError(None), "The server answered with error."),
    ],
)
def test_the_text_of_a_remote_error_is_a_sentence(error, text):
    assert str(error) == text


# --- copies for several waiting callers -------------------------------------------------------------------------------


def test_a_copy_is_another_object_with_the_same_attributes():
    for error in SAMPLES:
        twin = copy_exception(error)
        assert twin is not error
        assert facts(twin) == facts(error)


def test_a_copy_keeps_the_cause():
    cause = OSError("down")
    error = ConnectError("No.")
    error.__cause__ = cause
    twin = copy_exception(error)
    assert twin.__cause__ is cause
    assert twin.__suppress_context__ is True


def test_a_copy_keeps_the_context_if_it_was_shown():
    assert copy_exception(ConnectError("No.")).__suppress_context__ is False


def test_a_copy_hides_the_context_if_it_was_hidden():
    error = ConnectError("No.")
    error.__suppress_context__ = True
    assert copy_exception(error).__suppress_context__ is True


def test_raising_a_copy_does_not_change_the_traceback_of_the_original():
    error = ConnectError("No.")
    with pytest.raises(ConnectError) as caught:
        raise copy_exception(error)
    assert caught.value.__traceback__ is not None
    assert error.__traceback__ is None


def test_a_copy_has_no_traceback():
    with pytest.raises(ConnectError) as caught:
        raise ConnectError("No.")
    assert copy_exception(caught.value).__traceback__ is None


def test_an_error_of_another_library_can_be_copied_too():
    twin = copy_exception(FileNotFoundError(2, "No such file", "x.pem"))
    assert type(twin) is FileNotFoundError
    assert twin.filename == "x.pem"


class NeedsTwo(Exception):
    def __init__(self, one, two):
        super().__init__(one)


class BecomesAnother(Exception):
    def __reduce__(self):
        return ValueError, ("another",)


@pytest.mark.parametrize("error", [NeedsTwo(1, 2), BecomesAnother()], ids=name_of)
def test_an_error_that_cannot_be_copied_is_returned_itself(error):
    assert copy_exception(error) is error


def test_an_inner_error_that_cannot_be_pickled_is_replaced_by_its_text():
    class Local(Exception):
        """Local to a function: pickle cannot find it."""

    disconnect = Disconnect("network", None, "gone", Local("the line"), 1.0, 0.0)
    for error in (
        ConnectError("No.", last=Local("the reason")),
        ConnectError("No.", last=NeedsTwo("the reason", 2)),
        ConnectionLost("Lost.", disconnect=disconnect),
    ):
        read = pickle.loads(pickle.dumps(error))
        assert str(read) == str(error)
        shown = read.last if isinstance(read, ConnectError) else read.disconnect.error
        assert type(shown) is WebSocketClientError
        assert str(shown) in ("Local: the reason", "NeedsTwo: the reason", "Local: the line")
        assert copy_exception(error).__dict__ == error.__dict__  # here, nothing needs to be replaced


def test_errors_that_refer_to_each_other_and_long_chains_can_be_pickled():
    one, other = ConnectError("One."), ConnectError("Other.")
    one.last, other.last = other, one
    read = pickle.loads(pickle.dumps(one))
    assert str(read.last) == "Other."
    assert read.last.last is read
    chain = ConnectError("the end")
    for _ in range(60):
        chain = ConnectError("link", last=chain)
    assert str(pickle.loads(pickle.dumps(chain)).last) == "link"


def test_arguments_of_an_error_that_cannot_be_pickled_are_replaced_too():
    read = pickle.loads(pickle.dumps(RemoteError(1, "No.", threading.Lock())))
    assert (read.code, read.message) == (1, "No.")
    assert "lock" in read.data


class WithoutText(Exception):
    """An exception whose methods raise."""

    def __str__(self):
        raise LookupError("no text")

    __repr__ = __str__


def test_the_text_of_a_value_is_short_can_be_encoded_and_never_fails():
    nested = []
    for _ in range(100_000):
        nested = [nested]
    assert text_of(nested) == "<list>"
    assert text_of(WithoutText()) == "<WithoutText>"
    assert text_of(ValueError("no 'x'")) == "no 'x'"
    assert text_of("no 'x'") == "\"no 'x'\""
    assert text_of("x" * 300) == f"'{'x' * 199}…"
    assert text_of(ValueError("\ud800")) == "\\ud800"
    assert text_of(ValueError("a\r\nb\x1b[2J")) == r"a\r\nb\x1b[2J"


def test_a_printable_text_is_one_line_and_is_cut():
    assert printable("größe 漢字 😀 \\n") == "größe 漢字 😀 \\n"
    assert printable("a\tb\0\x7f\x85\u2028\u202e\ud800") == r"a\tb\x00\x7f\x85\u2028\u202e\ud800"
    assert printable("x" * 1001) == "x" * 1000 + "…"
    assert printable("abc", 2) == "ab…"


def test_the_text_of_a_remote_error_is_one_line_and_short_and_its_attributes_are_complete():
    error = RemoteError("c\n" * 200, "m\x1b" * 2000, "data")
    assert str(error).isprintable()
    assert len(str(error)) < 4000
    assert (error.code, error.message) == ("c\n" * 200, "m\x1b" * 2000)
    assert str(RemoteError({"a": "b\n"}, "x")) == r"The server answered with error {'a': 'b\n'}: x"
