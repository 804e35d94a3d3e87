"""Source separation with Demucs: one track in, one FLAC per stem out."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from demucs.apply import apply_model
from numpy.typing import NDArray

from stages.base import (
    Facts,
    JsonValue,
    Reason,
    Stage,
    StageBlocked,
    Tick,
    Track,
    TrackUnusable,
    no_tick,
)
from stages.demucs_loader import DemucsModel, load_model
from stages.device import torch_device
from stages.downmix import to_stereo
from stages.settings import SeparationSettings
from stages.stem_writer import write_stems
from stages.weights import find_model

logger = logging.getLogger(__name__)


class Separation(Stage[SeparationSettings]):
    """The stems of the mix, as the model gives them, one FLAC each."""

    def __init__(self, settings: SeparationSettings, *, device: str = "cpu") -> None:
        super().__init__(settings, device=device)
        self._model: DemucsModel | None = None

    def load(self) -> None:
        self._loaded()

    def run(self, track: Track, out: Path) -> Facts:
        model = self._loaded()
        mix = to_stereo(track.sources["mix"].at_rate(model.sample_rate_hz))
        stems = separate(
            model, mix, overlap=self.settings.overlap, device=self.device, tick=track.tick
        )
        if self.settings.two_stems:
            stems = two_stems(stems, self.settings.two_stems)
        written = write_stems(stems, out, sample_rate_hz=model.sample_rate_hz)
        peak: dict[str, JsonValue] = {**written.peak}
        return {
            "gain": written.gain,
            "lossless": True,
            "sources": list(stems),
            "sample_rate_hz": model.sample_rate_hz,
            "samples": mix.shape[1],
            "peak": peak,
        }

    def _loaded(self) -> DemucsModel:
        if self._model is None:
            self._model = self._load_model()
        return self._model

    def _load_model(self) -> DemucsModel:
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
        model.bag.to(self.device)
        logger.info("model=%s device=%s", self.settings.model, self.device)
        return model

    def _check_settings(self, model: DemucsModel) -> None:
        asked = {*self.settings.stems, *filter(None, [self.settings.two_stems])}
        unknown = ", ".join(sorted(asked - set(model.sources)))
        if unknown:
            raise StageBlocked(
                f"{self.settings.model} has no stem named {unknown}",
                f"It gives {', '.join(model.sources)}.",
            )
        if min(_strides_samples(model, self.settings.overlap)) < 1:
            raise StageBlocked(
                f"overlap = {self.settings.overlap} leaves no step between segments",
                "Use an overlap such as 0.25.",
            )


def separate(
    model: DemucsModel,
    mix: NDArray[np.float32],
    *,
    overlap: float = 0.25,
    device: str = "cpu",
    tick: Tick = no_tick,
) -> dict[str, NDArray[np.float32]]:
    """Return the model's stems of a stereo mix, each of the mix's shape `(2, samples)`.

    The numbers are those of Demucs' own `Separator` without shifts. Stems may exceed ±1, and need
    not add up to the mix.

    Raises:
        TrackUnusable: the mix is empty or too loud for float32, or memory is short.
    """
    if mix.shape[1] == 0:
        raise TrackUnusable(Reason.EMPTY, f"no sample is left at {model.sample_rate_hz} Hz")
    estimates = _estimates(model, torch.from_numpy(mix), overlap, device=device, tick=tick)
    stems = {
        source: estimate
        for source, estimate in zip(model.sources, estimates.numpy(), strict=True)
        if source in model.stems
    }
    for source, stem in stems.items():
        _check_finite(source, stem, model.sample_rate_hz)
    return stems


def two_stems(
    stems: Mapping[str, NDArray[np.float32]], stem: str
) -> dict[str, NDArray[np.float32]]:
    """Return one stem and, as `no_<stem>`, the sum of the others."""
    rest = np.zeros_like(stems[stem])
    for name, samples in stems.items():
        if name != stem:
            rest += samples
    return {stem: stems[stem], f"no_{stem}": rest}


def _estimates(
    model: DemucsModel, mix: torch.Tensor, overlap: float, *, device: str, tick: Tick
) -> torch.Tensor:
    """Normalise, apply the model, undo; shape `(sources, 2, samples)`, on the CPU."""
    reference = mix.mean(0)
    mean = reference.mean()
    # A single sample has no deviation: Demucs itself gives NaN there.
    std = reference.std() + 1e-8 if mix.shape[1] > 1 else torch.tensor(1.0)
    if not (torch.isfinite(mean) and torch.isfinite(std)):
        level = f"mean {float(mean)}, deviation {float(std)}"
        raise TrackUnusable(Reason.NONFINITE, f"the level of the mix is not finite: {level}")
    try:
        with torch.inference_mode():
            estimates: torch.Tensor = apply_model(
                model.bag,
                ((mix - mean) / std)[None],
                shifts=0,
                split=True,
                overlap=overlap,
                device=device,
                callback=_Ticker(model, mix.shape[1], overlap, tick),
            )[0]
            return estimates.mul_(std).add_(mean)
    except (RuntimeError, MemoryError) as error:
        if not _is_out_of_memory(error):
            raise
        detail = str(error).splitlines()[0] if str(error) else type(error).__name__
    # Outside of the handler: the traceback would keep the tensors that filled the memory.
    raise TrackUnusable(Reason.MEMORY, f"separating {mix.shape[1]} samples on {device}: {detail}")


def _is_out_of_memory(error: Exception) -> bool:
    # On the CPU torch has no class of its own for it.
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        "DefaultCPUAllocator" in str(error)
    )


class _Ticker:
    """Takes Demucs' reports of segments and passes on the seconds done, over all models."""

    def __init__(self, model: DemucsModel, samples: int, overlap: float, tick: Tick) -> None:
        self._strides_samples = _strides_samples(model, overlap)
        self._samples = samples
        self._duration_s = samples / model.sample_rate_hz
        self._tick = tick

    def __call__(self, report: Mapping[str, object]) -> None:
        index, offset = report["model_idx_in_bag"], report["segment_offset"]
        if report["state"] != "end" or not isinstance(index, int) or not isinstance(offset, int):
            return
        done = min(1.0, (offset + self._strides_samples[index]) / self._samples)
        self._tick(self._duration_s * (index + done) / len(self._strides_samples))


def _strides_samples(model: DemucsModel, overlap: float) -> tuple[int, ...]:
    return tuple(int((1 - overlap) * segment) for segment in model.segments_samples)  # as Demucs


def _check_finite(source: str, stem: NDArray[np.float32], sample_rate_hz: int) -> None:
    bad = ~np.isfinite(stem).all(axis=0)
    if bad.any():
        first_s = int(bad.argmax()) / sample_rate_hz
        raise TrackUnusable(
            Reason.ERROR,
            f"{int(bad.sum())} of {bad.size} samples of {source} are not finite, "
            f"the first at {first_s:.3f} s",
        )
