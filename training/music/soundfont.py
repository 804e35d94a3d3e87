"""Instruments from samples: FluidSynth plays a MIDI file with Debian's General MIDI SoundFont.

`FluidR3_GM.sf2` is © 2000-2002, 2008 Frank Wen, released under the MIT licence
(`/usr/share/doc/fluid-soundfont-gm/copyright`); it was made in part from samples in the public
domain. It is read where Debian installs it and is not part of this project.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import soundfile

from pipeline.music.synth import RATE_HZ, Sound, samples
from training.music.score import Hit, Note

SOUNDFONT = Path("/usr/share/sounds/sf2/FluidR3_GM.sf2")
_TICKS_PER_S = 960  # a quarter of half a second, which is what a file without a tempo has
_DRUM_CHANNEL = 9
_STROKE_S = 0.1
# Dry, as floats; samples loaded as they are asked for: 0.2 s instead of 0.35 s for a part.
_OPTIONS = (
    f"-q -ni -R 0 -C 0 -g 0.6 -r {RATE_HZ} -O float -o synth.dynamic-sample-loading=1".split()
)

# The keys of General MIDI.
_KEYS: Mapping[str, int] = MappingProxyType(
    {
        "kick": 36, "snare": 38, "clap": 39, "hat": 42, "open hat": 46, "ride": 51, "crash": 49,
        "low tom": 43, "tom": 47, "high tom": 50, "shaker": 70, "tambourine": 54, "rim": 37,
        "cowbell": 56, "conga": 64, "high conga": 63,
    }
)  # fmt: skip
# Standard, Room, Power, Electronic, TR-808, Jazz, Brush, with the variants that this one has.
DRUM_KITS = (0, 0, 1, 2, 3, 4, 5, 8, 9, 11, 13, 16, 16, 17, 19, 24, 24, 25, 25, 32, 34, 40, 41)


class SoundFontMissing(RuntimeError):
    """FluidSynth or the SoundFont is not on this machine."""

    def __init__(self, missing: str) -> None:
        super().__init__(missing)
        self.missing = missing

    def __str__(self) -> str:
        return (
            f"{self.missing} was not found. Sampled songs need the Debian packages fluidsynth and "
            "fluid-soundfont-gm: install both, or ask for songs with sampled=False."
        )


@dataclass(frozen=True)
class Preset:
    """A sound of the SoundFont; a kit of drums where `drums`."""

    program: int
    bank: int = 0
    drums: bool = False


def play_notes(notes: Sequence[Note], preset: Preset, *, seconds: float) -> Sound:
    """Play notes with a sound of the SoundFont, shape `(2, samples)`.

    Raises:
        SoundFontMissing: FluidSynth or the SoundFont is not on this machine.
    """
    return _played([(n.start_s, n.length_s, n.pitch, n.velocity) for n in notes], preset, seconds)


def play_hits(hits: Sequence[Hit], preset: Preset, *, seconds: float) -> Sound:
    """Play strokes with a kit of the SoundFont, shape `(2, samples)`.

    Raises:
        SoundFontMissing: FluidSynth or the SoundFont is not on this machine.
    """
    return _played(
        [(h.start_s, _STROKE_S, _KEYS[h.drum], h.velocity) for h in hits], preset, seconds
    )


def _played(
    notes: Sequence[tuple[float, float, int, float]], preset: Preset, seconds: float
) -> Sound:
    program = shutil.which("fluidsynth")
    if program is None:
        raise SoundFontMissing("The program fluidsynth")
    if not SOUNDFONT.exists():
        raise SoundFontMissing(f"The SoundFont {SOUNDFONT}")
    with tempfile.TemporaryDirectory() as folder:
        score, sound = Path(folder, "part.mid"), Path(folder, "part.wav")
        score.write_bytes(_midi_file(notes, preset, seconds))
        command = [program, *_OPTIONS, "-F", str(sound), str(SOUNDFONT), str(score)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode or not sound.exists():
            words = done.stderr.strip() or "nothing said"
            raise RuntimeError(f"fluidsynth ended with {done.returncode}: {words}")
        frames, _ = soundfile.read(sound, dtype="float32", always_2d=True)
    track = np.zeros((2, samples(seconds)), np.float32)
    length = min(len(frames), track.shape[1])
    track[:, :length] = frames[:length].T
    return track


def _midi_file(
    notes: Sequence[tuple[float, float, int, float]], preset: Preset, seconds: float
) -> bytes:
    """Return a Standard MIDI File of one track: start and length in s, key, velocity in (0, 1]."""
    channel = _DRUM_CHANNEL if preset.drums else 0
    head = bytes([0, 0xB0 | channel, 0, preset.bank]) if preset.bank else b""
    head += bytes([0, 0xC0 | channel, preset.program])
    events = []
    for start_s, length_s, key, velocity in notes:
        loud = max(1, min(127, round(127 * velocity)))
        end_s = min(start_s + length_s, seconds)
        events.append((round(start_s * _TICKS_PER_S), 1, bytes([0x90 | channel, key, loud])))
        events.append((round(end_s * _TICKS_PER_S), 0, bytes([0x80 | channel, key, 0])))
    events.append((round(seconds * _TICKS_PER_S), 2, b"\xff\x2f\x00"))
    body, now = head, 0
    for tick, _, message in sorted(events):
        body += _variable(max(0, tick - now)) + message
        now = max(now, tick)
    track = b"MTrk" + struct.pack(">I", len(body)) + body
    return b"MThd" + struct.pack(">IHHH", 6, 0, 1, _TICKS_PER_S // 2) + track


def _variable(number: int) -> bytes:
    """Return a number seven bits a byte, as MIDI files do."""
    digits = [number & 0x7F]
    while number := number >> 7:
        digits.append(number & 0x7F | 0x80)
    return bytes(reversed(digits))
