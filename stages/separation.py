"""Source separation with Demucs: tracks in, one file per stem out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from stages.base import (
    DeviceUnusable,
    Facts,
    Outcome,
    Piece,
    StageBlocked,
    StreamStage,
    Take,
    Tick,
    Track,
    no_tick,
)
from stages.cpu_switches import computes_bfloat16, keep_memory, multiply_with_onednn
from stages.decode import DecodeLimits
from stages.demucs_loader import DemucsModel, load_model
from stages.device import torch_device
from stages.encoders import Encoders
from stages.engine.batch import best_batch, forward_s, name_of
from stages.engine.compute import Compute, Poisoned, precision_of
from stages.engine.segments import Cutting
from stages.engine.separator import Event, Failed, Separated, Separator, Stems
from stages.engine.song import Song
from stages.htdemucs.precision import EXACT, PRECISIONS, Precision
from stages.mix import Mix, mix_of_file, mix_of_samples
from stages.settings import SeparationSettings
from stages.stem_folder import StemFolder
from stages.weights import find_model

logger = logging.getLogger(__name__)

# Beside the tracks whose segments share a batch: one being opened, one being finished.
_BESIDE = 2
_LARGEST_WINDOW = 24

# Beside a GPU. One thread reads FLAC at 690 to 870 times real time, MP3 at 800 to 1,010.
OPENED_AT_ONCE = 4

# Of stems that wait to be encoded: three minutes of four.
_HELD_BYTES = 256 << 20


class Separation(StreamStage[SeparationSettings, Mix]):
    """The stems of the mix, as the model gives them, one file each."""

    def __init__(self, settings: SeparationSettings, *, device: str = "cpu") -> None:
        super().__init__(settings, device=device)
        self._separator: Separator | None = None
        self._precision: Precision = PRECISIONS[settings.precision]
        self._first_batch = 1

    def load(self) -> None:
        self._loaded()

    def open(self, path: bytes, *, limits: DecodeLimits, tick: Tick = no_tick) -> Mix:
        rate_hz = self._loaded().model.sample_rate_hz
        return mix_of_file(path, sample_rate_hz=rate_hz, limits=limits, tick=tick)

    def run(self, track: Track, out: Path) -> Facts:
        audio = track.sources["mix"]
        rate_hz = self._loaded().model.sample_rate_hz
        mix = mix_of_samples(audio.samples, audio.sample_rate_hz, model_rate_hz=rate_hz)
        pieces = iter([Piece(0, track.sha256, mix, out, track.tick)])
        (outcome,) = self.stream(lambda wait: next(pieces, None))
        return outcome.finish()

    def stream(self, take: Take[Mix]) -> Iterator[Outcome]:
        separator = self._loaded()
        folders: dict[Song, StemFolder] = {}
        # A CPU that computes has no time for more; beside a GPU encoding is what takes longest.
        threads = 1 if self.device == "cpu" else torch.get_num_threads()
        with Encoders(threads, held_bytes=_HELD_BYTES) as encoders:

            def next_song(wait: bool) -> Song | None:
                piece = take(wait)
                if piece is None:
                    return None
                song = Song(piece.key, piece.source, piece.sha256.encode(), piece.tick)
                folders[song] = self._folder(piece.out, encoders)
                return song

            try:
                for event in separator.run(next_song):
                    finish = self._taken(event, folders[event.song])
                    if finish is not None:
                        separator.drop(event.song)
                        del folders[event.song]
                        self._remember(separator)
                        yield Outcome(event.song.id, finish)
            finally:
                for folder in folders.values():
                    folder.discard()

    def _taken(self, event: Event, folder: StemFolder) -> Callable[[], Facts] | None:
        """Take what the separator says of a track; return how it ends, if it does."""
        if isinstance(event, Separated):
            # Not the event: its song holds the mix, and may wait long for its turn to be published.
            return partial(_finish, folder, event.residual_db, self._facts(event))
        problem = event.error if isinstance(event, Failed) else folder.write(event)
        return None if problem is None else partial(folder.give_up, problem)

    def _folder(self, out: Path, encoders: Encoders) -> StemFolder:
        model = self._loaded().model
        return StemFolder(
            out,
            model.stems,
            two_stems=self.settings.two_stems,
            sample_rate_hz=model.sample_rate_hz,
            format=self.settings.format,
            encoders=encoders,
        )

    def _facts(self, separated: Separated) -> Facts:
        return {
            "samples": separated.song.mix.samples,
            "precision": self._precision.name,
            "precision_typical_db": self._precision.typical_db,
            "shifts": self.settings.shifts,
            "batch": separated.batch,
            "computed_on": "cpu" if separated.on_cpu else self.device,
        }

    # ---- loading

    def _loaded(self) -> Separator:
        if self._separator is None:
            self._separator = self._load()
        return self._separator

    def _load(self) -> Separator:
        if self.settings.stems and self.settings.two_stems:
            raise StageBlocked(
                f"stems = {', '.join(self.settings.stems)} and two_stems = "
                f"{self.settings.two_stems} exclude each other",
                "Keep one of --stems and --two-stems.",
            )
        self.device = torch_device(self.device)  # what is used, for the numeric path
        model = load_model(find_model(self.settings.model))
        self._check_settings(model)
        if self.settings.stems:
            model = model.only(self.settings.stems)
        self._precision = precision_of(model.networks, self._precision)
        if self._precision.name != self.settings.precision:
            logger.warning("%s computes at exact only", self.settings.model)
        return self._separator_of(model)

    def _separator_of(self, model: DemucsModel) -> Separator:
        self._decide()
        self._check_precision()
        compute = Compute(model.networks, device=self.device, precision=self._precision)
        cutting = Cutting.of(model.networks[0], self.settings.overlap)
        compute.allow(self._batch(compute, cutting.taken(cutting.length)))
        self._first_batch = compute.batch
        self.window = min(_LARGEST_WINDOW, compute.batch + _BESIDE)
        if self.device != "cpu":
            self.opens = min(OPENED_AT_ONCE, torch.get_num_threads())
            self.window = max(self.window, self.opens + _BESIDE)
        logger.info(
            "model=%s device=%s precision=%s batch=%d",
            self.settings.model,
            self.device,
            self._precision.name,
            compute.batch,
        )
        return Separator(model, compute, overlap=self.settings.overlap, shifts=self.settings.shifts)

    def _check_precision(self) -> None:
        if self.device == "cpu" and self._precision is not EXACT and not computes_bfloat16():
            raise StageBlocked(
                f"this processor cannot compute in bfloat16, which precision = "
                f"{self._precision.name} needs",
                "Use --precision exact.",
            )

    def _check_settings(self, model: DemucsModel) -> None:
        asked = {*self.settings.stems, *filter(None, [self.settings.two_stems])}
        unknown = ", ".join(sorted(asked - set(model.sources)))
        if unknown:
            raise StageBlocked(
                f"{self.settings.model} has no stem named {unknown}",
                f"It gives {', '.join(model.sources)}.",
            )
        overlap = self.settings.overlap
        if min(Cutting.of(network, overlap).stride for network in model.networks) < 1:
            raise StageBlocked(
                f"overlap = {overlap} leaves no step between segments",
                "Use an overlap such as 0.25.",
            )

    # ---- what is decided once for a machine

    def _decide(self) -> None:
        """Set the switches of this process as they were set on this machine before.

        What was decided for other models, devices or versions of torch decides nothing here.
        """
        if self.device != "cpu":
            self._keep_decided(self._batch_key())
            return
        matmul = f"products of torch {torch.__version__}"
        self._keep_decided(matmul)
        self.decided["memory"] = "kept" if keep_memory() else "given back"
        if self.decided.get(matmul) != "default":
            self.decided[matmul] = "onednn" if multiply_with_onednn() else "default"

    def _keep_decided(self, mine: str) -> None:
        self.decided = {key: value for key, value in self.decided.items() if key == mine}

    def _batch(self, compute: Compute, samples: int) -> int:
        """Return how many segments of so many samples are to be computed at once.

        What is measured is kept: another batch would be other bits. What there was room for is
        not: another time there may be more.

        Raises:
            DeviceUnusable: it cannot compute one forward.
        """
        batch = self.settings.batch or self._remembered()
        if batch is not None or not compute.runs_behind:
            return batch or 1
        try:
            best = best_batch(partial(forward_s, compute, samples))
        except Poisoned as error:
            raise DeviceUnusable(
                f"The device {self.device} failed in its first forward: {error}",
                "Use --device cpu, or mend the driver.",
            ) from error
        if best.settled:
            self.decided[self._batch_key()] = best.batch
        return best.batch

    def _remembered(self) -> int | None:
        batch = self.decided.get(self._batch_key())
        return batch if isinstance(batch, int) and batch > 0 else None

    def _remember(self, separator: Separator) -> None:
        """Keep the batch that short memory has led to; one that was asked for is no finding."""
        if separator.compute.batch < self._first_batch and self.settings.batch is None:
            self.decided[self._batch_key()] = separator.compute.batch

    def _batch_key(self) -> str:
        model = Path(self.settings.model).name
        return f"batch of {model} ({self._precision.name}) on {name_of(self.device)}"


def _finish(folder: StemFolder, residual_db: float | None, facts: Facts) -> Facts:
    return {**folder.finish(residual_db=residual_db), **facts}


def separate(
    model: DemucsModel,
    mix: NDArray[np.float32],
    *,
    overlap: float = 0.25,
    shifts: int = 0,
    seed: bytes = b"",
    device: str = "cpu",
    precision: Precision = EXACT,
    tick: Tick = no_tick,
) -> dict[str, NDArray[np.float32]]:
    """Return the model's stems of a stereo mix, each of the mix's shape `(2, samples)`.

    The numbers are those of Demucs' own `Separator`, without shifts or with these `shifts`, whose
    offsets follow from `seed`. Stems may exceed ±1, and need not add up to the mix. For many
    mixes, or one that is not in memory, see `Separator`.

    Raises:
        TrackUnusable: the mix is empty or too loud for float32, or memory is short.
    """
    rate_hz = model.sample_rate_hz
    song = Song(0, mix_of_samples(mix, rate_hz, model_rate_hz=rate_hz), seed, tick)
    compute = Compute(model.networks, device=device, precision=precision)
    parts = []
    for event in Separator(model, compute, overlap=overlap, shifts=shifts).separate([song]):
        if isinstance(event, Failed):
            raise event.error
        if isinstance(event, Stems):
            parts.append(event.samples)
    return dict(zip(model.stems, np.concatenate(parts, axis=2), strict=True))
