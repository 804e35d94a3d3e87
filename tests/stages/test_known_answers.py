"""The stages on music whose true tempo, key, onsets and loudness are known."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.music.compose import compose
from tests.truth import Answer, answers, key_score, tempo_class

SONGS = range(1, 20, 3)


@pytest.fixture(scope="module")
def found() -> list[Answer]:
    return list(answers(compose(seed, bars=5) for seed in SONGS))


def test_the_tempo_is_found_by_one_stage_and_but_for_octaves_mostly_by_the_other(
    found: list[Answer],
) -> None:
    essentia = [tempo_class(one.tempo_bpm, one.essentia_bpm) for one in found]
    librosa = [tempo_class(one.tempo_bpm, one.librosa_bpm) for one in found]

    assert essentia.count("right") >= len(found) - 1
    assert librosa.count("wrong") <= 1


def test_the_key_is_found_for_most_songs_by_both_stages(found: list[Answer]) -> None:
    scores = {
        by: np.mean([key_score(one.key, getattr(one, by)) for one in found])
        for by in ("chroma_key", "essentia_key")
    }

    assert scores["chroma_key"] > 0.6
    assert scores["essentia_key"] > 0.8


def test_onsets_are_found_within_50_ms(found: list[Answer]) -> None:
    assert np.mean([one.onset_f for one in found]) > 0.8
    assert np.mean([one.drum_onset_f for one in found]) > 0.8


def test_loudness_is_that_of_another_implementation(found: list[Answer]) -> None:
    for one in found:
        assert one.found_lufs == pytest.approx(one.true_lufs, abs=0.01)
