"""Close frames: the meaning of every payload, and the payloads that a client may send."""

import re
import struct

import pytest

from wsclient._rfc6455.close import (
    MAX_CONTROL_PAYLOAD,
    SENDABLE_CLOSE_CODES,
    Close,
    CloseCode,
    build_close_payload,
    check_close,
    parse_close,
)

# --- received close frames --------------------------------------------------------------------------------------------


def test_an_empty_close_has_no_code_and_is_answered_with_1000():
    assert parse_close(b"") == Close(1005, "", 1000)


def test_a_close_of_one_byte_is_a_close_and_a_protocol_error():
    assert parse_close(b"\x03") == Close(1005, "", 1002)


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999])
def test_a_valid_close_is_answered_with_its_own_code(code):
    assert parse_close(struct.pack("!H", code) + "tschüß".encode()) == Close(code, "tschüß", code)


@pytest.mark.parametrize("code", [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535])
def test_a_code_that_must_not_be_sent_is_answered_with_1002(code):
    assert parse_close(struct.pack("!H", code) + b"why") == Close(code, "why", 1002)


@pytest.mark.parametrize("code", [1012, 1013, 1014])
def test_a_code_registered_later_is_valid(code):
    assert parse_close(struct.pack("!H", code) + b"restart")[:2] == (code, "restart")
    assert parse_close(struct.pack("!H", code)).answer != 1002


@pytest.mark.parametrize("code", [1000, 1006, 4000])
def test_a_reason_that_is_not_utf8_is_answered_with_1007(code):
    assert parse_close(struct.pack("!H", code) + b"a\xffb") == Close(code, "a\ufffdb", 1007)


def test_a_close_can_be_125_bytes_long():
    assert parse_close(struct.pack("!H", 1000) + b"x" * 123).reason == "x" * 123


@pytest.mark.parametrize("codes", [range(1000), range(1000, 1016), range(1016, 3000), range(3000, 2**16)], ids=str)
def test_every_close_can_be_answered(codes):
    for code in codes:
        answer = parse_close(struct.pack("!H", code)).answer
        assert build_close_payload(answer, "") == struct.pack("!H", answer)


# --- sent close frames ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 4999])
def test_a_close_payload_is_code_and_reason(code):
    assert build_close_payload(code, "grün") == struct.pack("!H", code) + "grün".encode()
    assert build_close_payload(code, "") == struct.pack("!H", code)


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 4999])
def test_a_client_can_close_with_these_codes(code):
    check_close(code, "why")
    assert code in SENDABLE_CLOSE_CODES


def test_any_other_code_is_refused():
    for code in [-1, 0, 999, 1004, 1005, 1006, 1012, 1013, 1014, 1015, 2000, 2999, 5000, 65536, 1000.5, "1000", None]:
        with pytest.raises(ValueError, match=rf"^code must be .* not {re.escape(repr(code))} "):
            check_close(code, "")


def test_a_code_is_a_whole_number():
    with pytest.raises(ValueError, match="code must be"):
        check_close(1000.0, "")


@pytest.mark.parametrize("reason", [None, b"bye", 5])
def test_a_reason_is_a_str(reason):
    with pytest.raises(TypeError, match="reason must be a str"):
        check_close(1000, reason)


def test_a_reason_has_at_most_123_bytes():
    check_close(1000, "x" * 123)
    with pytest.raises(ValueError, match=r"^reason must have at most 123 bytes .* not 124"):
        check_close(1000, "x" * 124)


def test_the_longest_close_fits_into_a_control_frame():
    assert len(build_close_payload(1000, "x" * 123)) == MAX_CONTROL_PAYLOAD == 125


def test_codes_have_their_names_in_the_rfc():
    assert {code.name: int(code) for code in CloseCode} == {
        "NORMAL": 1000, "GOING_AWAY": 1001, "PROTOCOL_ERROR": 1002, "UNSUPPORTED_DATA": 1003, "NO_STATUS": 1005,
        "ABNORMAL": 1006, "INVALID_DATA": 1007, "POLICY_VIOLATION": 1008, "MESSAGE_TOO_BIG": 1009,
        "MANDATORY_EXTENSION": 1010, "INTERNAL_ERROR": 1011, "SERVICE_RESTART": 1012, "TRY_AGAIN_LATER": 1013,
        "BAD_GATEWAY": 1014,
    }  # fmt: skip


def test_the_length_of_a_reason_is_counted_in_bytes():
    check_close(1000, "€" * 41)
    with pytest.raises(ValueError, match="not 126"):
        check_close(1000, "€" * 42)


def test_a_reason_that_utf8_cannot_encode_is_refused():
    with pytest.raises(ValueError, match="surrogates"):
        check_close(1000, "\ud800")


def test_a_close_payload_of_the_client_is_valid_for_the_other_side():
    for code in sorted(SENDABLE_CLOSE_CODES):
        assert parse_close(build_close_payload(code, "why")) == Close(code, "why", code)
