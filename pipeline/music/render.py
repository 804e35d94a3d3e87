"""Plays a score: true stems, and the mix of them.

Nothing is humanised: what the score says is where it sounds, to the sample.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pipeline.music import synth
from pipeline.music.score import STEMS, Piece
from pipeline.music.voice import SINGERS

CEILING = 0.89  # -1 dB, so that MP3 may overshoot without clipping

_VOICES = {**synth.VOICES, **SINGERS}
_ROOM = {"drums": 0.1, "other": 0.3, "vocals": 0.2}  # how wet


def render(piece: Piece) -> dict[str, NDArray[np.float32]]:
    """Play a piece into its true stems, float32, shape `(2, samples)`, at 44.1 kHz.

    Their sum is the mix before the limiter; it may exceed ±1. Nobody sings in a piece without a
    part for it: that stem is silent.
    """
    length = synth.samples(piece.duration_s)
    stems: dict[str, synth.Sound] = {name: np.zeros((2, length), np.float32) for name in STEMS}
    noise = np.random.default_rng(piece.seed)
    for hit in piece.hits:
        at_s = piece.time_s(hit.start_beats)
        synth.add(stems["drums"], synth.DRUMS[hit.drum](noise), at_s=at_s, level=hit.velocity)
    for part in piece.parts:
        play = _VOICES[part.voice]
        for note in part.notes:
            hz = 440.0 * 2.0 ** ((note.pitch - 69) / 12.0)
            at_s = piece.time_s(note.start_beats)
            sound = play(hz, piece.time_s(note.length_beats))
            synth.add(stems[part.stem], sound, at_s=at_s, level=part.level)
    if piece.duck:
        stems["other"] *= synth.ducking(piece.onsets_s("kick"), length, depth=piece.duck)
    for name, wet in _ROOM.items():
        stems[name] = synth.with_room(stems[name], noise, wet=wet, decay_s=piece.room_s)
    gain = np.float32(10.0 ** (piece.gain_db / 20.0))
    return {name: stem * gain for name, stem in stems.items()}


def mastered(stems: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    """Return the stems under the limiter of their mix: their sum is what `master` gives."""
    mix: synth.Sound = np.stack(list(stems.values())).sum(axis=0)
    gain = synth.limiter_gain(mix, ceiling=CEILING)
    return {name: stem * gain for name, stem in stems.items()}


def master(stems: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return the sum of the stems, limited to -1 dB."""
    mix: synth.Sound = np.stack(list(stems.values())).sum(axis=0)
    return mix * synth.limiter_gain(mix, ceiling=CEILING)
