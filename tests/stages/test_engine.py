"""The separator on real networks, and on fakes that fail: packing, order, shifts, bags, memory."""

from __future__ import annotations

import itertools
import random
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile
import torch
from demucs.apply import BagOfModels, apply_model
from demucs.demucs import Demucs
from demucs.hdemucs import HDemucs
from numpy.typing import NDArray
from torch import Tensor

from stages.base import Reason, TrackUnusable
from stages.demucs_loader import DemucsModel, Network, load_model
from stages.engine import compute as computing
from stages.engine.coming import Coming, Copy
from stages.engine.compute import Compute, Poisoned
from stages.engine.quality import Residual
from stages.engine.separator import Event, Failed, Separated, Separator, Stems
from stages.engine.song import Passing, Row, Song, offset
from stages.mix import Mix, mix_of_file, mix_of_samples
from stages.weights import find_model
from tests.models import SOURCES, random_network, write_model

pytestmark = pytest.mark.usefixtures("one_thread")

RATE_HZ = 44_100
SEGMENT = 11_025  # of the model, a quarter of a second
Samples = NDArray[np.float32]
Result = dict[int, "Samples | Exception"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> DemucsModel:
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    write_model(path, {"segment": Fraction(1, 4)})
    return load_model(find_model(str(path)))


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> str:
    """A device beside the CPU that computes as the CPU does."""
    return _pretend(monkeypatch)


def _pretend(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(computing, "_is_beside_cpu", lambda device: True)
    return "cpu"


def _music(samples: int, seed: int = 0) -> Samples:
    """Tones and noise on an offset, a quiet passage, then silence: what shows mistakes."""
    generator = np.random.default_rng(seed)
    seconds = np.arange(samples) / RATE_HZ
    tones = 0.2 * np.sin(2 * np.pi * 220 * seconds) + 0.1 * np.sin(2 * np.pi * 1_333 * seconds)
    music = tones + 0.1 * generator.standard_normal((2, samples)) + 0.02
    music[:, samples // 2 : samples * 3 // 4] *= 0.001
    music[:, samples * 7 // 8 :] = 0.0 if samples > 8 else 0.3
    return music.astype(np.float32)


def _song(number: int, music: Samples, *, seed: bytes = b"") -> Song:
    return Song(number, mix_of_samples(music, RATE_HZ, model_rate_hz=RATE_HZ), seed)


def _results(events: Iterator[Event] | Sequence[Event]) -> Result:
    """Return the stems of each song, or why it failed; and check the order of events."""
    parts: dict[int, list[Samples]] = {}
    results: Result = {}
    for event in events:
        number = event.song.id
        assert number not in results, "an event after the last"
        if isinstance(event, Stems):
            got = parts.setdefault(number, [])
            assert event.offset == sum(part.shape[2] for part in got)
            assert np.array_equal(event.peaks[:, 0], event.samples.min(axis=(1, 2)))
            assert np.array_equal(event.peaks[:, 1], event.samples.max(axis=(1, 2)))
            got.append(event.samples)
        elif isinstance(event, Failed):
            results[number] = event.error
        else:
            results[number] = np.concatenate(parts[number], axis=2)
    return results


def _separated(
    model: DemucsModel, songs: Sequence[Song], *, batch: int = 1, **options: float | int
) -> Result:
    compute = Compute(model.networks, batch=batch)
    return _results(Separator(model, compute, **options).separate(songs))  # type: ignore[arg-type]


def _stems(result: Result, number: int) -> Samples:
    stems = result[number]
    assert not isinstance(stems, Exception), stems
    return stems


def _demucs(
    network: Network | BagOfModels, music: Samples, *, shifts: int = 0, overlap: float = 0.25
) -> Samples:
    """What Demucs itself gives, as written in its `Separator.separate_tensor`."""
    wav = torch.from_numpy(music.copy())
    ref = wav.mean(0)
    std = ref.std() + 1e-8 if wav.shape[1] > 1 else 1.0
    with torch.no_grad():
        normed = ((wav - ref.mean()) / std)[None]
        out = apply_model(network, normed, shifts=shifts, overlap=overlap)[0]
    stems: Samples = (out * std + ref.mean()).numpy()
    return stems


def _sdr_db(expected: Samples, found: Samples) -> float:
    exact = expected.astype(np.float64)
    error = np.sum((exact - found) ** 2)
    return float(10 * np.log10(np.sum(exact**2) / error)) if error else np.inf


LENGTHS = [1, 4_410, SEGMENT, SEGMENT + 1, 3 * SEGMENT + 7, 7 * SEGMENT]


# ---- equality


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("batch", [1, 3])
def test_songs_of_all_lengths_together_are_what_demucs_gives_each_alone(
    model: DemucsModel, batch: int
) -> None:
    songs = [_song(number, _music(samples)) for number, samples in enumerate(LENGTHS)]

    result = _separated(model, songs, batch=batch)

    for number, samples in enumerate(LENGTHS):
        expected = _demucs(model.bag, _music(samples))
        assert _stems(result, number).shape == expected.shape
        assert _sdr_db(expected, _stems(result, number)) >= 110


@pytest.mark.usefixtures("device")
def test_a_song_s_bits_depend_on_neither_order_nor_neighbours(model: DemucsModel) -> None:
    songs = [_song(number, _music(samples, number)) for number, samples in enumerate(LENGTHS)]
    alone = {song.id: _stems(_separated(model, [song], batch=4), song.id) for song in songs}
    shuffled = random.Random(1).sample(songs, len(songs))

    for order in (songs, songs[::-1], shuffled):
        packed = _separated(model, order, batch=4)
        for number, stems in alone.items():
            assert np.array_equal(_stems(packed, number), stems)


@pytest.mark.usefixtures("device")
def test_segments_of_several_songs_share_a_batch(model: DemucsModel) -> None:
    compute = Compute(model.networks, batch=4)
    forwards = _counted(compute)

    _results(Separator(model, compute).separate([_song(n, _music(4_410)) for n in range(6)]))

    assert forwards == [(4, 2, SEGMENT), (4, 2, SEGMENT)]


@pytest.mark.parametrize("behind", [True, False], ids=["a device beside the CPU", "a CPU"])
def test_a_device_has_its_next_batch_before_the_stems_of_the_last_are_looked_at(
    model: DemucsModel, monkeypatch: pytest.MonkeyPatch, behind: bool
) -> None:
    if behind:
        _pretend(monkeypatch)
    compute = Compute(model.networks)
    forwards = _counted(compute)
    begun = [
        len(forwards)
        for event in Separator(model, compute).separate([_song(0, _music(4 * SEGMENT))])
        if isinstance(event, Stems)
    ]

    segments = len(begun)
    assert segments > 3
    ahead = 1 if behind else 0
    assert begun == [min(number + ahead, segments) for number in range(1, segments + 1)]


def _counted(compute: Compute) -> list[tuple[int, ...]]:
    """Note the shape of every forward of the first network."""
    shapes: list[tuple[int, ...]] = []
    run = compute._runs[0]

    def counting(mix: Tensor) -> Tensor:
        shapes.append(tuple(mix.shape))
        return run(mix)

    compute._runs[0] = counting
    return shapes


@pytest.mark.parametrize("overlap", [0.0, 0.1, 0.3, 0.6, 0.8])
def test_every_overlap_is_demucs_own(model: DemucsModel, overlap: float) -> None:
    music = _music(4 * SEGMENT)

    stems = _stems(_separated(model, [_song(0, music)], overlap=overlap), 0)

    assert _sdr_db(_demucs(model.bag, music, overlap=overlap), stems) >= 110


@pytest.mark.parametrize("samples", [1, 4_410, 3 * SEGMENT])
@pytest.mark.parametrize("shifts", [1, 3])
def test_shifts_are_demucs_own_at_offsets_that_follow_from_the_seed(
    model: DemucsModel, monkeypatch: pytest.MonkeyPatch, samples: int, shifts: int
) -> None:
    music, seed = _music(samples), b"the hash of a file"
    offsets = [offset(seed, number, RATE_HZ // 2) for number in range(shifts)]
    drawn = iter(offsets)
    monkeypatch.setattr("demucs.apply.random.randint", lambda low, high: next(drawn))

    stems = _stems(_separated(model, [_song(0, music, seed=seed)], shifts=shifts), 0)

    assert _sdr_db(_demucs(model.bag, music, shifts=shifts), stems) >= 110
    assert len(set(offsets)) == shifts
    other = _stems(_separated(model, [_song(0, music, seed=b"other")], shifts=shifts), 0)
    assert samples == 1 or not np.array_equal(stems, other)


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("shifts", [0, 2])
def test_a_bag_of_networks_of_several_classes_is_what_demucs_gives(
    monkeypatch: pytest.MonkeyPatch, shifts: int
) -> None:
    torch.manual_seed(0)
    networks: list[Network] = [
        random_network(
            {"sources": SOURCES, "channels": 8, "t_layers": 1, "t_heads": 4, "segment": 2}, seed=5
        ),
        HDemucs(SOURCES, channels=4, segment=1).eval(),
        Demucs(SOURCES, channels=4, depth=3, segment=1.5).eval(),
    ]
    rows = [[1.0, 0.5, 0.0, 1.0], [0.0, 2.0, 1.0, 1.0], [1.0, 0.0, 0.5, 3.0]]
    bag = BagOfModels(networks, rows)
    model = DemucsModel(bag, tuple(networks), tuple(SOURCES), tuple(SOURCES), RATE_HZ)
    music = _music(3 * SEGMENT + 17)
    monkeypatch.setattr(
        "demucs.apply.random.randint",
        _cycled([offset(b"", number, RATE_HZ // 2) for number in range(max(shifts, 1))]),
    )

    stems = _stems(_separated(model, [_song(0, music)], batch=2, shifts=shifts), 0)

    assert _sdr_db(_demucs(bag, music, shifts=shifts), stems) >= 110


def _cycled(values: list[int]) -> Callable[[int, int], int]:
    drawn = iter(values * 10)
    return lambda low, high: next(drawn)


def test_the_residual_is_that_of_all_stems_and_the_mix(model: DemucsModel) -> None:
    music = _music(3 * SEGMENT)
    events = list(Separator(model, Compute(model.networks)).separate([_song(0, music)]))

    last = events[-1]

    assert isinstance(last, Separated)
    total = _stems(_results(events), 0).astype(np.float64).sum(axis=0)
    expected = 10 * np.log10(np.sum((music - total) ** 2) / np.sum(music.astype(np.float64) ** 2))
    assert last.residual_db == pytest.approx(expected, abs=1e-4)


def test_with_a_source_left_out_there_is_no_residual(model: DemucsModel) -> None:
    cut = replace(model, stems=("bass",))
    *_, last = Separator(cut, Compute(model.networks)).separate([_song(0, _music(4_410))])

    assert isinstance(last, Separated)
    assert last.residual_db is None


# ---- one song fails, the others go on


class _Breaking:
    """A mix whose second reading breaks off."""

    def __init__(self, mix: Mix, after: int, error: Exception) -> None:
        self._mix, self._after, self._error = mix, after, error

    def __call__(self) -> Iterator[Samples]:
        yield from itertools.islice(self._mix.blocks(), self._after)
        raise self._error


def _broken(song: Song, error: Exception, *, after: int = 1) -> Song:
    opened = _Breaking(song.mix, after, error)
    return replace(song, mix=replace(song.mix, _open=opened))  # type: ignore[arg-type]


def _three() -> list[Song]:
    return [_song(number, _music(4 * SEGMENT, number)) for number in range(3)]


@pytest.fixture(scope="module")
def undisturbed(model: DemucsModel) -> Result:
    """What three songs give of which none fails."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        _pretend(monkeypatch)
        return _separated(model, _three(), batch=4)


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("bad", [0, 1, 2])
@pytest.mark.parametrize("after", [0, 1, 2])
@pytest.mark.parametrize(
    "error",
    [TrackUnusable(Reason.IO, "the file changed while it was read"), ValueError("a bug")],
    ids=["unusable", "bug"],
)
def test_a_song_that_cannot_be_read_on_fails_alone(
    model: DemucsModel, undisturbed: Result, bad: int, after: int, error: Exception
) -> None:
    """Also at its very end, where all of its stems were given."""
    songs = _three()
    songs[bad] = _broken(songs[bad], error, after=after)

    result = _separated(model, songs, batch=4)

    assert result[bad] is error
    for number in {0, 1, 2} - {bad}:
        assert np.array_equal(_stems(result, number), _stems(undisturbed, number))


@pytest.mark.parametrize("bad", [0, 1])
def test_a_song_whose_stems_cannot_be_overlapped_fails_alone(
    model: DemucsModel, bad: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    songs = [_song(number, _music(2 * SEGMENT, number)) for number in range(2)]
    expected = _separated(model, songs)
    error = RuntimeError("no memory for the sum")
    _fail_to_add(monkeypatch, songs[bad], error)

    result = _separated(model, songs)

    assert result[bad] is error
    assert np.array_equal(_stems(result, 1 - bad), _stems(expected, 1 - bad))


def _fail_to_add(monkeypatch: pytest.MonkeyPatch, song: Song, error: Exception) -> None:
    add = Passing.add

    def failing(passing: Passing, row: Row, stems: Tensor) -> None:
        if passing.song is song:
            raise error
        add(passing, row, stems)

    monkeypatch.setattr(Passing, "add", failing)


@pytest.mark.parametrize("samples", [-1, 1])
def test_a_mix_that_is_not_as_long_as_it_was_fails(model: DemucsModel, samples: int) -> None:
    song = _song(0, _music(2 * SEGMENT))
    longer = replace(song, mix=replace(song.mix, samples=song.mix.samples + samples))

    result = _separated(model, [longer])

    assert isinstance(result[0], TrackUnusable)
    assert result[0].reason is Reason.IO
    assert ("less" if samples > 0 else "more") in str(result[0])


def _failing_on(compute: Compute, marked: float, error: Exception | None) -> None:
    """Let every forward fail in which a row holds a certain sample; without an error it gives NaN."""
    run = compute._runs[0]

    def failing(mix: Tensor) -> Tensor:
        rows = (mix == marked).flatten(1).any(1)
        if error is not None and rows.any():
            raise error
        stems = run(mix)
        stems[rows] = torch.nan
        return stems

    compute._runs[0] = failing


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("error", [None, RuntimeError("this row cannot be")], ids=["NaN", "raises"])
@pytest.mark.parametrize("bad", [0, 1, 2])
def test_a_row_that_the_network_cannot_take_fails_its_song_alone(
    model: DemucsModel, error: Exception | None, bad: int
) -> None:
    songs = [_song(number, _music(3 * SEGMENT, number)) for number in range(3)]
    expected = _separated(model, songs, batch=4)
    compute = Compute(model.networks, batch=4)
    mix = songs[bad].mix
    sample = next(mix.blocks())[0, 20_000]
    _failing_on(compute, float((sample - np.float32(mix.mean)) / np.float32(mix.std)), error)

    result = _results(Separator(model, compute).separate(songs))

    failed = result[bad]
    assert isinstance(failed, Exception)
    assert "not finite, the first at 0" in str(failed) if error is None else failed is error
    for number in {0, 1, 2} - {bad}:
        assert np.array_equal(_stems(result, number), _stems(expected, number))


def test_a_song_that_is_dropped_costs_nothing_more(model: DemucsModel) -> None:
    compute = Compute(model.networks)
    forwards = _counted(compute)
    separator = Separator(model, compute)
    long, brief = _song(0, _music(20 * SEGMENT)), _song(1, _music(4_410, 1))
    kept: list[Event] = []

    for event in separator.separate([long, brief]):
        if event.song is long:
            separator.drop(long)
        else:
            kept.append(event)

    assert np.array_equal(_stems(_results(kept), 1), _stems(_separated(model, [brief]), 1))
    assert len(forwards) == 2


@pytest.mark.usefixtures("device")
def test_a_song_that_comes_late_is_not_waited_for(model: DemucsModel) -> None:
    compute = Compute(model.networks, batch=4)
    asked: list[bool] = []
    songs = [_song(0, _music(4_410)), None, _song(1, _music(4_410)), None, None, None]

    def take(wait: bool) -> Song | None:
        asked.append(wait)
        return songs.pop(0)

    result = _results(Separator(model, compute).run(take))

    # While a row is at hand, or stems are to be fetched, nobody waits; with nothing to do somebody
    # must.
    assert asked == [True, False, False, False, False, True]
    assert set(result) == {0, 1}


def test_leaving_early_closes_what_is_being_read(model: DemucsModel) -> None:
    closed: list[int] = []
    song = _song(0, _music(20 * SEGMENT))

    def reading() -> Iterator[Samples]:
        try:
            yield from song.mix.blocks()
        finally:
            closed.append(1)

    watched = replace(song, mix=replace(song.mix, _open=reading))  # type: ignore[arg-type]
    events = Separator(model, Compute(model.networks)).separate([watched])
    next(events)
    assert not closed

    events.close()  # type: ignore[attr-defined]

    assert closed


# ---- memory


class _SmallDevice:
    """A device with room for so many segments at once; the CPU beside it has room for all."""

    def __init__(
        self,
        compute: Compute,
        rooms: int,
        error: Exception = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),  # noqa: B008
    ) -> None:
        self.forwards: list[int] = []
        run = compute._runs[0]

        def limited(mix: Tensor) -> Tensor:
            self.forwards.append(len(mix))
            if len(mix) > rooms:
                raise error
            return run(mix)

        compute._runs[0] = limited


@pytest.mark.parametrize(("rooms", "tried"), [(4, [7, 4, 4]), (3, [7, 4, 2, 2, 2, 2]), (1, None)])
def test_where_memory_is_short_the_batch_is_halved_for_good(
    model: DemucsModel, device: str, rooms: int, tried: list[int] | None
) -> None:
    songs = [_song(number, _music(4_410, number)) for number in range(7)]
    compute = Compute(model.networks, device=device, batch=7)
    small = _SmallDevice(compute, rooms)

    result = _results(Separator(model, compute).separate(songs))

    expected = _separated(model, songs, batch=max(size for size in (4, 2, 1) if size <= rooms))
    for number in range(7):
        assert np.array_equal(_stems(result, number), _stems(expected, number))
    assert compute.batch == {4: 4, 3: 2, 1: 1}[rooms]
    if tried is not None:
        assert small.forwards == tried


def test_where_one_segment_does_not_fit_the_cpu_takes_the_song(
    model: DemucsModel, device: str
) -> None:
    song = _song(0, _music(6 * SEGMENT))
    compute = Compute(model.networks, device=device, batch=2)
    small = _SmallDevice(compute, 0)

    events = list(Separator(model, compute).separate([song]))

    assert isinstance(events[-1], Separated)
    assert events[-1].on_cpu
    assert np.array_equal(_stems(_results(events), 0), _stems(_separated(model, [song]), 0))
    # Two in a batch, each alone, and those that were cut before it was known.
    assert len(small.forwards) <= 4


def test_a_cpu_takes_one_segment_at_a_time(model: DemucsModel) -> None:
    compute = Compute(model.networks, batch=8)
    forwards = _counted(compute)

    _results(Separator(model, compute).separate([_song(n, _music(4_410)) for n in range(3)]))

    assert compute.batch == 1
    assert forwards == 3 * [(1, 2, SEGMENT)]


def test_where_the_cpu_has_no_room_either_the_song_fails_and_says_so(model: DemucsModel) -> None:
    compute = Compute(model.networks, batch=2)
    _SmallDevice(compute, 0)

    result = _results(Separator(model, compute).separate([_song(0, _music(4_410))]))

    assert isinstance(result[0], TrackUnusable)
    assert result[0].reason is Reason.MEMORY
    assert f"{SEGMENT} samples on the CPU: CUDA out of memory" in str(result[0])
    assert result[0].__context__ is None


@pytest.mark.parametrize(
    "words",
    [
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuFFT error: CUFFT_ALLOC_FAILED",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory",
    ],
)
def test_a_library_without_memory_for_its_own_work_is_a_lack_of_memory(
    model: DemucsModel, device: str, words: str
) -> None:
    compute = Compute(model.networks, device=device, batch=2)
    _SmallDevice(compute, 1, RuntimeError(words))

    result = _results(
        Separator(model, compute).separate([_song(n, _music(4_410, n)) for n in range(2)])
    )

    assert compute.batch == 1
    assert not any(isinstance(one, Exception) for one in result.values())


def test_a_device_that_another_program_has_filled_is_not_poisoned(
    model: DemucsModel, device: str
) -> None:
    """What loads late finds no room and says so in the words of a broken device."""
    compute = Compute(model.networks, device=device, batch=2)
    _SmallDevice(compute, 1, torch.AcceleratorError("CUDA error: out of memory"))

    events = list(Separator(model, compute).separate([_song(n, _music(4_410)) for n in range(2)]))

    assert not [event for event in events if isinstance(event, Failed)]


def test_a_lack_of_memory_for_the_sum_of_stems_may_pass_by_itself(
    model: DemucsModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    song = _song(0, _music(4_410))
    _fail_to_add(monkeypatch, song, torch.OutOfMemoryError("CUDA out of memory"))

    result = _separated(model, [song])[0]

    assert isinstance(result, TrackUnusable)
    assert result.reason is Reason.MEMORY


@pytest.mark.parametrize("songs", [1, 4])
def test_what_a_failed_forward_has_made_is_let_go_before_the_next(
    model: DemucsModel, device: str, songs: int
) -> None:
    compute = Compute(model.networks, device=device, batch=4)
    made: list[weakref.ref[Tensor]] = []

    def failing(mix: Tensor) -> Tensor:
        assert not any(one() is not None for one in made)
        activations = mix.clone()
        made.append(weakref.ref(activations))
        raise RuntimeError("this cannot be")

    compute._runs[0] = failing
    result = _results(
        Separator(model, compute).separate([_song(n, _music(4_410, n)) for n in range(songs)])
    )

    assert all(isinstance(one, RuntimeError) for one in result.values())
    assert not any(one() is not None for one in made)


def test_a_gpu_convolves_and_multiplies_in_float32_and_not_in_tf32(
    model: DemucsModel, device: str
) -> None:
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cuda.matmul.allow_tf32 = True

    Compute(model.networks, device=device)

    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32


def test_a_device_that_answers_nothing_any_more_ends_the_process_s_work(
    model: DemucsModel, device: str
) -> None:
    compute = Compute(model.networks, device=device)

    def poisoned(_: Tensor) -> Tensor:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    compute._runs[0] = poisoned

    with pytest.raises(Poisoned, match="illegal memory access"):
        list(Separator(model, compute).separate([_song(0, _music(4_410))]))


def test_what_a_device_says_later_ends_the_process_s_work_too(
    model: DemucsModel, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What its kernels did wrong shows when somebody waits for them: here where stems are added."""
    song = _song(0, _music(4_410))
    error = torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
    _fail_to_add(monkeypatch, song, error)

    with pytest.raises(Poisoned, match="illegal memory access"):
        list(Separator(model, Compute(model.networks, device=device)).separate([song]))


@pytest.mark.parametrize("bad", [0, 1])
def test_stems_that_cannot_be_fetched_fail_their_song_alone(
    model: DemucsModel, device: str, bad: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    songs = [_song(number, _music(3 * SEGMENT, number)) for number in range(2)]
    expected = _separated(model, songs, batch=4)
    _fail_to_fetch(monkeypatch, songs[bad], RuntimeError("out of memory for a copy"))

    result = _separated(model, songs, batch=4)

    failed = result[bad]
    assert isinstance(failed, TrackUnusable)
    assert failed.reason is Reason.MEMORY
    assert np.array_equal(_stems(result, 1 - bad), _stems(expected, 1 - bad))


def test_a_song_without_memory_for_its_residual_fails_alone(
    model: DemucsModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    songs = [_song(number, _music(3 * SEGMENT, number)) for number in range(2)]
    expected = _separated(model, songs)
    add = Residual.add
    blocks: list[int] = []

    def failing(residual: Residual, mix: Samples, total: Samples) -> None:
        blocks.append(len(blocks))
        if len(blocks) == 2:
            raise MemoryError
        add(residual, mix, total)

    monkeypatch.setattr(Residual, "add", failing)

    result = _separated(model, songs)

    failed = result[0]
    assert isinstance(failed, TrackUnusable)
    assert failed.reason is Reason.MEMORY
    assert np.array_equal(_stems(result, 1), _stems(expected, 1))


def test_what_a_device_says_when_stems_are_fetched_ends_the_process_s_work(
    model: DemucsModel, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    song = _song(0, _music(4_410))
    error = torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
    _fail_to_fetch(monkeypatch, song, error)

    with pytest.raises(Poisoned, match="illegal memory access"):
        list(Separator(model, Compute(model.networks, device=device)).separate([song]))


def _fail_to_fetch(monkeypatch: pytest.MonkeyPatch, song: Song, error: Exception) -> None:
    begun = Separator._begun

    class Broken(Copy):
        def wait(self) -> list[Samples]:
            raise error

    def failing(separator: Separator, passing: Passing, stems: Tensor, mix: Samples) -> Coming:
        coming = begun(separator, passing, stems, mix)
        return replace(coming, copy=Broken([])) if passing.song is song else coming

    monkeypatch.setattr(Separator, "_begun", failing)


def test_memory_does_not_grow_with_the_length_of_a_song(model: DemucsModel) -> None:
    """The networks are left out: what remains is what the engine keeps of a song."""
    compute = Compute(model.networks)
    compute._runs[0] = lambda mix: mix[:, None].repeat(1, 4, 1, 1)
    minutes = 20
    block = _music(65_536)
    whole = _song(0, block).mix
    blocks = minutes * 60 * RATE_HZ // block.shape[1]

    def reading() -> Iterator[Samples]:
        for _ in range(blocks):
            yield block

    mix = replace(whole, samples=blocks * block.shape[1], _open=reading)  # type: ignore[arg-type]
    resident: list[int] = []
    samples = 0
    for event in Separator(model, compute).separate([Song(0, mix)]):
        if isinstance(event, Stems):
            samples += event.samples.shape[2]
            resident.append(psutil.Process().memory_info().rss)

    assert samples == mix.samples
    tenth = len(resident) // 10
    growth = np.median(resident[-tenth:]) - np.median(resident[tenth : 2 * tenth])
    # The song itself has 423 MB of samples, its stems four times that.
    assert growth < 30e6


def test_a_file_that_is_read_twice_gives_the_samples_of_one_in_memory(
    model: DemucsModel, tmp_path: Path
) -> None:
    music = _music(7 * SEGMENT + 11)
    path = tmp_path / "song.wav"
    soundfile.write(path, music.T, RATE_HZ, subtype="FLOAT")
    file = str(path).encode()
    kept = mix_of_file(file, sample_rate_hz=RATE_HZ)
    streamed = mix_of_file(file, sample_rate_hz=RATE_HZ, keep_bytes=0)
    assert kept == streamed

    result = _separated(model, [Song(0, kept), Song(1, streamed)])

    assert np.array_equal(_stems(result, 0), _stems(result, 1))
    assert np.array_equal(_stems(result, 0), _stems(_separated(model, [_song(2, music)]), 2))
