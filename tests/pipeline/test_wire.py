from __future__ import annotations

import json
import os
import random
import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from pipeline.wire import BadFrame, Message, Wire

LARGEST_BYTES = 16 << 20


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, Wire]]:
    raw, theirs = socket.socketpair()
    wire = Wire(theirs)
    yield raw, wire
    raw.close()
    wire.close()


def _frame(body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + body


def _body(message: Message) -> bytes:
    return json.dumps(message).encode("ascii")


def _sent(raw: socket.socket, *messages: Message) -> threading.Thread:
    """Send from a thread of its own, because a message may be larger than the pipe, and hang up."""
    wire = Wire(raw)

    def send() -> None:
        for message in messages:
            wire.send(message)
        wire.close()

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("size", [0, 1, 65_531, 65_532, 65_536, 1 << 20, (16 << 20) - 40])
def test_a_message_of_any_size_arrives_as_it_was_sent(
    pair: tuple[socket.socket, Wire], size: int
) -> None:
    raw, wire = pair
    message: Message = {"type": "failed", "detail": "x" * size}

    thread = _sent(raw, message, {"type": "bye"})
    arrived = list(wire.messages())
    thread.join()

    assert arrived == [message, {"type": "bye"}]


@pytest.mark.parametrize(
    "name", [b"plain.flac", b"\xff\xfe.flac", b"caf\xc3\xa9", b"\n\x00\x1b[2J", bytes(range(256))]
)
def test_any_file_name_survives(pair: tuple[socket.socket, Wire], name: bytes) -> None:
    raw, wire = pair
    message: Message = {"type": "work", "path": os.fsdecode(name), os.fsdecode(name): [1]}

    thread = _sent(raw, message)
    (arrived,) = wire.messages()
    thread.join()

    assert arrived == message
    assert isinstance(arrived["path"], str)
    assert os.fsencode(arrived["path"]) == name


def test_every_kind_of_value_survives(pair: tuple[socket.socket, Wire]) -> None:
    raw, wire = pair
    values: Message = {"type": "x", "a": [None, True, 0.1, -(2**63), {"b": {}}], "c": 1e300}

    thread = _sent(raw, values)
    arrived = list(wire.messages())
    thread.join()

    assert arrived == [values]


def test_a_number_that_json_has_not_is_never_sent(pair: tuple[socket.socket, Wire]) -> None:
    raw, wire = pair

    with pytest.raises(ValueError, match="not JSON compliant"):
        Wire(raw).send({"type": "progress", "done_s": float("nan")})

    raw.close()
    assert list(wire.messages()) == []


def test_two_messages_may_be_cut_at_every_byte(pair: tuple[socket.socket, Wire]) -> None:
    raw, wire = pair
    messages: list[Message] = [{"type": "a", "path": "\udcff"}, {"type": "b"}]
    stream = b"".join(_frame(_body(message)) for message in messages)

    for cut in range(1, len(stream)):
        raw.sendall(stream[:cut])
        before, open_before = wire.read_ready()
        raw.sendall(stream[cut:])
        after, open_after = wire.read_ready()

        assert (before + after, open_before, open_after) == (messages, True, True)


def test_a_message_may_come_byte_by_byte(pair: tuple[socket.socket, Wire]) -> None:
    raw, wire = pair
    arrived: list[Message] = []

    for byte in _frame(_body({"type": "slow"})):
        assert arrived == []
        raw.sendall(bytes([byte]))
        arrived += wire.read_ready()[0]

    assert arrived == [{"type": "slow"}]


def test_a_length_that_no_message_has_is_refused_before_its_body_comes(
    pair: tuple[socket.socket, Wire],
) -> None:
    raw, wire = pair
    raw.sendall(struct.pack(">I", LARGEST_BYTES + 1))

    with pytest.raises(BadFrame, match=f"{LARGEST_BYTES + 1} bytes"):
        wire.read_ready()


def test_text_that_a_library_printed_into_the_pipe_is_refused(
    pair: tuple[socket.socket, Wire],
) -> None:
    raw, wire = pair
    raw.sendall(b"WARNING: something\n")

    with pytest.raises(BadFrame):
        wire.read_ready()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"7",
        b'"type"',
        b"{}",
        b'{"type": 1}',
        b'{"type": null}',
        b'{"type": "a"} {"type": "b"}',
        b"\xff\xff\xff",
        b"9" * 5000,
        pytest.param(b"[" * 100_000),
    ],
    ids=lambda body: repr(body[:16]),
)
def test_a_body_that_is_no_message_is_refused(
    pair: tuple[socket.socket, Wire], body: bytes
) -> None:
    raw, wire = pair
    thread = threading.Thread(target=raw.sendall, args=(_frame(body),), daemon=True)
    thread.start()

    with pytest.raises(BadFrame, match="is no"):
        next(wire.messages())

    thread.join()


def test_what_came_before_a_bad_frame_is_heard_first(pair: tuple[socket.socket, Wire]) -> None:
    raw, wire = pair
    raw.sendall(_frame(_body({"type": "good"})) + _frame(b"bad"))

    messages = wire.messages()

    assert next(messages) == {"type": "good"}
    with pytest.raises(BadFrame):
        next(messages)


def test_the_end_of_the_pipe_ends_the_messages(pair: tuple[socket.socket, Wire]) -> None:
    raw, wire = pair
    raw.sendall(_frame(_body({"type": "last"})))
    raw.close()

    assert list(wire.messages()) == [{"type": "last"}]
    assert wire.read_ready() == ([], False)


def test_half_a_message_before_the_end_is_none(pair: tuple[socket.socket, Wire]) -> None:
    raw, wire = pair
    raw.sendall(_frame(_body({"type": "half"}))[:-1])
    raw.close()

    assert list(wire.messages()) == []


def test_a_side_that_dies_without_reading_is_an_end_too(pair: tuple[socket.socket, Wire]) -> None:
    raw, wire = pair
    wire.send({"type": "never read"})
    raw.close()  # with unread bytes: the kernel answers ECONNRESET

    assert wire.read_ready() == ([], False)


def test_sending_to_a_side_that_is_gone_is_an_os_error(pair: tuple[socket.socket, Wire]) -> None:
    raw, wire = pair
    raw.close()

    with pytest.raises(OSError, match="Broken pipe"):
        wire.send({"type": "anybody there?"})


def test_threads_that_send_at_once_never_mix_their_messages(
    pair: tuple[socket.socket, Wire],
) -> None:
    raw, wire = pair
    sender = Wire(raw)
    sizes = random.Random(7)
    plans = {name: [sizes.choice((1, 100, 300_000)) for _ in range(60)] for name in ("a", "b", "c")}

    def send(name: str) -> None:
        for size in plans[name]:
            sender.send({"type": name, "body": name * size})

    threads = [threading.Thread(target=send, args=(name,), daemon=True) for name in plans]
    for thread in threads:
        thread.start()
    messages = wire.messages()
    arrived = [next(messages) for _ in range(sum(map(len, plans.values())))]
    for thread in threads:
        thread.join()

    for name, plan in plans.items():
        assert [one["body"] for one in arrived if one["type"] == name] == [
            name * size for size in plan
        ]
