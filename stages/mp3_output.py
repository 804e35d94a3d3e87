"""MP3 by LAME, with the tag that tells a player where the music begins and ends."""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path

import lameenc  # type: ignore[import-not-found]
import numpy as np
from numpy.typing import NDArray

from stages.sound_output import naming

# LAME's own default is 3. Quality 2 takes 1.3 to 1.7 times as long and gave no dB more; libsndfile's
# LAME takes 3 times as long for the same quality.
_QUALITY = 3
_KBIT_S = 320

_FRAME_SAMPLES = 1_152
_ENCODER_DELAY_SAMPLES = 576
# Of the three rates that MPEG-1 has, and so 320 kbit/s: the index in a frame's header.
_RATE_INDEX = {44_100: 0, 48_000: 1, 32_000: 2}
_SIDE_INFO_BYTES = 32
_MAX_32_BITS = 2**32 - 1


class Mp3Output:
    """A stereo file at 320 kbit/s; rate 32, 44.1 or 48 kHz.

    Raises:
        OSError: from every method but `abort`: the file cannot be written.
    """

    def __init__(self, path: Path, *, sample_rate_hz: int) -> None:
        self._path = path
        self._sample_rate_hz = sample_rate_hz
        self._samples = 0
        self._encoder = lameenc.Encoder()
        self._encoder.set_bit_rate(_KBIT_S)
        self._encoder.set_in_sample_rate(sample_rate_hz)
        self._encoder.set_channels(2)
        self._encoder.set_quality(_QUALITY)
        self._encoder.silence()  # it prints otherwise
        with naming(path):
            self._file = path.open("wb")
            # Its place: how much follows is known at the end.
            self._file.write(bytes(_frame_bytes(sample_rate_hz)))

    def write(self, frames: NDArray[np.float32]) -> None:
        """Encode frames of shape `(frames, 2)`; ±1 is full scale."""
        # The highest of 24 bits is rounded up to one more than the highest of 16.
        steps = np.clip(np.rint(frames * np.float32(32_768)), -32_768, 32_767).astype("<i2")
        self._samples += len(frames)
        with naming(self._path):
            self._file.write(self._encoder.encode(steps.tobytes()))

    def close(self) -> None:
        """Encode what is left and write the tag."""
        with naming(self._path):
            # Without a sample LAME has nothing to end, and fails.
            if self._samples:
                self._file.write(self._encoder.flush())
            size_bytes = self._file.tell()
            self._file.seek(0)
            self._file.write(info_frame(self._samples, size_bytes, self._sample_rate_hz))
            self._file.close()

    def abort(self) -> None:
        """Release the file, which is worth nothing then. Never raises."""
        with contextlib.suppress(OSError):
            self._file.close()


def info_frame(samples: int, size_bytes: int, sample_rate_hz: int) -> bytes:
    """Return the first frame of a file: silent, it counts the others and the padding.

    LAME writes it only where it has the file in hand; lameenc has not. Without it a player begins
    1105 samples late and ends in the encoder's padding, and libsndfile guesses the length.

    Args:
        samples: how many were encoded.
        size_bytes: of the whole file, this frame among it.
        sample_rate_hz: one that MPEG-1 has.
    """
    frame_bytes = _frame_bytes(sample_rate_hz)
    # Frames differ by a byte, so that the sum keeps to the bitrate.
    audio_bytes = size_bytes - frame_bytes
    frames = round(audio_bytes * sample_rate_hz / (_FRAME_SAMPLES // 8 * _KBIT_S * 1000))
    padding = max(0, frames * _FRAME_SAMPLES - _ENCODER_DELAY_SAMPLES - samples)
    header = bytes((0xFF, 0xFB, 0xE0 | _RATE_INDEX[sample_rate_hz] << 2, 0x40))
    tag = header + bytes(_SIDE_INFO_BYTES)
    # 0b1111: frames, bytes, where each hundredth begins in 256ths, and a quality (unknown) follow.
    tag += struct.pack(">4sIII", b"Info", 0b1111, frames, min(size_bytes, _MAX_32_BITS))
    tag += bytes(256 * percent // 100 for percent in range(100)) + bytes(4)
    # Tag revision 0, constant bitrate; lowpass, replay gain and flags unknown: zero.
    tag += b"LAME3.100" + bytes((0x01,)) + bytes(10)
    tag += bytes((255,))  # 255 kbit/s or more
    tag += ((_ENCODER_DELAY_SAMPLES << 12) | min(padding, 0xFFF)).to_bytes(3, "big")
    tag += bytes(4) + struct.pack(">IH", min(audio_bytes, _MAX_32_BITS), 0)
    tag += crc16(tag).to_bytes(2, "big")
    return tag.ljust(frame_bytes, b"\0")


def crc16(data: bytes) -> int:
    """Return the tag's checksum of all before it: CRC-16 with the polynomial 0x8005, reflected."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return crc


def _frame_bytes(sample_rate_hz: int) -> int:
    return _FRAME_SAMPLES // 8 * _KBIT_S * 1000 // sample_rate_hz
