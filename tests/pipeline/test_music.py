from __future__ import annotations

import hashlib
import time
from pathlib import Path

import numpy as np
import pyloudnorm
import pytest
import soundfile
from numpy.typing import NDArray

from pipeline.music.bundle import BUNDLED, FOLDER, write
from pipeline.music.compose import compose
from pipeline.music.pieces import PIECES
from pipeline.music.render import CEILING, master, mastered, render
from pipeline.music.score import STEMS, Piece
from pipeline.music.synth import DRUMS, RATE_HZ, VOICES, limiter_gain, samples
from pipeline.music.voice import SINGERS
from training.music.songs import TEST

each_piece = pytest.mark.parametrize("piece", BUNDLED, ids=lambda piece: piece.file_name)
written_by_hand = pytest.mark.parametrize("piece", PIECES, ids=lambda piece: piece.file_name)


@pytest.fixture(scope="module")
def rendered() -> dict[str, dict[str, NDArray[np.float32]]]:
    return {piece.file_name: render(piece) for piece in BUNDLED}


Rendered = dict[str, dict[str, NDArray[np.float32]]]


def _bundled() -> list[Path]:
    return [FOLDER / piece.file_name for piece in BUNDLED]


@each_piece
def test_the_stems_under_the_limiter_are_the_mix(piece: Piece, rendered: Rendered) -> None:
    stems = mastered(rendered[piece.file_name])

    assert tuple(stems) == STEMS
    np.testing.assert_allclose(sum(stems.values()), master(rendered[piece.file_name]), atol=1e-6)


def test_no_bundled_piece_is_in_what_is_learned_from() -> None:
    assert all(piece.seed in TEST for piece in BUNDLED)


def test_the_bundled_files_are_what_the_scores_play(rendered: Rendered) -> None:
    for piece, file in zip(BUNDLED, _bundled(), strict=True):
        mix = master(rendered[piece.file_name])
        audio = soundfile.read(file, dtype="float32")[0].T[:, : mix.shape[1]]
        noise = np.mean(np.square(audio - mix)) / np.mean(np.square(mix))

        # 16 bits; MP3 and Vorbis keep what one hears.
        assert 10 * np.log10(noise) < (-60 if file.suffix == ".flac" else -12)


def test_the_same_bytes_are_written_each_time(tmp_path: Path) -> None:
    piece = BUNDLED[0]

    write(piece, tmp_path / piece.file_name)

    again = (tmp_path / piece.file_name).read_bytes()
    assert hashlib.sha256(again).digest() == hashlib.sha256(_bundled()[0].read_bytes()).digest()


def test_the_bundle_is_stereo_at_44100_hz_in_three_formats_and_small() -> None:
    kinds = [
        (info.format, info.subtype, info.channels, info.samplerate)
        for info in map(soundfile.info, _bundled())
    ]

    flac, mp3 = ("FLAC", "PCM_16", 2, 44_100), ("MP3", "MPEG_LAYER_III", 2, 44_100)
    assert kinds == [flac, flac, mp3, ("OGG", "VORBIS", 2, 44_100), mp3]
    assert {file.name for file in FOLDER.iterdir()} == {file.name for file in _bundled()}
    assert sum(file.stat().st_size for file in _bundled()) < 5_000_000


def test_each_file_lasts_between_12_and_20_seconds_as_its_score_says() -> None:
    for piece, info in zip(BUNDLED, map(soundfile.info, _bundled()), strict=True):
        assert 12.0 < info.duration < 20.0
        assert info.duration == pytest.approx(piece.duration_s, abs=0.06)  # MP3 pads whole frames


def test_no_file_clips_or_is_silent_or_far_from_minus_15_lufs() -> None:
    for file in _bundled():
        audio, rate_hz = soundfile.read(file)

        assert np.abs(audio).max() < 1.0
        loudness_lufs = pyloudnorm.Meter(rate_hz).integrated_loudness(audio)
        assert loudness_lufs == pytest.approx(-15.0, abs=1.5)


def test_a_flac_holds_the_stems_summed_and_limited(rendered: Rendered) -> None:
    for piece, file in zip(BUNDLED[:2], _bundled()[:2], strict=True):
        mix = np.sum(list(rendered[piece.file_name].values()), axis=0)
        audio = soundfile.read(file, dtype="float32")[0].T

        gain = limiter_gain(mix, ceiling=CEILING)
        # One step of 16 bits; the limiter hardly works: it holds back peaks, not the music.
        np.testing.assert_allclose(audio, mix * gain, atol=2.0**-15)
        assert np.median(gain) > 0.95
        assert gain.min() > 0.7


