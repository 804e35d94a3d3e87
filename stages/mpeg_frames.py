"""The frames of an MPEG stream (layers II and III), told by their headers. No numeric library."""

from __future__ import annotations

# kbit/s by bitrate index; 0 is free format, which is so rare that random bytes are likelier.
_VERSION_1_LAYER_2 = (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384)
_VERSION_1_LAYER_3 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_VERSION_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_RATES_HZ = (44_100, 48_000, 32_000)

# Three headers, each where the one before says: in 16 kB of random bytes once in ten million.
_CHAIN = 3


def frame_bytes(header: bytes) -> int | None:
    """Return the length of the frame that begins with these 4 bytes, None where none does."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    version, layer = header[1] >> 3 & 3, header[1] >> 1 & 3
    bitrate_index, rate_index = header[2] >> 4, header[2] >> 2 & 3
    legal = version != 1 and layer in (1, 2) and bitrate_index not in (0, 15) and rate_index != 3
    if not legal or header[3] & 3 == 2:
        return None
    kbits = _VERSION_1_LAYER_3 if layer == 1 else _VERSION_1_LAYER_2
    if version != 3:
        kbits = _VERSION_2
    rate_hz = _RATES_HZ[rate_index] >> {3: 0, 2: 1, 0: 2}[version]
    samples = 576 if layer == 1 and version != 3 else 1152
    return samples // 8 * kbits[bitrate_index] * 1000 // rate_hz + (header[2] >> 1 & 1)


def find_frames(content: bytes) -> int | None:
    """Return where the first frames begin that follow one another, None where there are none."""
    place = content.find(b"\xff")
    while place >= 0:
        if _is_chain(content, place):
            return place
        place = content.find(b"\xff", place + 1)
    return None


def _is_chain(content: bytes, place: int) -> bool:
    for _ in range(_CHAIN):
        length = frame_bytes(content[place : place + 4])
        if length is None:
            return False
        place += length
    return True
