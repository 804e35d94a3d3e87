"""The private pipe between supervisor and children: JSON messages behind their length.

A descriptor of its own, because libraries print to stdout. A frame that cannot be a message means
that the other side lost its mind, and is treated like its death.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Iterator

from stages.base import JsonValue

Message = dict[str, JsonValue]

_LENGTH = struct.Struct(">I")
_LARGEST_BYTES = 16 << 20


class BadFrame(Exception):
    """What arrived is not a message."""


class Wire:
    """One end of the pipe. Sending is safe from several threads; reading is for one."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._lock = threading.Lock()
        self._buffer = bytearray()

    def fileno(self) -> int:
        """Return the descriptor, for selectors."""
        return self._socket.fileno()

    def send(self, message: Message) -> None:
        """Send one message.

        Raises:
            OSError: the other side is gone.
        """
        # ASCII JSON carries surrogate escapes, and with them every file name.
        body = json.dumps(message, allow_nan=False).encode("ascii")
        with self._lock:
            self._socket.sendall(_LENGTH.pack(len(body)) + body)

    def messages(self) -> Iterator[Message]:
        """Give messages as they arrive until the other side closes, blocking between them."""
        while self._fill():
            yield from self.buffered()

    def read_ready(self) -> tuple[list[Message], bool]:
        """Read once, when a selector said so; return the messages and whether the pipe is open."""
        is_open = self._fill()
        return list(self.buffered()), is_open

    def _fill(self) -> bool:
        try:
            block = self._socket.recv(1 << 16)
        except ConnectionError:
            return False
        self._buffer += block
        return bool(block)

    def buffered(self) -> Iterator[Message]:
        """Give the whole messages that have arrived.

        Raises:
            BadFrame: a length or a body that no message has.
        """
        while len(self._buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer)
            if length > _LARGEST_BYTES:
                raise BadFrame(f"a message of {length} bytes")
            end = _LENGTH.size + length
            if len(self._buffer) < end:
                return
            body = bytes(self._buffer[_LENGTH.size : end])
            del self._buffer[:end]
            yield _decoded(body)

    def close(self) -> None:
        """Close this end."""
        self._socket.close()


def _decoded(body: bytes) -> Message:
    try:
        message = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadFrame(f"{body[:40]!r} is no JSON") from error
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise BadFrame(f"{body[:40]!r} is no message")
    return message