@each_piece
def test_every_stem_with_a_part_sounds_and_all_have_one_length(
    piece: Piece, rendered: Rendered
) -> None:
    stems = rendered[piece.file_name]

    assert tuple(stems) == ("drums", "bass", "other", "vocals")
    sung = any(part.stem == "vocals" for part in piece.parts)
    assert stems["vocals"].any() == sung
    for stem in stems.values() if sung else list(stems.values())[:3]:
        assert stem.dtype == np.float32
        assert stem.shape == (2, samples(piece.duration_s))
        assert np.isfinite(stem).all()
        assert 0.02 < np.sqrt(np.mean(stem**2)) < 0.3
        assert abs(stem.mean()) < 2e-3


@each_piece
def test_nothing_is_cut_off_at_the_end(piece: Piece, rendered: Rendered) -> None:
    mix = master(rendered[piece.file_name])

    assert np.abs(mix[:, -samples(0.05) :]).max() < 0.01


@written_by_hand
def test_kicks_sound_where_the_score_says_and_nowhere_else(
    piece: Piece, rendered: Rendered
) -> None:
    quiet_s, frame_s = 0.2, 0.01
    drums = rendered[piece.file_name]["drums"].mean(axis=0)
    low = _below(np.pad(drums, (samples(quiet_s), 0)), hz=120.0)
    frames = low.size // samples(frame_s)
    power = (low[: frames * samples(frame_s)] ** 2).reshape(frames, -1).mean(axis=1)

    rises = (power[4:] > 0.15 * power.max()) & (power[4:] > 3.0 * power[:-4])
    heard_s = (np.flatnonzero(rises) + 4) * frame_s - quiet_s

    distances_s = np.abs(np.subtract.outer(heard_s, piece.onsets_s("kick")))
    assert distances_s.min(axis=0).max() < 0.03  # each of the score is heard
    assert distances_s.min(axis=1).max() < 0.06  # nothing else is


def _below(signal: NDArray[np.float32], *, hz: float) -> NDArray[np.float64]:
    spectrum = np.fft.rfft(signal)
    spectrum[np.fft.rfftfreq(signal.size, 1.0 / RATE_HZ) > hz] = 0.0
    low: NDArray[np.float64] = np.fft.irfft(spectrum, signal.size)
    return low


def test_a_kick_on_every_beat_is_on_the_tempo_grid() -> None:
    piece = PIECES[2]

    beats = [60.0 / piece.tempo_bpm * beat for beat in range(piece.beats)]

    assert piece.onsets_s("kick") == pytest.approx(beats)


@written_by_hand
def test_every_voice_of_a_score_ends_within_its_beats_and_in_its_key(piece: Piece) -> None:
    tonic, mode = piece.key.split()
    steps = (0, 2, 4, 5, 7, 9, 11) if mode == "major" else (0, 2, 3, 5, 7, 8, 10)
    scale = {({"A": 9, "D": 2, "G": 7}[tonic] + step) % 12 for step in steps}
    notes = [note for part in piece.parts for note in part.notes]

    ends = {part.notes[-1].start_beats + part.notes[-1].length_beats for part in piece.parts}

    assert ends == {piece.beats}
    assert piece.beats % piece.beats_per_bar in (0, 1)
    assert all(0 <= hit.start_beats < piece.beats for hit in piece.hits)
    assert np.mean([note.pitch % 12 in scale for note in notes]) > 0.9


def test_the_three_pieces_differ_in_tempo_key_and_voices() -> None:
    assert len({piece.tempo_bpm for piece in PIECES}) == 3
    assert len({piece.key for piece in PIECES}) == 3
    assert len({frozenset(part.voice for part in piece.parts) for piece in PIECES}) == 3


