"""The four stems of a song, each before its level in the mix; shape `(2, samples)`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeAlias

import numpy as np

from pipeline.music.synth import Sound, ducking, samples, stereo
from training.music import (
    accompaniment,
    bass_sounds,
    drum_sounds,
    effects,
    instruments,
    vocal_lines,
)
from training.music.arrangement import Plan, present
from training.music.chains import treated
from training.music.chance import between, happens, log_between, pick
from training.music.patterns import bass_part, drum_part
from training.music.score import Hit, Note
from training.music.singer import Singer, sing, singer
from training.music.soundfont import DRUM_KITS, Preset, play_hits, play_notes
from training.music.vocal_lines import Syllable

_Programs: TypeAlias = tuple[tuple[int, int], ...]  # bank and program of General MIDI, from 0
_BASSES: _Programs = (*tuple((0, program) for program in range(32, 40)), (8, 38), (8, 39))
# No choir and no voice among them: those are vocals.
_PIANOS: _Programs = (*tuple((0, p) for p in range(8)), (8, 4), (8, 5))
_MALLETS: _Programs = tuple((0, p) for p in range(8, 16))
_ORGANS: _Programs = (*tuple((0, p) for p in range(16, 22)), (8, 16), (8, 17))
_GUITARS: _Programs = (*tuple((0, p) for p in range(24, 29)), (8, 24), (8, 25), (16, 25))
_STRINGS: _Programs = (*tuple((0, p) for p in (40, 42, 44, 48, 49, 50, 51)), (8, 50))
_BRASSES: _Programs = (*tuple((0, p) for p in range(56, 64)), (8, 61), (8, 62))
_WINDS: _Programs = tuple((0, p) for p in (64, 65, 66, 68, 71, 73, 75, 78, 22, 40, 40))
_LEADS: _Programs = tuple((0, p) for p in (80, 81, 82, 84, 86, 87))
_PADS: _Programs = tuple((0, p) for p in (88, 89, 90, 92, 93, 94, 95))
_PLUCKS: _Programs = tuple((0, p) for p in (104, 105, 106, 107, 108, 45, 46, 98))
_FITTING: Mapping[str, tuple[_Programs, ...]] = MappingProxyType(
    {
        "chords": (_PIANOS, _PIANOS, _ORGANS, _GUITARS),
        "strum": (_GUITARS,),
        "pad": (_STRINGS, _STRINGS, _PADS, _ORGANS),
        "stabs": (_BRASSES, _BRASSES, _PIANOS, _ORGANS),
        "arpeggio": (_GUITARS, _MALLETS, _PIANOS, _PLUCKS, _LEADS),
        "riff": (_GUITARS, _PIANOS, _BRASSES, _LEADS, ((0, 29), (0, 30))),
        "melody": (_WINDS, _LEADS, _BRASSES, _STRINGS, _MALLETS, ((0, 29), (0, 30))),
        "power": (((0, 29), (0, 30)),),
    }
)
_VOICES_OF_THE_SOUNDFONT = (52, 53)  # Choir Aahs, Voice Oohs


def drums(chance: np.random.Generator, whole: Plan) -> tuple[Sound, list[float]]:
    """Return the drums, and when the kick is struck."""
    plays = present(chance, whole, probability=between(chance, 0.6, 1.0))
    hits = drum_part(chance, whole, plays)
    if whole.sampled and happens(chance, 0.8):
        sound = play_hits(hits, Preset(pick(chance, DRUM_KITS), drums=True), seconds=whole.seconds)
        sound = _levelled(effects.widened(sound, between(chance, 0.3, 1.3)))
        if happens(chance, 0.2):  # layers, as in much of today's pop
            layer = [hit for hit in hits if hit.drum in ("kick", "snare", "clap")]
            layer_sound = _synthesised_drums(chance, layer, samples(whole.seconds))
            sound += _levelled(layer_sound) * np.float32(between(chance, 0.3, 1.0))
    else:
        sound = _synthesised_drums(chance, hits, samples(whole.seconds))
    return treated(chance, sound, whole, "drums"), [h.start_s for h in hits if h.drum == "kick"]


def _synthesised_drums(chance: np.random.Generator, hits: list[Hit], length: int) -> Sound:
    kit = drum_sounds.kit(chance)
    bright = log_between(chance, 0.6, 2.2)
    levels = {
        name: between(chance, 0.6, 1.0)
        * _LEVELS.get(name, 0.4)
        * (bright if name in _TOPS else 1.0)
        for name in kit
    }
    return drum_sounds.played(
        [(hit.start_s, hit.drum, levels[hit.drum] * hit.velocity) for hit in hits], kit, length
    )


_TOPS = ("hat", "open hat", "ride", "crash", "shaker", "tambourine")
_LEVELS: Mapping[str, float] = MappingProxyType(
    {"kick": 1.0, "snare": 0.8, "clap": 0.6, "hat": 0.25, "open hat": 0.25, "ride": 0.2,
     "crash": 0.35, "low tom": 0.7, "tom": 0.7, "high tom": 0.7, "shaker": 0.2, "tambourine": 0.25}
)  # fmt: skip


def bass(chance: np.random.Generator, whole: Plan) -> Sound:
    """Return the bass."""
    plays = present(chance, whole, probability=between(chance, 0.6, 1.0))
    notes = bass_part(chance, whole, plays)
    if whole.sampled and happens(chance, 0.75):
        sound = _sampled(chance, notes, (_BASSES,), whole)
    else:
        sound = bass_sounds.bass(chance, notes, samples(whole.seconds))
    return treated(chance, effects.widened(sound, between(chance, 0.0, 0.4)), whole, "bass")


def other(chance: np.random.Generator, whole: Plan, kicks_s: list[float]) -> Sound:
    """Return one to four parts, ducked by the kick in some songs."""
    length = samples(whole.seconds)
    track = np.zeros((2, length), np.float32)
    for _ in range(pick(chance, (1, 2, 2, 3, 3, 4))):
        part = _levelled(_part(chance, whole))
        part = effects.panned(part, float(np.clip(chance.normal(0.0, 0.4), -0.95, 0.95)))
        track += treated(chance, part, whole, "other") * np.float32(between(chance, 0.4, 1.0))
    if happens(chance, 0.08):
        track += np.float32(0.7) * _levelled(instruments.riser(chance, length))
    if happens(chance, 0.2):
        track *= ducking(kicks_s, length, depth=between(chance, 0.2, 0.8))
    return effects.widened(track, between(chance, 0.3, 1.3))


def _part(chance: np.random.Generator, whole: Plan) -> Sound:
    role = pick(chance, accompaniment.ROLES)
    plays = present(chance, whole, probability=between(chance, 0.4, 1.0))
    notes = accompaniment.part(chance, whole, plays, role)
    if whole.sampled and happens(chance, 0.8):
        return _sampled(chance, notes, _FITTING[role], whole)
    return instruments.instrument(chance, role, notes, samples(whole.seconds))


def _sampled(
    chance: np.random.Generator, notes: list[Note], programs: tuple[_Programs, ...], whole: Plan
) -> Sound:
    bank, program = pick(chance, pick(chance, programs))
    return play_notes(notes, Preset(program, bank), seconds=whole.seconds)


def vocals(chance: np.random.Generator, whole: Plan) -> Sound:
    """Return a singer or a rapper, alone or with a second voice."""
    plays = present(chance, whole, probability=between(chance, 0.45, 0.95))
    if whole.sampled and happens(chance, 0.06):
        notes = accompaniment.part(chance, whole, plays, "pad")
        choir = Preset(pick(chance, _VOICES_OF_THE_SOUNDFONT))
        return treated(chance, play_notes(notes, choir, seconds=whole.seconds), whole, "vocals")
    formants, lowest = pick(chance, _REGISTERS)
    who = singer(chance, formants=formants * between(chance, 0.93, 1.07))
    lowest += int(chance.integers(-3, 5))
    likely = 0.35 if whole.style in ("hip hop", "trap") else 0.08
    speaks = happens(chance, likely)
    others = _second if happens(chance, 0.85) else _backing
    line = (vocal_lines.rapped if speaks else vocal_lines.sung)(chance, whole, plays, lowest=lowest)
    lead = stereo(sing(chance, who, line, samples(whole.seconds)))
    return treated(chance, lead + others(chance, whole, who, line, speaks), whole, "vocals")


# How long the throat is (1 is a man's), and the lowest note.
_REGISTERS = (
    (0.95, 43),
    (1.0, 47),
    (1.02, 50),
    (1.14, 54),
    (1.17, 57),
    (1.17, 59),
    (1.2, 61),
    (1.35, 64),
)


def _second(
    chance: np.random.Generator, whole: Plan, who: Singer, line: list[Syllable], speaks: bool
) -> Sound:
    """Return the line again to both sides, or a third above, or nothing."""
    length = samples(whole.seconds)
    if happens(chance, 0.72):
        return np.zeros((2, length), np.float32)
    third = happens(chance, 0.5) and not speaks
    late_s = between(chance, 0.005, 0.03)
    again = [_moved(one, late_s + float(chance.normal(0.0, 0.008)), whole, third) for one in line]
    sound = stereo(sing(chance, who, again, length)) * np.float32(between(chance, 0.3, 0.9))
    return effects.panned(sound, between(chance, -0.9, 0.9))


def _backing(
    chance: np.random.Generator, whole: Plan, who: Singer, line: list[Syllable], speaks: bool
) -> Sound:
    """Return three other singers on the notes of the chords, each at another place."""
    track = np.zeros((2, samples(whole.seconds)), np.float32)
    plays = present(chance, whole, probability=between(chance, 0.3, 0.8))
    chords = accompaniment.part(chance, whole, plays, "backing")
    vowel = pick(chance, ("a", "o", "u", "u", "uh"))
    level = between(chance, 0.25, 0.7)
    for number in range(3):
        voice = singer(chance, formants=who.formants * between(chance, 0.9, 1.15))
        held = [
            Syllable(max(0.15, n.start_s + float(chance.normal(0, 0.02))), n.length_s, n.pitch, 0.0, n.velocity, "", vowel)
            for n in chords[number::3]
        ]  # fmt: skip
        sound = stereo(sing(chance, voice, held, track.shape[1])) * np.float32(level)
        track += effects.panned(sound, between(chance, -0.9, 0.9))
    return track


def _moved(one: Syllable, late_s: float, whole: Plan, third: bool) -> Syllable:
    pitch = one.pitch
    if third:  # three or four semitones, as the scale has them
        above = {(whole.key.tonic + step) % 12 for step in whole.key.scale}
        pitch += 3.0 if (round(pitch) + 3) % 12 in above else 4.0
    return Syllable(
        max(0.15, one.start_s + late_s),
        one.length_s,
        pitch,
        one.fall,
        one.velocity,
        one.consonant,
        one.vowel,
    )


def _levelled(sound: Sound) -> Sound:
    loud = float(np.sqrt(np.mean(sound**2, dtype=np.float64)))
    return sound / np.float32(loud) if loud > 1e-6 else sound
