from __future__ import annotations

import numpy as np
import pytest

from stages.audio import Audio
from stages.downmix import to_mono, to_stereo
from stages.mono import WholeMono
from tests.stages.sounds import song


def test_one_channel_is_the_mean_of_left_and_right() -> None:
    stereo = np.array([[0.5, 0.1], [0.1, -0.3]], np.float32)

    np.testing.assert_array_equal(to_mono(stereo), stereo.mean(axis=0))
    np.testing.assert_array_equal(to_mono(stereo[:1]), stereo[0])


def test_more_channels_become_stereo_first() -> None:
    surround = np.random.default_rng(0).uniform(-0.5, 0.5, (6, 100)).astype(np.float32)

    np.testing.assert_allclose(to_mono(surround), to_stereo(surround).mean(axis=0), rtol=1e-6)


@pytest.mark.parametrize("rate_hz", [8_000, 22_050, 44_100])
def test_mixed_down_then_resampled_is_resampled_then_mixed_down(rate_hz: int) -> None:
    audio = song(seconds=2.0)

    np.testing.assert_allclose(
        audio.mono(rate_hz), to_mono(audio.at_rate(rate_hz)), rtol=0, atol=2e-6
    )


def test_a_view_is_made_once_and_by_its_name() -> None:
    audio, made = song(seconds=0.1), []

    def make() -> int:
        made.append(1)
        return len(made)

    assert [audio.once(name, make) for name in ("a", "a", "b", "a")] == [1, 1, 2, 1]
    assert audio.mono(8_000) is audio.mono(8_000)
    assert audio.at_rate(8_000) is audio.at_rate(8_000)


def test_nothing_stays_nothing_at_any_rate() -> None:
    nothing = Audio(np.zeros((2, 0), np.float32), 44_100)

    assert nothing.at_rate(8_000).shape == (2, 0)
    assert nothing.mono(8_000).shape == (0,)


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 44_100, 96_000])
@pytest.mark.parametrize("expected", [None, 1, 4_001, 1_000_000])
def test_whatever_length_a_decoder_expects_one_channel_is_the_same(
    rate_hz: int, expected: int | None
) -> None:
    music = song(seconds=0.5).samples.T[:4_001]
    known, told = WholeMono(22_050), WholeMono(22_050)

    for sink, frames in ((known, len(music)), (told, expected)):
        sink.begin(sample_rate_hz=rate_hz, channels=2, expected_frames=frames)
        sink.add(np.ascontiguousarray(music))
        sink.end()

    assert np.array_equal(told.samples, known.samples)
    assert len(told.samples) == told.count > 0