@pytest.mark.parametrize(
    ("name", "hz"),
    [
        *((name, hz) for name in VOICES for hz in (55.0, 440.0)),
        *((name, 220.0) for name in SINGERS),
    ],
)
def test_a_voice_sounds_at_the_pitch_it_is_given(name: str, hz: float) -> None:
    sound = {**VOICES, **SINGERS}[name](hz, 1.0).mean(axis=0)
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(sound.size), 8 * RATE_HZ))

    # The strength of a pitch is that of its first harmonics.
    def strength(pitch_hz: float, orders: tuple[int, ...] = (1, 2, 3)) -> float:
        # Within 30 cents, as a voice with vibrato wanders.
        ends = [round(8 * order * pitch_hz * 2 ** (cents / 1200)) for order in orders
                for cents in (-30, 30)]  # fmt: skip
        return float(
            sum(spectrum[a - 8 : b + 9].max() for a, b in zip(ends[::2], ends[1::2], strict=True))
        )

    assert strength(hz) > 3.0 * strength(hz * 2.0**0.5)  # a tritone beside it
    assert strength(hz, (1,)) > 0.1 * spectrum.max()  # not its octave
    assert np.abs(sound[:2]).max() < 0.1
    assert np.abs(sound[-2:]).max() < 0.01


@pytest.mark.parametrize("name", DRUMS)
def test_a_drum_is_struck_at_its_beginning_and_dies_away(name: str) -> None:
    sound = DRUMS[name](np.random.default_rng(1))

    assert np.abs(sound[:, : samples(0.02)]).max() > 0.3
    assert np.abs(sound[:, -2:]).max() < 0.01


@pytest.mark.parametrize("length", [1, 63, 64, 65, 44_100])
def test_the_limiter_holds_any_signal_and_leaves_quiet_ones_alone(length: int) -> None:
    noise = np.random.default_rng(7).standard_normal((2, length)).astype(np.float32)
    noise[:, length // 2] = 9.0

    held = noise * limiter_gain(noise, ceiling=0.5)

    assert np.abs(held).max() <= 0.5 + 1e-6
    assert (limiter_gain(noise * 0.01, ceiling=0.5) == 1.0).all()


def test_a_seed_is_one_song_and_another_seed_another() -> None:
    assert compose(3) == compose(3)
    assert len({(song.key, song.tempo_bpm) for song in map(compose, range(12))}) > 10


@pytest.mark.parametrize("seed", range(20))
def test_a_song_stays_in_its_key_and_ends_together_on_its_tonic(seed: int) -> None:
    song = compose(seed)
    tonic, mode = song.key.split()
    names = {"C": 0, "Db": 1, "D": 2, "Eb": 3, "E": 4, "F": 5, "F#": 6, "G": 7, "Ab": 8, "A": 9,
             "Bb": 10, "B": 11}  # fmt: skip
    steps = (0, 2, 4, 5, 7, 9, 11) if mode == "major" else (0, 2, 3, 5, 7, 8, 10)
    notes = [note for part in song.parts for note in part.notes]

    assert {(note.pitch - names[tonic]) % 12 for note in notes} <= set(steps)
    last = [note for note in notes if note.start_beats == song.beats - 1]
    assert {(note.pitch - names[tonic]) % 12 for note in last} <= {0, steps[2], 7}
    assert any(note.pitch % 12 == names[tonic] for note in last)
    assert all(note.start_beats + note.length_beats <= song.beats for note in notes)
    assert {part.stem for part in song.parts} == {"bass", "other", "vocals"}
    assert all(48 <= note.pitch <= 81 for part in song.parts for note in part.notes
               if part.stem == "vocals")  # fmt: skip


def test_a_vowel_is_loudest_at_its_first_formant() -> None:
    def loudest_hz(vowel: str) -> float:
        sound = SINGERS[f"voice {vowel}"](110.0, 1.0).mean(axis=0)
        spectrum = np.abs(np.fft.rfft(sound * np.hanning(sound.size)))
        return float(np.argmax(spectrum) * RATE_HZ / sound.size)

    assert loudest_hz("a") == pytest.approx(650.0, abs=60.0)
    assert loudest_hz("i") == pytest.approx(290.0, abs=60.0)


def test_all_of_it_is_rendered_within_seconds() -> None:
    started_s = time.process_time()

    for piece in PIECES:
        master(render(piece))

    # Measured: 1.7 s on one core. The bound is for a slower one.
    assert time.process_time() - started_s < 6.0


def test_note_names_mean_the_pitches_they_name() -> None:
    keys = PIECES[0].parts[1]

    chord = [note.pitch for note in keys.notes if note.start_beats == 12.0]

    assert chord == [55, 58, 61, 64]  # G3 Bb3 C#4 E4
